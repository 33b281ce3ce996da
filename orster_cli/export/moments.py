"""The moments of an asset that an export holds: key frames of a motion, or frames of a sequence.

The field is piecewise linear in time between the cells of its planes (before its ReLU), so key frames lie
on multiples of these cells; players interpolate between them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from orster_cli.core.errors import ConfigError, InputError
from orster_cli.core.limits import VIDEO_MAX_FRAMES
from orster_cli.splatting.gaussians4d import Gaussians4D

MOST_KEYS = 64
CLOSE = 2e-3  # of the object's diagonal: how far Gaussians may be from where linear keys put them
STILL = 1e-4  # of the diagonal: less motion is none


@dataclass(frozen=True, eq=False)
class Moments:
    """`times` in [0,1] of the clip and `seconds` of each; `closing`: the second at which a loop is back at
    the first moment, which is not repeated. None: it does not loop."""

    times: tuple[float, ...]
    seconds: np.ndarray
    closing: float | None = None


def parse_times(text: str) -> tuple[float, ...]:
    """ "0:1:24": 24 moments from 0 to 1, both included; "0.5": one. ConfigError."""
    parts = text.split(":")
    try:
        first, last = float(parts[0]), float(parts[1 if len(parts) == 3 else 0])
        count = int(parts[2]) if len(parts) == 3 else 1
    except (ValueError, IndexError):
        raise ConfigError(f"--times: expected FIRST:LAST:COUNT or a number, got {text!r}") from None
    if len(parts) == 2 or not (0 <= first <= 1 and 0 <= last <= 1):
        raise ConfigError(f"--times: expected FIRST:LAST:COUNT in [0, 1], got {text!r}")
    if not 1 <= count <= VIDEO_MAX_FRAMES:
        raise ConfigError(f"--times: expected 1 to {VIDEO_MAX_FRAMES} moments, got {count}")
    return tuple(np.linspace(first, last, count).tolist())


def frame_moments(
    asset: Gaussians4D, frames: int, fps: float, times: tuple[float, ...] | None
) -> Moments:
    """Frames at `fps`: the given `times`, or `frames` over the clip. A loop's last frame, which equals the
    first, is left out."""
    looping = asset.motion.timeline.looping and times is None
    if times is None:
        times = tuple(np.linspace(0, 1, frames, endpoint=not looping).tolist())
    return Moments(times, np.arange(len(times)) / fps, len(times) / fps if looping else None)


def key_moments(
    asset: Gaussians4D, frames: int, fps: float, times: tuple[float, ...] | None
) -> Moments:
    """Key frames between which players interpolate: the given `times`, or enough that no Gaussian's
    distance to its own path exceeds `CLOSE` on average, at most 64. A motion of several cycles is one.

    They last as long as `frames` at `fps`; given times may run backwards, and equal ones are one."""
    timeline = asset.motion.timeline
    whole = (frames if timeline.looping else max(frames - 1, 1)) / fps
    if times is not None:
        times = times if len(set(times)) > 1 else times[:1]
        return Moments(times, np.abs(np.array(times) - times[0]) * whole)
    cells = asset.motion.field.time_cells
    cycle = 1.0 / timeline.cycles if timeline.looping else 1.0

    def keys(count: int) -> np.ndarray:
        return np.linspace(0, cycle, count, endpoint=not timeline.looping)

    step, last = (cells, 0) if timeline.looping else (cells - 1, 1)
    # of very many cells each is a key, or there is no room for that
    counts = list(range(2 * step + last, MOST_KEYS + 1, step)) or [min(cells, MOST_KEYS)]
    found = keys(counts[0])
    for count in counts[1:]:
        if _departure(asset, found) <= CLOSE:
            break
        found = keys(count)
    closing = whole * cycle if timeline.looping else None
    return Moments(tuple(found.tolist()), found * whole, closing)


@torch.no_grad()
def _departure(asset: Gaussians4D, times: np.ndarray) -> float:
    """How far Gaussians are from the straight line between two keys, half way: the mean at the worst
    moment, over the diagonal."""
    keys = [asset.at(float(time)).means for time in times]
    if asset.motion.timeline.looping:
        keys.append(keys[0])
    step = float(times[1] - times[0])
    worst = 0.0
    for i in range(len(keys) - 1):
        half = asset.at(float(times[i]) + step / 2).means
        worst = max(worst, float((half - (keys[i] + keys[i + 1]) / 2).norm(dim=-1).mean()))
    return worst / diagonal(asset)


def diagonal(asset: Gaussians4D) -> float:
    """The diagonal of the box of the canonical Gaussians."""
    means = asset.canonical.means
    return float((means.amax(dim=0) - means.amin(dim=0)).norm().clamp_min(1e-9))


@torch.no_grad()
def check_moves(asset: Gaussians4D, what: str) -> None:
    """InputError: nothing moves, so that `what` cannot hold a motion."""
    start, timeline = asset.at(0.0).means, asset.motion.timeline
    cycle = 1.0 / timeline.cycles if timeline.looping else 1.0
    times = [share * cycle for share in (0.25, 0.5, 0.75, 1.0)]
    far = max(float((asset.at(t).means - start).norm(dim=-1).max()) for t in times)
    if far < STILL * diagonal(asset):
        raise InputError(
            f"the asset does not move, and {what} holds motion",
            hint="--to glb-splats holds one moment; --times 0 writes one",
            code="E-NO-MOTION",
        )
