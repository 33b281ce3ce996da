"""Lessons of the teachers (Sec. 4.2): each is asked about what it knows and the student does not.

The 3D teacher is asked about static orbits of all objects, the video teacher about front views of all
clips, as each was trained. Dynamic orbits, which are scarce, serve the diffusion loss alone.
B videos, T frames, C latent channels, h w latent pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

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
    """Batches of `feed` and, while `weight` is above 0, of its lessons `views`: as many videos as `share`
    of the batch, at least one."""

    def __init__(
        self,
        feed: LatentFeed | PlaceholderLatents,
        *,
        views: Sequence[str],
        share: float,
        weight: Schedule,
    ) -> None:
        self.feed, self.views, self.share, self.weight = feed, tuple(views), share, weight
        self.held_out = feed.held_out

    def captions(self) -> list[str]:
        """As `LatentFeed.captions`."""
        return self.feed.captions()

    def batch(self, step: int, indices: Sequence[int]) -> TaughtBatch:
        """The videos at `indices` of the whole batch of `step`."""
        own = self.feed.batch(step, indices)
        if not self.weight(step):
            return TaughtBatch(own=own)
        some = lesson_indices(indices, self.share)
        return TaughtBatch(
            own=own, **{view: self.feed.lesson(view, step, some) for view in self.views}
        )


def lesson_indices(indices: Sequence[int], share: float) -> list[int]:
    """The batch indices at which there are videos of a lesson: every n-th, the same however a batch is
    divided, and at least one."""
    every = max(round(1 / share), 1)
    return [index for index in indices if index % every == 0] or list(indices)[:1]


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
