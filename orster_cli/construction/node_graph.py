"""Which control nodes there are, and which Gaussians follow them.

All distances are between paths: positions at several moments, side by side. Limbs that touch at rest have
paths that are far apart, and share no nodes. N Gaussians, M nodes, P numbers of a path.
"""

from __future__ import annotations

import torch
from torch import Tensor

from orster_cli.splatting.nodes import ControlNodes

FOLLOWED = 4  # nodes that a Gaussian follows
EDGES = 8  # neighbours of a node


def farthest_points(paths: Tensor, count: int) -> Tensor:
    """[count] indices of points of `paths` [N,P]: the one nearest to their mean, then always the one
    farthest from all before."""
    chosen = torch.empty(count, dtype=torch.int64, device=paths.device)
    nearest = (paths - paths.mean(dim=0)).square().sum(dim=1)
    chosen[0] = nearest.argmin()
    nearest = torch.full_like(nearest, torch.inf)
    for i in range(1, count):
        away = (paths - paths[chosen[i - 1]]).square().sum(dim=1)
        nearest = torch.minimum(nearest, away)
        chosen[i] = nearest.argmax()
    return chosen


def build_nodes(means: Tensor, paths: Tensor, count: int) -> ControlNodes:
    """At most `count` nodes at some of `means` [N,3], spread over `paths` [N,P].

    A Gaussian follows its nearest nodes with weights (1 - d / D)^2, where D is the distance of the first
    node that it does not follow (Sumner et al. 2007, Eq. 5, squared)."""
    chosen = farthest_points(paths, min(count, len(means)))
    to_nodes = torch.cdist(paths, paths[chosen])
    followed = min(FOLLOWED, len(chosen))
    nearest = to_nodes.topk(min(followed + 1, len(chosen)), largest=False)
    beyond = nearest.values[:, -1:].clamp_min(1e-9) * (1 + 1e-3)
    weights = (1 - nearest.values[:, :followed] / beyond).square()
    weights = weights / weights.sum(dim=1, keepdim=True)
    between = torch.cdist(paths[chosen], paths[chosen]).fill_diagonal_(torch.inf)
    graph = between.topk(min(EDGES, len(chosen) - 1), largest=False).indices
    return ControlNodes(means[chosen], nearest.indices[:, :followed], weights, graph)
