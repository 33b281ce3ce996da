"""Measures videos and scenes: views of a protocol, cached network features, pairs, thresholds."""
