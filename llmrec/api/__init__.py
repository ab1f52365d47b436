"""What every function of the Python API has in common: how it takes its arguments, and how its errors speak."""
