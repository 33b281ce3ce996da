"""What the formats of moving Gaussians share: their key frames, and how they are measured. N Gaussians."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from orster_cli.core.errors import LimitError
from orster_cli.core.limits import CLIP_MAX_BYTES
from orster_cli.core.names import counted
from orster_cli.core.types import Gaussians
from orster_cli.export.job import ExportJob, Outcome
from orster_cli.export.measure import against_asset, some_of, splat_images
from orster_cli.export.moments import Moments, check_moves, key_moments
from orster_cli.export.splats import as_written, axis_words, gaussians_at
from orster_cli.geometry.axes import turned

UPS = ("z", "y")  # what both formats can state; ours first
GAUSSIAN_BYTES = 340  # of memory for a Gaussian of a key frame, at most


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
    """Key frames of the motion in a world whose up is `up`. InputError: it does not move; LimitError: they
    take too much memory."""
    if job.options.times is None:
        check_moves(job.asset, what)
    moments = key_moments(job.asset, job.frames, job.options.fps, job.options.times)
    count, each = len(moments.times), len(job.asset.canonical.means)
    if count * each * GAUSSIAN_BYTES > CLIP_MAX_BYTES:
        raise LimitError(
            f"{what}: {counted(count, 'key frame')} of {counted(each, 'Gaussian')} take more than "
            f"{CLIP_MAX_BYTES:,} bytes of memory",
            hint="fewer --times",
        )
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


def outcome(job: ExportJob, keys: Keys, up: str, read: Callable[[float], Gaussians]) -> Outcome:
    """What was written, by the Gaussians that `read` returns for a second of the file: the mean PSNR to the
    asset at key frames, or half way between two where that is lower. Of given `--times` the latter is said
    but not required."""
    times, seconds = list(keys.moments.times), list(keys.moments.seconds)
    if keys.moments.closing is not None:
        timeline = job.asset.motion.timeline
        times.append(1.0 / timeline.cycles)
        seconds.append(keys.moments.closing)

    def mean(places: list[float]) -> float:
        at, of = (np.interp(places, range(len(times)), row).tolist() for row in (times, seconds))

        def drawn(index: int) -> Tensor:
            return splat_images(as_written(job, turned(read(of[index]), up, back=True)))

        return against_asset(job.asset, at, drawn)

    count = len(keys.moments.times)
    note = f"{counted(count, 'key frame')} in {keys.duration:.2f} s, {axis_words(up)} up"
    psnr = mean([float(i) for i in some_of(keys.moments.times)])
    if len(times) > 1:
        between = mean([i + 0.5 for i in some_of(times[1:])])
        if job.options.times is None:
            psnr = min(psnr, between)
        else:
            note += f", {between:.1f} dB half way between them"
    return Outcome(psnr=psnr, facts={"keys": count, "seconds": keys.duration, "up": up}, note=note)


def _nearer(gaussians: Gaussians, before: Gaussians) -> Gaussians:
    """The same, with the sign of each quaternion that is closer to the one `before`."""
    away = (gaussians.quats * before.quats).sum(dim=-1, keepdim=True) < 0
    return replace(gaussians, quats=gaussians.quats * (1 - 2 * away.to(gaussians.quats)))
