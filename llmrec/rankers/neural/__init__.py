"""Neural session rankers."""
