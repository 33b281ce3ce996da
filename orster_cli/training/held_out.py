"""Clips that are never trained on, and the loss of the averaged weights on them: with the same noise,
levels and conditions each time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import PurePosixPath
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from orster_cli.config.train import TrainConfig
from orster_cli.core.seeding import derive_seed
from orster_cli.dataset.reader import Dataset

CLIPS = 64  # at most, of one measurement
GROUPS = 8  # of clips; a group has a step's draws in common
SHARE = 0.05  # at most, of the processor time of training
LEAST_STEPS = 50  # between two measurements
_PASSES = 3  # a training step costs this many forward passes


class NumberedFeed(Protocol):
    """A feed whose samples can be asked for by number."""

    def of(self, numbers: Sequence[int], step: int, indices: Sequence[int]) -> Any:
        """The samples `numbers`, with the draws at `indices` of `step`."""
        ...


def object_name(dataset: Dataset, key: str) -> str:
    """The file of the object that a sample shows; several samples show one object."""
    source = dataset.info(key).get("source")
    return PurePosixPath(source).name if source else key.rpartition("-")[0] or key


def held_out_keys(dataset: Dataset, share: float) -> list[str]:
    """The samples of a share of the objects, rounded down: the same objects for every stage and seed. A
    smaller share is a subset of a larger one."""
    keys = dataset.keys()
    names = sorted({object_name(dataset, key) for key in keys})
    names.sort(key=lambda name: derive_seed("held out", name))
    chosen = set(names[: math.floor(share * len(names) + 1e-9)])
    return [key for key in keys if object_name(dataset, key) in chosen]


def clips_in_common(dataset: Dataset, other: Dataset) -> list[str]:
    """The samples of `dataset` that show a clip of an object that `other` has too."""
    keys, others = dataset.keys(), other.keys()
    theirs = {_clip(other, key) for key in others}
    return [key for key in keys if _clip(dataset, key) in theirs]


def _clip(dataset: Dataset, key: str) -> tuple[str, object]:
    """Object and number of the animation; without a number the sample's own key."""
    number = dataset.info(key).get("clip")
    return object_name(dataset, key), key if number is None else number


class HeldOut:
    """`count` held-out samples of `feed`, at most `CLIPS` of them, evenly spaced. With `repeat` there are
    `CLIPS` draws of them, however few they are."""

    def __init__(self, feed: NumberedFeed, count: int, *, repeat: bool = False) -> None:
        self.feed = feed
        many = CLIPS if repeat else min(count, CLIPS)
        self.numbers = [i * count // many if count >= many else i % count for i in range(many)]

    def __len__(self) -> int:
        return len(self.numbers)

    def every(self, cfg: TrainConfig) -> int:
        """Steps between two measurements: as set, or every `LEAST_STEPS` with the log, and so rarely that
        they take at most `SHARE` of the time."""
        if cfg.held_out_every:
            return cfg.held_out_every
        steps = max(LEAST_STEPS, math.ceil(len(self) / (_PASSES * cfg.batch * SHARE)))
        return -(-steps // cfg.log_every) * cfg.log_every

    @torch.no_grad()
    def loss(
        self,
        task: nn.Module,
        size: int,
        part: tuple[int, int],
        autocast: Callable[[], AbstractContextManager[None]],
    ) -> tuple[Tensor, Tensor]:
        """Sum of the losses and number of the clips of `part` (i, n): every n-th from the i-th of each
        group, up to `size` at once. `task` is put into evaluation mode."""
        task.eval()
        measure = getattr(task, "held_out_loss", None)
        sums: list[Tensor] = []
        count = 0
        with autocast():
            for group in range(GROUPS):
                indices = list(range(group, len(self), GROUPS))[part[0] :: part[1]]
                step = -1 - group  # no step of training has its draws
                for some in (indices[k : k + size] for k in range(0, len(indices), size)):
                    batch = self.feed.of([self.numbers[i] for i in some], step, some)
                    loss = measure(batch, step, some) if measure else task(batch, step, some)[0]
                    sums.append(loss.detach().float() * len(some))
                    count += len(some)
        device = next(task.parameters()).device
        total = torch.stack(sums).sum() if sums else torch.zeros((), device=device)
        return total, torch.full((), float(count), device=device)


def without(keys: Iterable[str], others: Iterable[str]) -> list[str]:
    """`keys` that are not among `others`, in their order."""
    gone = set(others)
    return [key for key in keys if key not in gone]
