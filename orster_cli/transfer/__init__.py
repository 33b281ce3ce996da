"""Orthogonal spatial-temporal distributional transfer (Sec. 4.2)."""
