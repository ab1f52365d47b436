"""Vectors → an index that finds the nearest, products like a title, and titles grounded in the catalogue."""
