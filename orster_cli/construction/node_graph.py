"""Which control nodes there are, and which Gaussians follow them.

All distances are between paths: positions at several moments, side by side. Limbs that touch at rest have
paths that are far apart, and share no nodes. N Gaussians, M nodes, P numbers of a path.
"""

from __future__ import annotations

import torch
from torch import Tensor

from orster_cli.geometry.farthest_points import farthest_points
from orster_cli.splatting.nodes import ControlNodes

FOLLOWED = 4  # nodes that a Gaussian follows
EDGES = 8  # neighbours of a node


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
