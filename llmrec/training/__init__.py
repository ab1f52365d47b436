"""What every training shares: checkpoints that survive a kill, and the learning rate."""
