"""orster: orthogonal spatial-temporal distributional transfer for 4D generation."""

__version__ = "0.1.0"
