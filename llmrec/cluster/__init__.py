"""Work that a Spark cluster's executors do with fitted things."""
