"""Spark: its session, and what lies where a cluster's nodes reach it."""
