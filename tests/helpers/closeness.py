"""Closeness by several criteria at once.

One number hides things: an elementwise tolerance forgives a small error of one sign everywhere, a
relative norm forgives a few wild elements, and both forgive a gradient that points aside.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Closeness:
    """How `actual` differs from `reference`, each 0 for equal tensors.

    `outliers`: fraction of elements beyond atol + rtol |reference|; `relative_l2`: norm of the
    difference by the norm of the reference; `angle`: 1 - cosine between them; `bias`: mean of the
    signed difference by the reference's root mean square.
    """

    outliers: float
    relative_l2: float
    angle: float
    bias: float


def measure(actual: Tensor, reference: Tensor, *, rtol: float, atol: float) -> Closeness:
    """Compare in float64. Not finite, or another shape: AssertionError."""
    assert actual.shape == reference.shape, f"{list(actual.shape)} is not {list(reference.shape)}"
    a, b = actual.detach().double().cpu().flatten(), reference.detach().double().cpu().flatten()
    assert bool(torch.isfinite(a).all()), "the tensor has values that are not finite"
    assert bool(torch.isfinite(b).all()), "the reference has values that are not finite"
    if a.numel() == 0:
        return Closeness(outliers=0.0, relative_l2=0.0, angle=0.0, bias=0.0)
    difference, size = a - b, float(b.norm())
    if size == 0.0:
        off = float(a.norm())
        return Closeness(
            outliers=float((a.abs() > atol).double().mean()),
            relative_l2=0.0 if off <= atol else float("inf"),
            angle=0.0 if off <= atol else 1.0,
            bias=0.0 if off <= atol else float("inf"),
        )
    root_mean_square = size / len(b) ** 0.5
    both = size * float(a.norm())
    return Closeness(
        outliers=float((difference.abs() > atol + rtol * b.abs()).double().mean()),
        relative_l2=float(difference.norm()) / size,
        angle=1.0 - float(a @ b) / both if both > 0 else 1.0,
        bias=abs(float(difference.mean())) / root_mean_square,
    )


def assert_close(
    actual: Tensor,
    reference: Tensor,
    name: str,
    *,
    rtol: float = 1e-4,
    atol: float = 1e-6,
    outliers: float = 0.0,
    relative_l2: float = 1e-5,
    angle: float = 1e-8,
    bias: float = 1e-5,
) -> None:
    """Every criterion of `Closeness` within its limit."""
    got = measure(actual, reference, rtol=rtol, atol=atol)
    limits = Closeness(outliers=outliers, relative_l2=relative_l2, angle=angle, bias=bias)
    beyond = [
        f"{key} {getattr(got, key):.2e} > {limit:.0e}"
        for key, limit in vars(limits).items()
        if not getattr(got, key) <= limit
    ]
    assert not beyond, f"{name}: " + ", ".join(beyond)
