"""Sampling: conditions to latents to orbital clips."""
