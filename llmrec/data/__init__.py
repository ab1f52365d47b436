"""Raw files to checked Parquet: import, store, splits, synthetic data."""
