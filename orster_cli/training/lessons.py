"""Lessons of the teachers (Sec. 4.2): each is asked about what it knows and the student does not.

The 3D teacher is asked about static orbits of all objects, the video teacher about front views of all
clips, as each was trained. Dynamic orbits, which are scarce, serve the diffusion loss alone.
B videos, T frames, C latent channels, h w latent pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

from torch import Tensor

from orster_cli.training.datafeed import LatentBatch, LatentFeed
from orster_cli.training.placeholder_batches import PlaceholderLatents

STATIC, FRONT = "static", "front"  # views of the spatial and of the temporal lesson
Schedule = Callable[[int], float]  # a number for each step


@dataclass(frozen=True, kw_only=True)
class TaughtBatch:
    """`own`: videos for the diffusion loss; `static` and `front`: those of the two lessons, None at steps
    without."""

    own: LatentBatch
    static: LatentBatch | None = None
    front: LatentBatch | None = None


class LessonFeed:
    """Batches of `feed`, `size` videos in all processes, and, while `weight` is above 0, of its lessons
    `views`: at the indices of `lesson_indices`."""

    def __init__(
        self,
        feed: LatentFeed | PlaceholderLatents,
        *,
        views: Sequence[str],
        share: float,
        size: int,
        weight: Schedule,
    ) -> None:
        self.feed, self.views, self.weight = feed, tuple(views), weight
        self.share, self.size = share, size
        self.held_out = feed.held_out

    def captions(self) -> list[str]:
        """As `LatentFeed.captions`."""
        return self.feed.captions()

    def batch(self, step: int, indices: Sequence[int]) -> TaughtBatch:
        """The videos at `indices` of the whole batch of `step`."""
        own = self.feed.batch(step, indices)
        if not self.weight(step):
            return TaughtBatch(own=own)
        lessons = {}
        for view in self.views:
            some = lesson_indices(view, step, indices, self.share, self.size)
            if some:
                lessons[view] = self.feed.lesson(view, step, some)
        return TaughtBatch(own=own, **lessons)


def lesson_indices(
    view: str, step: int, indices: Sequence[int], share: float, size: int
) -> list[int]:
    """Those of `indices` at which there is a video of the lesson, in batches of `size`: a share of all
    videos of the training, evenly spaced (1/n: every n-th), the two lessons at different ones up to a share
    of 1/2. So they are the same however a batch is divided, and a micro-batch of one video has one lesson
    at a time."""
    of = _exact(share)
    first = 0 if view == STATIC else round(1 / of) // 2
    numbers = ((index, step * size + index - first) for index in indices)
    return [index for index, k in numbers if math.ceil((k + 1) * of) > math.ceil(k * of)]


def spacing(share: float) -> float:
    """Videos from one of a lesson to the next, on average."""
    return float(1 / _exact(share))


@cache
def _exact(share: float) -> Fraction:
    """The share that is meant: 1/3 for 0.3333333333333333."""
    return Fraction(share).limit_denominator(1000)


def constant(value: float) -> Schedule:
    """The same at every step."""
    return lambda _: value


def falling(value: float, steps: float) -> Schedule:
    """From `value` at step 0 down to 0 at `steps`, linearly; 0 after it."""
    return lambda step: value * max(1 - step / steps, 0.0) if steps > 0 else 0.0


def fading(steps: int, share: float) -> tuple[Schedule, int]:
    """1, and over the share `share` of `steps` down to 0, where the last quarter of that share stays; and
    the first step that has 0."""
    begins, ends = (1 - share) * steps, (1 - share / 4) * steps
    last = round(ends)
    if ends <= begins:
        return constant(1.0), 0

    def at(step: int) -> float:
        return 0.0 if step >= last else min(max((ends - step) / (ends - begins), 0.0), 1.0)

    return at, last


def at_rest(batch: LatentBatch, view: str) -> Tensor:
    """The object at rest from the cameras of a lesson [B,C,T,h,w]; a front view begins with it."""
    if view == FRONT:
        return batch.latents[:, :, :1].expand_as(batch.latents)
    return batch.static_latents
