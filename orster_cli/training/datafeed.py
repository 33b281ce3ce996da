"""Batches by step: a sample is determined by seed, step and batch index alone, on one process or many,
whether the run was interrupted or not.

B videos, T frames, C latent channels, h w latent pixels, H W pixels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import median
from typing import Any

import torch
from torch import Tensor

from orster_cli.core.errors import InputError
from orster_cli.core.frames import at_resolution, evenly_spaced
from orster_cli.core.seeding import derive_seed
from orster_cli.dataset.captions import draw_text
from orster_cli.dataset.reader import Dataset
from orster_cli.training.frame_cache import FrameCache, frame_bytes
from orster_cli.training.latents import LatentCache

MOTIONLESS = 0.0


def epoch_order(seed: int, epoch: int, count: int) -> list[int]:
    """The order of `count` samples in an epoch."""
    generator = torch.Generator().manual_seed(derive_seed(seed, "epoch", epoch))
    return torch.randperm(count, generator=generator).tolist()


def pick_caption(
    info: Mapping[str, Any], seed: int, step: int, drop_who: float = 0.0, drop_what: float = 0.0
) -> str:
    """The text of an index entry at a step: `draw_text`."""
    return draw_text(info, seed, step, drop_who=drop_who, drop_what=drop_what)


class SampleOrder:
    """Which sample stands at each batch index of each step: every sample once an epoch."""

    def __init__(self, count: int, batch: int, seed: int) -> None:
        self.count, self.batch = count, batch
        self._order = lru_cache(maxsize=4)(lambda epoch: epoch_order(seed, epoch, count))

    def at(self, step: int, index: int) -> int:
        """The sample's number in the dataset."""
        epoch, position = divmod(step * self.batch + index, self.count)
        return self._order(epoch)[position]


@dataclass(frozen=True, kw_only=True)
class LatentBatch:
    """`latents` [B,C,T,h,w] and their cameras [B,T,4,4]; `static_latents` [B,C,T,h,w]: of the static
    object from the same cameras; `first_frames` [B,3,H,W]; `motion` [B]: its strength (nan: unknown);
    `frames` [B,n,3,H,W]: ground-truth frames number `frame_numbers` [n], for stages that decode."""

    latents: Tensor
    cameras: Tensor
    static_latents: Tensor
    first_frames: Tensor
    motion: Tensor
    captions: list[str]
    frames: Tensor | None = None
    frame_numbers: Tensor | None = None


