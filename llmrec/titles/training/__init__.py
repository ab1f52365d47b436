"""Fine-tuning on prompt sessions."""
