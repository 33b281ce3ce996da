"""The motion of an asset: parts that move together, and the HexPlane field for what they leave.

N Gaussians, P parts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from orster_cli.core.types import Gaussians
from orster_cli.splatting.deformation import DeformationField
from orster_cli.splatting.parts import PartMotion


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """How the time of a clip maps to the phase of its motion.

    `looping`: phase 1 is phase 0 again, and the clip runs through `cycles` of them."""

    looping: bool = False
    cycles: int = 1

    def phase(self, time: float) -> float:
        """Phase in [0,1] (in [0,1) when looping) of `time` in [0,1]."""
        return (time * self.cycles) % 1.0 if self.looping else min(max(time, 0.0), 1.0)


@dataclass(frozen=True, kw_only=True)
class Gaussians4D:
    """An animated object: canonical Gaussians, what moves them, and (with parts) the skinning logits
    [N,P] of each Gaussian."""

    canonical: Gaussians
    motion: Motion
    skinning: Tensor | None = None

    def at(self, time: float) -> Gaussians:
        """The Gaussians at `time` in [0,1] of the clip."""
        return self.motion(self.canonical, self.skinning, self.motion.timeline.phase(time))


class Motion(nn.Module):
    """Canonical Gaussians -> Gaussians at a phase: x' = parts(x, phase) + field(x, phase).

    Both read canonical positions; both start as the identity. Either may be absent."""

    def __init__(
        self, timeline: Timeline, parts: PartMotion | None, field: DeformationField | None
    ) -> None:
        super().__init__()
        self.timeline = timeline
        self.parts = parts
        self.field = field

    def forward(self, canonical: Gaussians, skinning: Tensor | None, phase: float) -> Gaussians:
        """`skinning` [N,P] logits (None without parts); `phase` in [0,1]."""
        moved = canonical
        if self.field is not None:
            moved = self.field(canonical, phase)
        if self.parts is not None and skinning is not None:
            means, quats = self.parts(
                moved.means, moved.quats, torch.softmax(skinning, dim=-1), phase
            )
            moved = replace(moved, means=means, quats=quats)
        return moved
