"""From a model to titles."""
