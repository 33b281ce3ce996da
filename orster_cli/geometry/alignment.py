"""Points brought onto a surface by a change of scale and a shift: trimmed iterative closest points
(Chetverikov et al. 2002). P points, S points of the surface.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

ROUNDS = 30
KEPT = 0.8  # share of the points that count: those that are nearest to the surface
MOST = 1.05  # factor that one round changes the scale by
SMALLEST = 1e-12  # size, or sum of squares, that tells a scale


def scaled_onto(points: np.ndarray, surface: np.ndarray) -> tuple[float, np.ndarray]:
    """The scale and the shift [3] with which ``scale * points + shift`` lies on the `surface` [S,3] as near
    as may be, but for the farthest of the `points` [P,3]. It begins with the boxes around both in the same
    place, the longest sides alike."""
    low, high = surface.min(axis=0), surface.max(axis=0)
    size = float(np.ptp(points, axis=0).max())
    scale = float((high - low).max()) / size if size > SMALLEST else 1.0
    shift = (low + high) / 2 - scale * (points.min(axis=0) + points.max(axis=0)) / 2
    tree = cKDTree(surface)
    for _ in range(ROUNDS):
        placed = scale * points + shift
        apart, which = tree.query(placed)
        near = apart <= np.quantile(apart, KEPT)
        own, other = placed[near], surface[which[near]]
        away = own - own.mean(axis=0)
        square = float((away**2).sum())
        if square < SMALLEST:
            break
        factor = float(
            np.clip((away * (other - other.mean(axis=0))).sum() / square, 1 / MOST, MOST)
        )
        shift = factor * (shift - own.mean(axis=0)) + other.mean(axis=0)
        scale *= factor
    return scale, shift
