"""Prompts beside each other: prompts × K × examples × models over one fixed sample (paper §4.3, Table 6)."""
