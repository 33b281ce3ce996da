"""Fréchet distance of two Gaussians fitted to features (Heusel et al. 2017), in float64.

D features.
"""

from __future__ import annotations

import torch
from torch import Tensor


class Moments:
    """Mean and covariance of rows that are added in batches; the rows themselves are not stored."""

    def __init__(self) -> None:
        self.count = 0
        self._mean: Tensor | None = None  # [D]
        self._scatter: Tensor | None = None  # [D,D], sum of (x - mean)(x - mean)^T

    def add(self, rows: Tensor) -> None:
        """Add `rows` [N,D]. ValueError: D differs, or a value is not finite."""
        rows = rows.detach().double().cpu()
        if rows.ndim != 2 or not bool(torch.isfinite(rows).all()):
            raise ValueError(f"Moments: expected finite rows [N,D], got {list(rows.shape)}")
        if self._mean is None or self._scatter is None:
            self._mean = torch.zeros(rows.shape[1], dtype=torch.float64)
            self._scatter = torch.zeros(rows.shape[1], rows.shape[1], dtype=torch.float64)
        if rows.shape[1] != len(self._mean):
            raise ValueError(f"Moments: rows of {rows.shape[1]} after rows of {len(self._mean)}")
        if not len(rows):
            return
        # Chan et al. 1979: the scatter of both groups, and that of their means
        mean, total = rows.mean(0), self.count + len(rows)
        difference = mean - self._mean
        centred = rows - mean
        self._scatter += centred.T @ centred
        self._scatter += torch.outer(difference, difference) * (self.count * len(rows) / total)
        self._mean += difference * (len(rows) / total)
        self.count = total

    @property
    def mean(self) -> Tensor:
        """[D]. ValueError: no rows."""
        if self._mean is None or not self.count:
            raise ValueError("Moments: no rows")
        return self._mean

    @property
    def covariance(self) -> Tensor:
        """[D,D], divided by N - 1. ValueError: fewer than two rows."""
        if self._scatter is None or self.count < 2:
            raise ValueError("Moments: a covariance needs two rows")
        return self._scatter / (self.count - 1)


def frechet_distance(first: Moments, second: Moments) -> float:
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), not below 0.

    The trace of the root is the sum of the singular values of C1^(1/2) C2^(1/2). This needs no root of a
    matrix that is not symmetric, so singular covariances (of few rows) are fine."""
    difference = (first.mean - second.mean).square().sum()
    roots = [_root(one.covariance) for one in (first, second)]
    shared = torch.linalg.svdvals(roots[0] @ roots[1]).sum()
    traces = first.covariance.trace() + second.covariance.trace()
    return max(float(difference + traces - 2 * shared), 0.0)


def _root(covariance: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(covariance)
    return vectors * values.clamp(min=0).sqrt() @ vectors.T


def one_clip_distance(first: Tensor, second: Tensor) -> float:
    """Consistent4D's "FVD" of one clip against one other, from their features [D]:
    |f1 - f2|^2 + (s1 - s2)^2 with s the standard deviation over the D numbers of a feature.

    This is no distance of distributions. Its code calls NumPy's covariance on a single row, which up to
    NumPy 2.1 is the variance of that row's numbers and since 2.2 is NaN. Here it is written out, so that
    every NumPy gives the published quantity. ValueError: not two rows of equal length."""
    a, b = first.detach().double().cpu(), second.detach().double().cpu()
    if a.ndim != 1 or a.shape != b.shape or len(a) < 2:
        raise ValueError(
            f"one_clip_distance: expected two [D], got {list(a.shape)}, {list(b.shape)}"
        )
    return float((a - b).square().sum() + (a.std() - b.std()).square())
