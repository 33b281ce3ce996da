"""Trains every stage with one loop: batches, losses, optimizer, checkpoints and memory plan."""
