"""Leaves out Gaussians that other programs stumble over: not finite, invisible, or absurdly large or far.

N Gaussians.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from orster_cli.core.errors import InputError
from orster_cli.core.types import Gaussians
from orster_cli.splatting.gaussians4d import Gaussians4D
from orster_cli.splatting.nodes import ControlNodes
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
    whole = len(asset.canonical)
    start = _finite(asset.canonical)
    # the field's kernel reads memory by position: it must not see what is not a number
    asset = asset if start.all() else _kept(asset, start)
    canonical = asset.canonical
    count = len(canonical)
    if not count:
        raise InputError("no Gaussian of the asset can be exported: none is finite")
    finite = torch.ones(count, dtype=torch.bool)
    visible = torch.zeros(count, dtype=torch.bool)
    sane = torch.ones(count, dtype=torch.bool)
    middle, size = _box(canonical)
    for i in range(MOMENTS):
        phase = asset.motion.timeline.phase(i / (MOMENTS - 1))
        now = asset.motion(canonical, phase)  # where `asset.at` refuses all for one
        finite &= _finite(now)
        visible |= now.opacity_logits.sigmoid() >= ALPHA_MIN
        far = (now.means - middle).abs().amax(dim=1) > FAR * size
        sane &= ~far & (now.log_scales.amax(dim=1).exp() < LARGE * size)
    reasons = {
        "not finite": whole - count + int((~finite).sum()),
        "invisible": int((finite & ~visible).sum()),
        "absurdly large or far": int((finite & visible & ~sane).sum()),
    }
    keep = finite & visible & sane
    if not bool(keep.any()):
        raise InputError("no Gaussian of the asset can be exported: " + str(reasons))
    if bool(keep.all()):
        return Cleaned(asset, reasons)
    return Cleaned(_kept(asset, keep), reasons)


def _kept(asset: Gaussians4D, keep: Tensor) -> Gaussians4D:
    """The Gaussians that `keep` [N] marks, with the weights by which they follow control nodes."""
    motion, nodes = asset.motion, asset.motion.field.nodes
    if nodes is not None:
        motion = deepcopy(motion)  # the asset that was given stays whole
        motion.field.nodes = ControlNodes(
            nodes.positions, nodes.index[keep], nodes.weights[keep], nodes.graph
        )
    return replace(asset, canonical=pick(asset.canonical, keep), motion=motion)


def pick(gaussians: Gaussians, keep: Tensor) -> Gaussians:
    """Those that `keep` [N] marks or lists."""
    return replace(
        gaussians,
        means=gaussians.means[keep],
        log_scales=gaussians.log_scales[keep],
        quats=gaussians.quats[keep],
        opacity_logits=gaussians.opacity_logits[keep],
        sh=gaussians.sh[keep],
    )


def _finite(gaussians: Gaussians) -> Tensor:
    """[N] whether all values of a Gaussian are finite."""
    count = len(gaussians)
    parts = (
        gaussians.means, gaussians.log_scales, gaussians.quats, gaussians.opacity_logits,
        gaussians.sh,
    )  # fmt: skip
    found = [torch.isfinite(values.reshape(count, -1)).all(dim=1) for values in parts]
    return torch.stack(found).all(dim=0).cpu()


def _box(gaussians: Gaussians) -> tuple[Tensor, float]:
    """Middle [3] and longest side of the box that holds all but the outermost percents."""
    low, high = torch.quantile(
        gaussians.means, torch.tensor([0.02, 0.98]).to(gaussians.means), dim=0
    )
    return (low + high) / 2, float((high - low).max().clamp_min(1e-6))
