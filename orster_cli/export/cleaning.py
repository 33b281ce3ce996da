"""Leaves out Gaussians that other programs stumble over: not finite, invisible, or absurdly large or far.

N Gaussians.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from orster_cli.core.errors import InputError
from orster_cli.core.types import Gaussians
from orster_cli.splatting.gaussians4d import Gaussians4D
from orster_cli.splatting.raster_rules import ALPHA_MIN

MOMENTS = 9
FAR = 10.0  # times the object's size from its middle
LARGE = 4.0  # times the object's size, the longest axis
SMALLEST_LOG_SCALE = -16.0  # of the object's size about 1: sizes of 1e-8 crash viewers


@dataclass(frozen=True)
class Cleaned:
    """`asset` without `dropped` Gaussians, which `reasons` count."""

    asset: Gaussians4D
    reasons: dict[str, int]

    @property
    def dropped(self) -> int:
        return sum(self.reasons.values())

    def describe(self) -> str:
        """ "left out 3 Gaussians: 2 invisible, 1 not finite"."""
        listed = ", ".join(f"{count} {reason}" for reason, count in self.reasons.items() if count)
        return f"left out {self.dropped} Gaussians: {listed}"


@torch.no_grad()
def clean(asset: Gaussians4D) -> Cleaned:
    """The asset without Gaussians that are not finite at some moment, that are invisible at all of them, or
    absurd at some. InputError: none is left."""
    canonical = asset.canonical
    count = len(canonical)
    finite = torch.ones(count, dtype=torch.bool)
    for values in _tensors(canonical):
        finite &= torch.isfinite(values.reshape(count, -1)).all(dim=1)
    visible = torch.zeros(count, dtype=torch.bool)
    sane = torch.ones(count, dtype=torch.bool)
    middle, size = _box(canonical, finite)
    for i in range(MOMENTS):
        now = asset.at(i / (MOMENTS - 1))
        for values in _tensors(now):
            finite &= torch.isfinite(values.reshape(count, -1)).all(dim=1)
        visible |= now.opacity_logits.sigmoid() >= ALPHA_MIN
        far = (now.means - middle).abs().amax(dim=1) > FAR * size
        sane &= ~far & (now.log_scales.amax(dim=1).exp() < LARGE * size)
    reasons = {
        "not finite": int((~finite).sum()),
        "invisible": int((finite & ~visible).sum()),
        "absurdly large or far": int((finite & visible & ~sane).sum()),
    }
    keep = finite & visible & sane
    if not bool(keep.any()):
        raise InputError("no Gaussian of the asset can be exported: " + str(reasons))
    if bool(keep.all()):
        return Cleaned(asset, reasons)
    return Cleaned(replace(asset, canonical=pick(canonical, keep)), reasons)


def pick(gaussians: Gaussians, keep: Tensor) -> Gaussians:
    """Those that `keep` [N] marks or lists."""
    return Gaussians(
        means=gaussians.means[keep],
        log_scales=gaussians.log_scales[keep],
        quats=gaussians.quats[keep],
        opacity_logits=gaussians.opacity_logits[keep],
        sh=gaussians.sh[keep],
    )


def _tensors(gaussians: Gaussians) -> tuple[Tensor, ...]:
    return (
        gaussians.means, gaussians.log_scales, gaussians.quats, gaussians.opacity_logits,
        gaussians.sh,
    )  # fmt: skip


def _box(gaussians: Gaussians, finite: Tensor) -> tuple[Tensor, float]:
    """Middle [3] and longest side of the box that holds all but the outermost percents."""
    means = gaussians.means[finite]
    if not len(means):
        return torch.zeros(3), 1.0
    low, high = torch.quantile(means, torch.tensor([0.02, 0.98]).to(means), dim=0)
    return (low + high) / 2, float((high - low).max().clamp_min(1e-6))
