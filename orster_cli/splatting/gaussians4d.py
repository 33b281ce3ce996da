"""Animated Gaussians: canonical Gaussians, a deformation field and a timeline."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from orster_cli.core.errors import NumericalError
from orster_cli.core.types import Course, Gaussians
from orster_cli.splatting.deformation import DeformationField
from orster_cli.splatting.tracks import TrackedNodes


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """Maps the time of a clip to the phase of its motion.

    `looping`: phase 1 equals phase 0, and the clip contains `cycles` cycles."""

    looping: bool = False
    cycles: int = 1

    def phase(self, time: float) -> float:
        """Phase in [0,1] (in [0,1) when looping) of `time` in [0,1]."""
        return (time * self.cycles) % 1.0 if self.looping else min(max(time, 0.0), 1.0)


def over_phase(course: Course, timeline: Timeline, keys: int) -> Course:
    """The `course` over the phase of a `timeline`, at `keys` intervals of it:
    of one that loops, the mean of its cycles, closed."""
    cycles = timeline.cycles if timeline.looping else 1
    phases = [k / keys for k in range(keys + 1)]
    moments = [
        torch.stack([course.at((phase + c) / cycles) for c in range(cycles)]).mean(dim=0)
        for phase in phases
    ]
    goes = Course(rest=course.rest.float(), places=torch.stack(moments).float())
    return goes.closed() if timeline.looping else goes


@dataclass(frozen=True, kw_only=True)
class Gaussians4D:
    """An animated object: canonical Gaussians and their motion."""

    canonical: Gaussians
    motion: Motion

    def at(self, time: float) -> Gaussians:
        """The Gaussians at `time` in [0,1] of the clip. NumericalError: means that are not finite."""
        moved = self.motion(self.canonical, self.motion.timeline.phase(time))
        if not bool(torch.isfinite(moved.means).all()):
            raise NumericalError(
                f"the motion at time {time:g} has means that are not finite",
                hint="the asset is damaged or was fitted badly; construct it again",
            )
        return moved


class Motion(nn.Module):
    """Canonical Gaussians -> Gaussians at a phase: by a field that is learned, and begins as the identity,
    or by nodes whose motion is known."""

    def __init__(self, timeline: Timeline, field: DeformationField | TrackedNodes) -> None:
        super().__init__()
        self.timeline = timeline
        self.field = field

    def forward(self, canonical: Gaussians, phase: float) -> Gaussians:
        """`phase` in [0,1]."""
        moved: Gaussians = self.field(canonical, phase)
        return moved
