"""Animated objects to datasets of orbital clips: render, curate, shard, merge and read."""
