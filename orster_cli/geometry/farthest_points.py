"""Few points that are spread over many. N points of P numbers."""

from __future__ import annotations

import torch
from torch import Tensor


def farthest_points(points: Tensor, count: int) -> Tensor:
    """[count] indices of points of `points` [N,P]: the one nearest to their mean, then always the one
    farthest from all before."""
    chosen = torch.empty(count, dtype=torch.int64, device=points.device)
    nearest = (points - points.mean(dim=0)).square().sum(dim=1)
    chosen[0] = nearest.argmin()
    nearest = torch.full_like(nearest, torch.inf)
    for i in range(1, count):
        away = (points - points[chosen[i - 1]]).square().sum(dim=1)
        nearest = torch.minimum(nearest, away)
        chosen[i] = nearest.argmax()
    return chosen
