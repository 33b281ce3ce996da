"""The root motion: how an object moves as a whole. The field and the control nodes move it within.

Who falls over turns by a right angle, which a field that starts at rest does not find by small steps: it
slides the legs away. K keys, N Gaussians.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from orster_cli.core.types import Gaussians
from orster_cli.splatting.nodes import multiply, rotations, same_side


class RootMotion(nn.Module):
    """Key k of `quats` [K,4] wxyz and `shifts` [K,3] (world units) turns an object about `centre` [3] and
    moves it, at the phase k / (K - 1), or k / K where the motion is `periodic`. Between keys quaternions
    (of either sign) and shifts are blended linearly."""

    quats: Tensor
    shifts: Tensor
    centre: Tensor

    def __init__(
        self, quats: Tensor, shifts: Tensor, centre: Tensor, *, periodic: bool = False
    ) -> None:
        super().__init__()
        count = len(quats)
        if quats.shape != (count, 4) or shifts.shape != (count, 3) or centre.shape != (3,):
            raise ValueError("root motion: expected quats [K,4], shifts [K,3] and centre [3]")
        if count < 2:
            raise ValueError(f"root motion: expected 2 keys or more, got {count}")
        self.register_buffer("quats", same_side(quats.detach().float()))
        self.register_buffer("shifts", shifts.detach().float().clone())
        self.register_buffer("centre", centre.detach().float().clone())
        self.periodic = periodic

    def at(self, t: float) -> tuple[Tensor, Tensor]:
        """The quaternion [4], normalised, and the shift [3] at the phase `t` in [0,1]."""
        count = len(self.quats)
        place = (t % 1.0) * count if self.periodic else min(max(t, 0.0), 1.0) * (count - 1)
        first = min(int(place), count - 1)
        second = (first + 1) % count if self.periodic else min(first + 1, count - 1)
        share = place - first
        a, b = self.quats[first], self.quats[second]
        b = torch.where((a * b).sum() < 0, -b, b)  # the loop may close on the other sign
        quat = torch.nn.functional.normalize((1 - share) * a + share * b, dim=0)
        return quat, (1 - share) * self.shifts[first] + share * self.shifts[second]

    @property
    def farthest(self) -> float:
        """The largest angle between a key and the object at rest, degrees."""
        return math.degrees(2 * float(self.quats[:, 0].abs().clamp(max=1).acos().max()))

    def forward(self, gaussians: Gaussians, t: float) -> Gaussians:
        """`gaussians` turned and moved as at the phase `t` in [0,1]."""
        quat, shift = self.at(t)
        away = gaussians.means - self.centre
        return replace(
            gaussians,
            means=away @ rotations(quat[None])[0].T + (self.centre + shift),
            quats=multiply(quat.expand_as(gaussians.quats), gaussians.quats),
        )


def root_of(tensors: Mapping[str, Tensor], prefix: str, *, periodic: bool) -> RootMotion | None:
    """The root motion whose `state_dict` is in `tensors` under `prefix`; None if there is none. KeyError,
    ValueError: a tensor is absent or has another shape."""
    if f"{prefix}quats" not in tensors:
        return None
    names = ("quats", "shifts", "centre")
    return RootMotion(*(tensors[f"{prefix}{name}"] for name in names), periodic=periodic)
