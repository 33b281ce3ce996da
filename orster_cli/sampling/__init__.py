"""Conditions to latents to orbital clips; the spatial and temporal priors of a clip."""
