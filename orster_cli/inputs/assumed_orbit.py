"""The orbit that a video without cameras is taken to have, checked against its pictures.

T frames, H W pixels.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor

from orster_cli.construction.orbit_check import (
    BELIEVED,
    MAX_FRAMES,
    MIN_FRAMES,
    REPEATS_GAIN,
    THRESHOLDS,
    held_ends,
    judge_orbit,
    orbit_cost,
    repeats_after,
)
from orster_cli.core.errors import ConfigError, InputError
from orster_cli.core.reporting import Reporter
from orster_cli.geometry.orbit import FOV_DEG, RADIUS

LEAST_HELD = 2  # frames at the ends that repeat a picture


@dataclass(frozen=True, kw_only=True)
class OrbitFlags:
    """The orbit of a video that carries no cameras; angles in degrees, `turns` < 0 is clockwise. None: one
    turn counter-clockwise, unless the pictures show that the camera stands still, goes the other way, or
    stands at another elevation."""

    elevation: float = 0.0
    radius: float = RADIUS
    fov: float = FOV_DEG
    azimuth_start: float = 0.0
    turns: float | None = None

    @property
    def assumed_turns(self) -> float:
        """The turns before the pictures are looked at."""
        return 1.0 if self.turns is None else self.turns

    def value(self) -> dict[str, float]:
        """As a manifest keeps it."""
        return asdict(replace(self, turns=self.assumed_turns))

    def check(self) -> None:
        """ConfigError where no camera could stand."""
        rules = {
            "--elevation": (
                -89 <= self.elevation <= 89,
                "between -89 and 89 degrees",
                self.elevation,
            ),
            "--radius": (0.7 < self.radius <= 100, "more than 0.7 object sizes", self.radius),
            "--fov": (1 <= self.fov <= 150, "between 1 and 150 degrees", self.fov),
            "--azimuth-start": (
                abs(self.azimuth_start) <= 720,
                "within two turns",
                self.azimuth_start,
            ),
            "--turns": (abs(self.assumed_turns) <= 20, "at most 20 turns", self.assumed_turns),
        }
        for flag, (fine, want, got) in rules.items():
            if not fine:  # NaN compares false, so it ends here too
                raise ConfigError(f"{flag}: expected {want}, got {got:g}")

    def describe(self, frames: int) -> str:
        """One line that says what was assumed."""
        turns = self.assumed_turns
        if turns == 0:
            way = "a camera that stands still"
        else:
            side = "counter-clockwise" if turns > 0 else "clockwise"
            way = f"{abs(turns):g} turn(s) {side} seen from above"
        return (
            f"{frames} frames, {way}, starting at azimuth {self.azimuth_start:g} deg, elevation "
            f"{self.elevation:g} deg, radius {self.radius:g}, field of view {self.fov:g} deg"
        )


def one_turn(
    frames: Tensor,
    alpha: Tensor,
    progress: Tensor,
    orbit: OrbitFlags,
    where: str,
    reporter: Reporter,
) -> tuple[Tensor, Tensor]:
    """The indices [K] of the frames that show the whole way once, and the `progress` [K] of each: without
    the ends where the picture is held, and without turns that show the same again. Says so; with turns that
    are given it only warns."""
    count = len(frames)
    every = torch.arange(count)
    if orbit.turns == 0 or count < MIN_FRAMES:
        return every, progress
    masked = frames * alpha

    def cost(which: Tensor, way: Tensor) -> float:
        pick = torch.linspace(0, len(which) - 1, min(len(which), MAX_FRAMES)).round().long()
        return orbit_cost(
            frames[which[pick]],
            alpha[which[pick]],
            orbit.azimuth_start + 360.0 * orbit.assumed_turns * way[pick],
            elevation=orbit.elevation,
            radius=orbit.radius,
            fov_deg=orbit.fov,
        )

    first, last = held_ends(masked)
    if first + last >= LEAST_HELD and count - first - last >= MIN_FRAMES:
        kept = every[first : count - last]
        end = float(progress[count - last]) if last else 1.0
        way = (progress[kept] - progress[first]) / (end - float(progress[first]))
        if cost(kept, progress[kept]) > cost(kept, way):
            held = first + last
            if orbit.turns is not None:
                reporter.warn(
                    f"{where}: {held} of its {count} frames hold the picture at its ends: --turns counts "
                    "them too; cut them off if the camera stands"
                )
                return every, progress
            reporter.warn(
                f"{where}: {held} of its {count} frames hold the picture at its ends: the turn is taken to "
                f"go from frame {first} to {count - last}"
            )
            return kept, way
    shift = repeats_after(masked)
    if shift:
        kept = every[:shift]
        way = progress[kept] * (count / shift)
        if cost(every, progress) - cost(kept, way) > REPEATS_GAIN:
            times = round(count / shift)
            if orbit.turns is not None:
                reporter.warn(
                    f"{where}: the pictures come again after {shift} of {count} frames: --turns counts all "
                    f"of them; give {times} times one turn"
                )
                return every, progress
            reporter.warn(
                f"{where}: the pictures come again after {shift} of {count} frames: the first {shift} are "
                "used, as one turn"
            )
            return kept, way
    return every, progress


def checked_orbit(
    frames: Tensor,
    alpha: Tensor,
    progress: Tensor,
    orbit: OrbitFlags,
    where: str,
    reporter: Reporter,
) -> OrbitFlags:
    """`orbit`, or what the pictures show instead where its turns are left open; says so. InputError: the
    frames are in random order."""
    if orbit.turns == 0:
        return orbit
    found = judge_orbit(
        frames,
        alpha,
        orbit.azimuth_start + 360.0 * orbit.assumed_turns * progress,
        elevation=orbit.elevation,
        radius=orbit.radius,
        fov_deg=orbit.fov,
    )
    decide = orbit.turns is None
    if found.kind == "order":
        message = (
            f"{where}: the frames are not in order: consecutive ones differ as much as any two "
            f"({found.unordered:.0%}), and another order is {1 - found.reordered:.0%} shorter"
        )
        if not decide:
            reporter.warn(message)
            return orbit
        raise InputError(
            message,
            code="E-ORBIT-ORDER",
            hint="name the images by their place in the orbit (0001.png, 0002.png, ...), give a "
            "transforms.json, or, if this is the right order, --turns 1",
        )
    if found.kind in ("twice", "half"):
        way = orbit.assumed_turns * {"twice": 2.0, "half": 0.5}[found.kind]
        words = {"twice": "two turns", "half": "half a turn"}[found.kind]
        reporter.warn(f"{where}: the silhouettes fit {words} rather than one: try --turns {way:g}")
        return orbit
    if found.kind == "still":
        if decide:
            reporter.warn(
                f"{where}: the pictures show a camera that stands still: taken as --turns 0"
            )
            return replace(orbit, turns=0.0)
        reporter.warn(f"{where}: the pictures show a camera that stands still: try --turns 0")
        return orbit
    if found.kind == "reversed":
        way = -orbit.assumed_turns
        side = "clockwise" if way < 0 else "counter-clockwise"
        if not decide or found.reversed < BELIEVED["reversed"]:
            reporter.warn(f"{where}: the camera seems to go round {side}: try --turns {way:g}")
            return orbit
        reporter.warn(f"{where}: the pictures show a camera that goes round {side}: taken as such")
        orbit = replace(orbit, turns=way)
    if found.elevation_gain > THRESHOLDS["elevation"]:
        text = f"an elevation of {found.elevation:g} degrees rather than {orbit.elevation:g}"
        sure = found.elevation_gain > BELIEVED["elevation"]
        if not (decide and sure) or orbit.elevation != 0:
            reporter.warn(
                f"{where}: the silhouettes fit {text}: try --elevation {found.elevation:g}"
            )
            return orbit
        reporter.warn(f"{where}: the silhouettes fit {text}: taken (--turns 1 keeps what is given)")
        orbit = replace(orbit, elevation=found.elevation)
    return orbit
