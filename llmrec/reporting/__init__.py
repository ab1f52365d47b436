"""Tables, plots and pages, for all that report."""
