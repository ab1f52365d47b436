"""Servers that others run."""
