"""The latents of a dataset's views in memory, on the device where they fit, taken by index.

What fits neither there nor in host memory is read from the cache for each batch: the same values.
M samples, B videos, T frames, C latent channels, h w latent pixels, H W pixels; a grid has N azimuths.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from orster_cli.core.errors import InputError
from orster_cli.core.reporting import Reporter
from orster_cli.training.data_memory import DataMemory
from orster_cli.training.host_copies import rows_of, to_device
from orster_cli.training.latents import LatentCache, LatentClip


@dataclass(frozen=True)
class Taken:
    """`latents` [B,T,C,h,w], `w2c` [B,T,4,4], `first` [B,3,H,W] in [0,1], on the device."""

    latents: Tensor
    w2c: Tensor
    first: Tensor


@dataclass(frozen=True)
class _Table:
    """One view of M samples: of a video `latents` [M,T,C,h,w], `w2c` [M,T,4,4], `first` [M,1,3,H,W] uint8;
    of a grid [M,N T,...] and `first` [M,N,3,H,W]. `rows`: of each key."""

    latents: Tensor
    w2c: Tensor
    first: Tensor
    rows: dict[str, int]

    def take(self, keys: Sequence[str], picks: Tensor | None, device: torch.device) -> Taken:
        rows = torch.tensor([self.rows[key] for key in keys])
        if picks is None:
            first = rows
            latents, w2c = (rows_of(x, rows, device) for x in (self.latents, self.w2c))
        else:
            moments = self.latents.shape[1] // self.first.shape[1]
            first = rows * self.first.shape[1] + picks[:, 0] // moments
            numbers = (rows[:, None] * self.latents.shape[1] + picks).flatten()
            latents, w2c = (
                rows_of(x.flatten(0, 1), numbers, device).unflatten(0, picks.shape)
                for x in (self.latents, self.w2c)
            )
        shown = rows_of(self.first.flatten(0, 1), first, device)
        return Taken(latents, w2c, shown.float() / 255)


class LatentStore:
    """Views of the samples of `cache` with `frames` frames (0: all), each loaded when it is first taken.
    `memory`: what they may take; None: they are read for each batch."""

    def __init__(
        self,
        cache: LatentCache,
        frames: int,
        *,
        device: torch.device,
        memory: DataMemory | None = None,
        reporter: Reporter | None = None,
    ) -> None:
        self.cache, self.frames, self.device = cache, frames, device
        self.memory, self.reporter = memory, reporter
        self._tables: dict[str, _Table | None] = {}

    def _load(self, view: str) -> _Table | None:
        """A view of all samples that have it; None: it does not fit."""
        if self.memory is None:
            return None
        every = self.cache.dataset.keys()
        keys = [key for key in every if view in self.cache.views(key)]
        first = _parts(self.cache.read_bytes(keys[0], view, self.frames))
        size = len(keys) * sum(part.nbytes for part in first)
        place = self.memory.place(size)
        if place != self.device and self.reporter is not None:
            self.reporter.info(
                f"{size / 1e6:,.0f} MB of {view} latents are more than the share data_memory of "
                f"{self.device}'s free memory: "
                + ("read for each batch" if place is None else "kept in host memory")
            )
        if place is None:
            return None
        tables = [torch.empty((len(keys), *part.shape), dtype=part.dtype) for part in first]
        for row, key in enumerate(keys):
            parts = first if row == 0 else _parts(self.cache.read_bytes(key, view, self.frames))
            for table, part in zip(tables, parts, strict=True):
                if table.shape[1:] != part.shape:
                    raise InputError(
                        f"{self.cache.dataset.root}: {view} of sample {key}: {tuple(part.shape)}, of "
                        f"sample {keys[0]}: {tuple(table.shape[1:])}",
                        hint="clips of one length and size are needed: set model.frames, or prepare "
                        "the dataset again",
                    )
                table[row] = part
        latents, w2c, shown = (table.to(place) for table in tables)
        return _Table(latents, w2c, shown, {key: row for row, key in enumerate(keys)})

    def take(self, view: str, keys: Sequence[str], picks: Tensor | None = None) -> Taken:
        """A view of the samples `keys` [B]; of a grid its frames `picks` [B,T], which begin at the first
        moment. InputError: clips of different lengths or sizes."""
        if view not in self._tables:
            self._tables[view] = self._load(view)
        table = self._tables[view]
        if table is not None:
            return table.take(keys, picks, self.device)
        clips = [self.cache.read_bytes(key, view, self.frames) for key in keys]
        latents, w2c, first = [], [], []
        for k, clip in enumerate(clips):
            which = slice(None) if picks is None else picks[k]
            latents.append(clip.latents[which])
            w2c.append(clip.w2c[which])
            moments = len(clip.latents) // len(clip.first_frame)
            shown = clip.first_frame
            first.append(shown if picks is None else shown[int(picks[k, 0]) // moments])
        return Taken(
            to_device(torch.stack(latents), self.device),
            to_device(torch.stack(w2c), self.device),
            to_device(torch.stack(first), self.device).float() / 255,
        )


def _parts(clip: LatentClip) -> tuple[Tensor, Tensor, Tensor]:
    first = clip.first_frame
    return clip.latents, clip.w2c, first if first.ndim == 4 else first[None]
