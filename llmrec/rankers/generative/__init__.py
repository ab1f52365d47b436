"""Rankers that write the next item: its id is a short sequence of codes, and a model generates them."""
