"""Fitted things that keep up: new sessions and products, versions of a model, and the way back."""
