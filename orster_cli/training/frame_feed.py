"""Batches of single frames, for the frame VAE and the encoder.

B frames, H W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from orster_cli.core.seeding import derive_seed
from orster_cli.dataset.reader import Dataset
from orster_cli.training.datafeed import SampleOrder, pick_caption
from orster_cli.training.frame_cache import FrameCache, frame_bytes
from orster_cli.training.host_copies import to_device

if TYPE_CHECKING:
    from orster_cli.training.held_out import HeldOut


@dataclass(frozen=True)
class FrameBatch:
    """`frames` [B,3,H,W] in [0,1] and the captions of their clips."""

    frames: Tensor
    captions: list[str]


class FrameFeed:
    """Single frames of all views, for the frame VAE and the encoder: from `cache` or, where that is not
    filled, decoded: the same batches, more slowly."""

    def __init__(
        self,
        dataset: Dataset,
        *,
        resolution: int,
        batch: int,
        seed: int,
        cache: FrameCache | None = None,
        keys: list[str] | None = None,
        device: torch.device | None = None,
    ) -> None:
        """`keys`: the samples to draw from; None: all. `device`: where the frames are put."""
        self.dataset, self.resolution, self.seed, self.cache = dataset, resolution, seed, cache
        self.keys = dataset.keys() if keys is None else keys
        self.order = SampleOrder(len(self.keys), batch, seed)
        self.device = device or torch.device("cpu")
        self.held_out: HeldOut | None = None

    def batch(self, step: int, indices: Sequence[int]) -> FrameBatch:
        """The frames at `indices` of the whole batch of `step`."""
        return self.of([self.order.at(step, index) for index in indices], step, indices)

    def of(self, numbers: Sequence[int], step: int, indices: Sequence[int]) -> FrameBatch:
        """A frame of each of the samples `numbers`, drawn as at `indices` of `step`."""
        frames, captions = [], []
        cache = self.cache if self.cache is not None and self.cache.filled else None
        for number, index in zip(numbers, indices, strict=True):
            key = self.keys[number]
            info = self.dataset.info(key)
            draw = derive_seed(self.seed, "frame", step, index)
            views = [v for v in ("dynamic", "static", "front") if v in info["frames"]]
            view = views[draw % len(views)]
            frame = (draw // 8) % int(info["frames"][view])
            if cache is not None:
                frames.append(cache.frame(key, view, frame))
            else:
                frames.append(frame_bytes(self.dataset, key, view, self.resolution, [frame])[0])
            captions.append(pick_caption(info, self.seed, step))
        return FrameBatch(to_device(torch.stack(frames), self.device).float() / 255, captions)
