"""Multilingual shopping sessions in; the next product and its title out (the Amazon-M2 paper, and past it)."""

__version__ = "0.1.0"
__all__ = ["__version__"]
