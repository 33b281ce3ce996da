"""Cameras, orbits, camera conventions and triangle meshes."""
