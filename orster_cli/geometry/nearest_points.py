"""What places take over from the points nearest to them. P points, N places, F nearest points of each
place, T moments."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree
from torch import Tensor


def nearest_points(
    points: np.ndarray, places: np.ndarray, most: int
) -> tuple[np.ndarray, np.ndarray]:
    """Distances and indices [N,F] of those of `points` [P,3] that are nearest to `places` [N,3], nearest
    first: `most`, or all where there are fewer."""
    apart, index = cKDTree(points).query(places, k=range(1, min(most, len(points)) + 1))
    return apart, index


def bell(apart: np.ndarray, strength: np.ndarray) -> np.ndarray:
    """Weights [N,F] that sum to 1, from distances `apart` [N,F], nearest first: the `strength` [N,F] of
    points times a bell of the distance, whose width is that of the farthest."""
    width = np.maximum(apart[:, -1:], 1e-12)
    weights: np.ndarray = np.exp(-2.0 * (apart / width) ** 2) * strength
    weights /= weights.sum(axis=1, keepdims=True)
    return weights


def spread(shifts: Tensor, apart: Tensor, index: Tensor, *, power: int, least: float) -> Tensor:
    """[T,N,3] the mean of those of `shifts` [T,P,3] that `index` [N,F] names for each place, weighted by
    1 / distance^`power` of `apart` [N,F], where what is nearer than `least` is as near as that."""
    share = 1 / apart.clamp_min(least) ** power
    share = share / share.sum(dim=1, keepdim=True)
    return (shifts[:, index] * share[..., None]).sum(dim=2)
