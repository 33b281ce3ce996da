"""Which control nodes there are, and which Gaussians follow them.

All distances are between paths: positions at several moments, side by side. Limbs that touch at rest have
paths that are far apart, and share no nodes. N Gaussians, M nodes, P numbers of a path.
"""

from __future__ import annotations

import torch
from torch import Tensor

from orster_cli.geometry.farthest_points import farthest_points, followed
from orster_cli.splatting.nodes import ControlNodes

FOLLOWED = 4  # nodes that a Gaussian follows
EDGES = 8  # neighbours of a node


def build_nodes(means: Tensor, paths: Tensor, count: int) -> ControlNodes:
    """At most `count` nodes at some of `means` [N,3], spread over `paths` [N,P]. A Gaussian follows those
    nearest to it (`geometry.farthest_points.followed`)."""
    chosen = farthest_points(paths, min(count, len(means)))
    index, weights = followed(torch.cdist(paths, paths[chosen]), FOLLOWED)
    between = torch.cdist(paths[chosen], paths[chosen]).fill_diagonal_(torch.inf)
    graph = between.topk(min(EDGES, len(chosen) - 1), largest=False).indices
    return ControlNodes(means[chosen], index, weights, graph)
