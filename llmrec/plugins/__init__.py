"""What others add to llmrec: by a call in their program, or by the entry points of an installed package."""
