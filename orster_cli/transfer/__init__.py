"""Orthogonal spatial-temporal distributional transfer from two teachers (Sec. 4.2)."""
