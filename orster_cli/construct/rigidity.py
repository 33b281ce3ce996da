"""Neighbours keep their distance: what holds a limb together where no frame shows it.

A moment that is seen from one side only leaves free where the other side is along the rays: the
Gaussians of one limb drift apart. Related: the isometry loss of Dynamic 3D Gaussians (Luiten et al.
2024, Eq. 7), here against the canonical pose and on a random part of the Gaussians in each step.

And Gaussians keep their size, roughly: a limb that the frames lose would come back as a cloud.

N Gaussians, K neighbours.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

NEIGHBOURS = 8
GROWTH = 2.0  # times its size at rest that a Gaussian may have while it moves
SAMPLED = 1500  # Gaussians that one step looks at


def nearest_neighbours(means: Tensor, count: int = NEIGHBOURS) -> Tensor:
    """[N,K] int64 indices of the K = min(`count`, N - 1) nearest other points of `means` [N,3],
    nearest first."""
    count = max(min(count, len(means) - 1), 0)
    points = means.detach().cpu().numpy()
    _, found = cKDTree(points).query(points, k=range(1, count + 2))  # each point finds itself too
    itself = found == np.arange(len(points))[:, None]
    itself[~itself.any(axis=1), -1] = True  # more than `count` others at its very position
    others = found[~itself].reshape(len(points), count)
    return torch.from_numpy(others.astype(np.int64)).to(means.device)


def isometry_loss(rest: Tensor, moved: Tensor, neighbours: Tensor, *, seed: int) -> Tensor:
    """Mean absolute change of the distances between neighbours [N,K], over their mean at rest, for
    Gaussians picked by `seed`; `rest` and `moved` are [N,3]. 0 for any rigid motion of all."""
    generator = torch.Generator().manual_seed(seed)
    pick = torch.randint(len(rest), (min(SAMPLED, len(rest)),), generator=generator)
    pick = pick.to(rest.device)
    near = neighbours[pick]
    before = (rest[near] - rest[pick][:, None]).norm(dim=-1)
    # a norm whose gradient is finite where two Gaussians meet
    after = ((moved[near] - moved[pick][:, None]).square().sum(dim=-1) + 1e-12).sqrt()
    return (after - before).abs().mean() / before.mean().clamp_min(1e-9)


def growth_loss(rest: Tensor, moved: Tensor) -> Tensor:
    """Sum over Gaussians and axes of the squared logarithm of what they grow beyond GROWTH times their
    size at rest; `rest` and `moved` are log scales [N,3]. A sum: what holds one must not depend on N."""
    beyond = (moved - rest - math.log(GROWTH)).clamp_min(0.0)
    return beyond.square().sum()
