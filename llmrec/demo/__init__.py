"""What llmrec does, in minutes, on made-up data: ``llmrec demo``."""
