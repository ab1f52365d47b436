"""Titles as vectors, and what is found with them."""
