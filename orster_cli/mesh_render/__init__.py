"""Renders triangle meshes to colour, alpha and depth."""
