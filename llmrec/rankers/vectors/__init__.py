"""Rankers by vectors: of co-occurrence, and of texts."""
