"""The paper's tables and figures as recipes: what to run, what the paper says, how far apart the two may lie."""
