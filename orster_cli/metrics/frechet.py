"""Fréchet distance of two Gaussians that were fitted to features (Heusel et al. 2017), float64.

D features.
"""

from __future__ import annotations

import torch
from torch import Tensor


class Moments:
    """Mean and covariance of rows that come in batches: nothing but the sums is held."""

    def __init__(self) -> None:
        self.count = 0
        self._mean: Tensor | None = None  # [D]
        self._scatter: Tensor | None = None  # [D,D], sum of (x - mean)(x - mean)^T

    def add(self, rows: Tensor) -> None:
        """`rows` [N,D]. ValueError: another D, or numbers that are not finite."""
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
        # Chan et al. 1979: two groups' scatters, and that of their means
        mean, total = rows.mean(0), self.count + len(rows)
        apart = mean - self._mean
        centred = rows - mean
        self._scatter += centred.T @ centred
        self._scatter += torch.outer(apart, apart) * (self.count * len(rows) / total)
        self._mean += apart * (len(rows) / total)
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

    The trace of the root is the sum of the singular values of C1^(1/2) C2^(1/2): no root of a matrix that
    is not symmetric, so covariances of few rows are no trouble."""
    apart = (first.mean - second.mean).square().sum()
    roots = [_root(one.covariance) for one in (first, second)]
    shared = torch.linalg.svdvals(roots[0] @ roots[1]).sum()
    traces = first.covariance.trace() + second.covariance.trace()
    return max(float(apart + traces - 2 * shared), 0.0)


def _root(covariance: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(covariance)
    return vectors * values.clamp(min=0).sqrt() @ vectors.T


def one_clip_distance(first: Tensor, second: Tensor) -> float:
    """Consistent4D's "FVD" of one clip against one other, from their features [D]:
    |f1 - f2|^2 + (s1 - s2)^2 with s the standard deviation over the D numbers of a feature.

    Not a distance of distributions: its code asked NumPy for the covariance of a single row, which up to
    2.1 was the variance of that row's numbers, and since 2.2 is not a number. Written out here, so that
    it is the published quantity with any NumPy. ValueError: not two rows of equal length."""
    a, b = first.detach().double().cpu(), second.detach().double().cpu()
    if a.ndim != 1 or a.shape != b.shape or len(a) < 2:
        raise ValueError(
            f"one_clip_distance: expected two [D], got {list(a.shape)}, {list(b.shape)}"
        )
    return float((a - b).square().sum() + (a.std() - b.std()).square())
