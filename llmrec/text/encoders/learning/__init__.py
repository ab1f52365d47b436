"""Encoders that learn from sessions which titles belong together."""
