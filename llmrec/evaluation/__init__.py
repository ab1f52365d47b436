"""Ranks, metrics, BLEU, run files, result records and reports: scores what any model wrote, and knows no model."""
