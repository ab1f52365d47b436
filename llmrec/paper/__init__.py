"""The paper's tables and figures, and the statistics of its data."""
