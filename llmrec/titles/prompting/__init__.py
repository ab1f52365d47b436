"""From sessions to prompts and tokens."""
