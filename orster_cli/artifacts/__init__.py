"""Artifact folders: manifest, hashes, writer lock, atomic commit and resume."""
