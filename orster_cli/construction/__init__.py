"""Fits Gaussians and their deformation field to orbital clips (Sec. 4.5)."""
