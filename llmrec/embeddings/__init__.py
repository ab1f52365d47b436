"""Titles as vectors."""