class LatentFeed:
    """Latents of one `view` of every sample that has it. `dynamic`: share of samples, the same for every
    stage and seed, whose dynamic orbit may be used; `still`: share of videos of the static object, at
    motion 0; `pictures`: number of ground-truth frames per video; `drop_who`, `drop_what`:
    probabilities that a factor of a caption is dropped."""

    def __init__(
        self,
        cache: LatentCache,
        *,
        view: str,
        frames: int,
        batch: int,
        seed: int,
        dynamic: float = 1.0,
        still: float = 0.0,
        pictures: int = 0,
        drop_who: float = 0.0,
        drop_what: float = 0.0,
    ) -> None:
        self.drops = (drop_who, drop_what)
        self.cache, self.view, self.frames, self.seed = cache, view, frames, seed
        self.still, self.pictures = still, pictures
        self.keys = list(filter(lambda key: view in cache.views(key), cache.dataset.keys()))
        if not self.keys:
            raise InputError(
                f"{cache.dataset.root}: no sample has the view {view}",
                hint="prepare the dataset from animated objects",
            )
        if view == "dynamic":
            self.keys = _some(self.keys, dynamic)
        self.order = SampleOrder(len(self.keys), batch, seed)

    def motion(self) -> float:
        """Median motion strength of the clips."""
        values = [self.cache.dataset.info(key).get("motion", math.nan) for key in self.keys]
        known = [value for value in values if math.isfinite(value)]
        return float(median(known)) if known else MOTIONLESS

    def captions(self) -> list[str]:
        """The captions of the clips in the dataset's order, each once."""
        captions = [str(self.cache.dataset.info(key).get("caption") or "") for key in self.keys]
        return list(dict.fromkeys(filter(None, captions))) or [""]

    def batch(self, step: int, indices: Sequence[int]) -> LatentBatch:
        """The videos at `indices` of the whole batch of `step`."""
        return self.of([self.order.at(step, index) for index in indices], step, indices)

    def of(self, numbers: Sequence[int], step: int, indices: Sequence[int]) -> LatentBatch:
        """The samples `numbers`, augmented as at `indices` of `step`."""
        views, statics, motions, captions, pictures = [], [], [], [], []
        frame_numbers = self._frame_numbers(step)
        for number, index in zip(numbers, indices, strict=True):
            key = self.keys[number]
            info = self.cache.dataset.info(key)
            view, motion = self.view, float(info.get("motion", math.nan))
            chance = derive_seed(self.seed, "still", step, index) / 2**63
            if view == "dynamic" and chance < self.still:
                view = "static"
            if view == "static":
                motion = MOTIONLESS
            clip = self.cache.read(key, view, self.frames)
            rest = "static" if "static" in self.cache.views(key) and view != "front" else view
            views.append(clip)
            statics.append(clip if rest == view else self.cache.read(key, rest, self.frames))
            motions.append(motion)
            captions.append(pick_caption(info, self.seed, step, *self.drops))
            if frame_numbers is not None:
                pictures.append(self._pictures(key, view, len(clip.latents), frame_numbers))
        return LatentBatch(
            latents=torch.stack([clip.latents for clip in views]).transpose(1, 2),
            cameras=torch.stack([clip.w2c for clip in views]),
            static_latents=torch.stack([clip.latents for clip in statics]).transpose(1, 2),
            first_frames=torch.stack([clip.first_frame for clip in views]),
            motion=torch.tensor(motions),
            captions=captions,
            frames=torch.stack(pictures) if pictures else None,
            frame_numbers=frame_numbers,
        )

    def _frame_numbers(self, step: int) -> Tensor | None:
        """Neighbouring frames, the first drawn per step."""
        if not self.pictures:
            return None
        total = self.frames or len(self.cache.read(self.keys[0], self.view, 0).latents)
        count = min(self.pictures, total)
        start = derive_seed(self.seed, "shown", step) % (total - count + 1)
        return torch.arange(start, start + count)

    def _pictures(self, key: str, view: str, total: int, numbers: Tensor) -> Tensor:
        clip = self.cache.dataset.clip(key, view)
        pick = evenly_spaced(len(clip), total, where=f"sample {key}")[numbers]
        return at_resolution(clip, self.cache.resolution)[pick]


def _some(keys: list[str], share: float) -> list[str]:
    """A share of `keys`, at least one, in their order. A smaller share is a subset of a larger one."""
    count = max(round(share * len(keys)), 1)
    chosen = set(sorted(keys, key=lambda key: derive_seed("dynamic", key))[:count])
    return [key for key in keys if key in chosen]


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
    ) -> None:
        """`keys`: the samples to draw from; None: all."""
        self.dataset, self.resolution, self.seed, self.cache = dataset, resolution, seed, cache
        self.keys = dataset.keys() if keys is None else keys
        self.order = SampleOrder(len(self.keys), batch, seed)
        # a clip is decoded once for the many frames that are drawn from it
        self._clip = lru_cache(maxsize=64)(self._frames)

    def batch(self, step: int, indices: Sequence[int]) -> FrameBatch:
        """The frames at `indices` of the whole batch of `step`."""
        frames, captions = [], []
        cache = self.cache if self.cache is not None and self.cache.filled else None
        for index in indices:
            key = self.keys[self.order.at(step, index)]
            info = self.dataset.info(key)
            draw = derive_seed(self.seed, "frame", step, index)
            views = [v for v in ("dynamic", "static", "front") if v in info["frames"]]
            view = views[draw % len(views)]
            number = (draw // 8) % int(info["frames"][view])
            if cache is not None:
                frames.append(cache.frame(key, view, number))
            else:
                frames.append(self._clip(key, view)[number])
            captions.append(pick_caption(info, self.seed, step))
        return FrameBatch(torch.stack(frames).float() / 255, captions)

    def _frames(self, key: str, view: str) -> Tensor:
        return frame_bytes(self.dataset, key, view, self.resolution)
