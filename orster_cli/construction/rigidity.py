"""Regularisation of the motion: distances between neighbours and sizes of Gaussians.

A frame shows a moment from one side only and does not constrain the depth of the hidden side: without
regularisation the Gaussians of a limb drift apart. `isometry_loss` follows Dynamic 3D Gaussians (Luiten
et al. 2024, Eq. 7), but compares with the canonical pose and samples Gaussians in each step.
`growth_loss` limits the size of Gaussians, because a limb that the frames hide would become a cloud.

N Gaussians, K neighbours.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

NEIGHBOURS = 8
GROWTH = 2.0  # times its canonical size up to which a Gaussian may grow
SAMPLES = 1500  # Gaussians per step


def nearest_neighbours(means: Tensor, count: int = NEIGHBOURS) -> Tensor:
    """[N,K] int64 indices of the K = min(`count`, N - 1) nearest other points of `means` [N,3],
    nearest first."""
    count = max(min(count, len(means) - 1), 0)
    points = means.detach().cpu().numpy()
    _, found = cKDTree(points).query(points, k=range(1, count + 2))  # every point finds itself too
    itself = found == np.arange(len(points))[:, None]
    itself[~itself.any(axis=1), -1] = True  # more than `count` others at the same position
    others = found[~itself].reshape(len(points), count)
    return torch.from_numpy(others.astype(np.int64)).to(means.device)


def _edges(points: Tensor, sampled: Tensor, neighbour: Tensor) -> Tensor:
    """[S,K,3] from the `sampled` points [S] to their `neighbour`s [S,K]. The backward of index_select is
    several times faster on a CPU than that of indexing."""
    others = points.index_select(0, neighbour.reshape(-1)).reshape(*neighbour.shape, 3)
    return others - points.index_select(0, sampled)[:, None]


def isometry_loss(canonical: Tensor, deformed: Tensor, neighbours: Tensor, *, seed: int) -> Tensor:
    """Mean absolute change of the distances between neighbours [N,K], divided by their mean in the
    canonical pose, for Gaussians sampled by `seed`. `canonical`, `deformed`: centres [N,3]. 0 for a
    rigid motion of all Gaussians."""
    generator = torch.Generator().manual_seed(seed)
    sampled = torch.randint(len(canonical), (min(SAMPLES, len(canonical)),), generator=generator)
    sampled = sampled.to(canonical.device)
    neighbour = neighbours[sampled]
    before = _edges(canonical, sampled, neighbour).norm(dim=-1)
    # the gradient stays finite where two Gaussians coincide
    after = (_edges(deformed, sampled, neighbour).square().sum(dim=-1) + 1e-12).sqrt()
    return (after - before).abs().mean() / before.mean().clamp_min(1e-9)


def growth_loss(canonical: Tensor, deformed: Tensor) -> Tensor:
    """Sum over Gaussians and axes of the squared log of their size over GROWTH times their canonical
    size, where it is larger. `canonical`, `deformed`: log scales [N,3]. It is a sum, so that the force
    on one Gaussian does not depend on N."""
    excess = (deformed - canonical - math.log(GROWTH)).clamp_min(0.0)
    return excess.square().sum()
