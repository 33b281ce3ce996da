"""What the formats of moving Gaussians share: their key frames, and how they are measured. N Gaussians."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from orster_cli.core.types import Gaussians
from orster_cli.export.job import ExportJob
from orster_cli.export.measure import against_asset, some_of, splat_images
from orster_cli.export.moments import Moments, check_moves, key_moments
from orster_cli.export.splats import as_written, gaussians_at
from orster_cli.geometry.axes import turned

UPS = ("z", "y")  # what both formats can state; ours first


@dataclass(frozen=True, eq=False)
class Keys:
    """`gaussians` at `seconds` [K] of the file, increasing from 0; `moments` without the one that closes a
    loop, which is in the other two."""

    moments: Moments
    gaussians: list[Gaussians]
    seconds: np.ndarray

    @property
    def duration(self) -> float:
        return float(self.seconds[-1])


def keys_of(job: ExportJob, what: str, up: str) -> Keys:
    """Key frames of the motion in a world whose up is `up`. InputError: it does not move."""
    if job.options.times is None:
        check_moves(job.asset, what)
    moments = key_moments(job.asset, job.frames, job.options.fps, job.options.times)
    found: list[Gaussians] = []
    for number, time in enumerate(moments.times, 1):
        now = turned(gaussians_at(job, time), up)
        found.append(_nearer(now, found[-1]) if found else now)
        job.reporter.step(what, number, len(moments.times))
    seconds = list(moments.seconds)
    if moments.closing is not None:
        found.append(_nearer(found[0], found[-1]))
        seconds.append(moments.closing)
    elif len(seconds) == 1:  # one moment: shown for a frame
        found.append(found[0])
        seconds.append(1 / job.options.fps)
    return Keys(moments, found, np.array(seconds))


def measured(job: ExportJob, keys: Keys, up: str, read: Callable[[float], Gaussians]) -> float:
    """Mean PSNR in dB to the asset of the Gaussians that `read` returns for a second of the file: at keys
    and half way between two."""
    count = len(keys.moments.times)
    between = [i + 0.5 for i in range(count - 1)]
    places = [*some_of(keys.moments.times, 2), *(between[i] for i in some_of(between, 2))]
    times = np.interp(places, range(count), keys.moments.times).tolist()
    seconds = np.interp(places, range(count), keys.moments.seconds).tolist()

    def drawn(index: int) -> Tensor:
        return splat_images(as_written(job, turned(read(seconds[index]), up, back=True)))

    return against_asset(job.asset, times, drawn)


def _nearer(gaussians: Gaussians, before: Gaussians) -> Gaussians:
    """The same, with the sign of each quaternion that is closer to the one `before`."""
    away = (gaussians.quats * before.quats).sum(dim=-1, keepdim=True) < 0
    return replace(gaussians, quats=gaussians.quats * (1 - 2 * away.to(gaussians.quats)))
