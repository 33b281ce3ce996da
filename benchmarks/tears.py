"""How much of an asset tears: neighbours at rest that part as it moves, and how many part in truth.

A true motion parts neighbours too: a hand leaves the hip, a wheel turns in its arch. What an asset has
beyond that is the fault of its fit.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from orster_cli.construction.rigidity import nearest_neighbours
from orster_cli.dataset.views import NormalizedClip
from orster_cli.geometry.mesh import points_on_surface
from orster_cli.splatting.gaussians4d import Gaussians4D

TEAR, MOMENTS = 3.0, 64  # times the distance at rest; moments that are looked at
POINTS = 7000  # of a true surface, about as many as `fast` has Gaussians


def torn_pairs(rest: Tensor, at: Callable[[float], Tensor]) -> float:
    """Per cent of neighbouring pairs of `rest` [N,3] that are more than `TEAR` times as far apart at any
    moment; `at`: the points [N,3] at a time in [0,1]."""
    others = nearest_neighbours(rest)
    before = (rest[others] - rest[:, None]).norm(dim=-1).clamp_min(1e-9)
    far = torch.zeros_like(before, dtype=torch.bool)
    for moment in range(MOMENTS):
        points = at(moment / MOMENTS)
        far |= (points[others] - points[:, None]).norm(dim=-1) > TEAR * before
    return 100 * float(far.double().mean())


@torch.no_grad()
def torn(asset: Gaussians4D) -> float:
    """`torn_pairs` of the centres of an asset's Gaussians."""
    return torn_pairs(asset.canonical.means, lambda t: asset.at(t).means)


def torn_in_truth(placed: NormalizedClip) -> float:
    """`torn_pairs` of `POINTS` points that are fixed to the true surface, drawn by area."""
    mesh = placed.mesh(0.0)
    points = points_on_surface(mesh, POINTS)
    return torn_pairs(
        torch.from_numpy(points.at(mesh.vertices)),
        lambda t: torch.from_numpy(points.at(placed.mesh(t).vertices)),
    )
