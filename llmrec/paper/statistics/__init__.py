"""What the sessions of a data set look like: the figures of the paper's Tables 1-2 and Figures 2, 4 and 5."""
