"""Few points that are spread over many, which follow them. N points of P numbers, M few ones."""

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


def followed(apart: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Which of the few points each of many follows, at most `most`, as indices [N,F] and weights [N,F] that
    sum to 1, from their distances `apart` [N,M].

    Weights are (1 - d / D)^2, where D is the distance of the first that is not followed (Sumner et al.
    2007, Eq. 5, squared)."""
    count = min(most, apart.shape[1])
    nearest = apart.topk(min(count + 1, apart.shape[1]), largest=False)
    beyond = nearest.values[:, -1:].clamp_min(1e-9) * (1 + 1e-3)
    weights = (1 - nearest.values[:, :count] / beyond).square()
    return nearest.indices[:, :count], weights / weights.sum(dim=1, keepdim=True)
