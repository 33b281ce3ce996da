"""Caches the orbits and front views of a dataset as bytes in one file, read frame by frame, undecoded.

The file is `NAME.frames-ID.npy` next to the dataset; ID identifies dataset and resolution. It is a numpy
array [N,3,H,W] of uint8, read as a memory map and never incomplete. N frames, H W pixels.
"""

from __future__ import annotations

import hashlib
import shutil

import numpy as np
import torch
from torch import Tensor

from orster_cli.core import limits
from orster_cli.core.atomic import replacing
from orster_cli.core.errors import IntegrityError
from orster_cli.core.frames import at_resolution
from orster_cli.core.reporting import Reporter
from orster_cli.core.stopping import StopFlag
from orster_cli.dataset.reader import Dataset
from orster_cli.training.latents import CLIPS

_SPARE = 1.1  # required free space, as a share of the file


class _Stopped(Exception):
    """A stop was requested while the file was written."""


def frame_bytes(
    dataset: Dataset, key: str, view: str, resolution: int, which: list[int] | None = None
) -> Tensor:
    """One view of a sample [T,3,H,W] uint8, on white at `resolution` pixels (0: its own); only the frames
    `which` are decoded (None: all)."""
    clip = dataset.clip(key, view) if which is None else dataset.frames(key, view, which)
    frames = at_resolution(clip, resolution)
    return (frames * 255).round().to(torch.uint8)


class FrameCache:
    """Frames of `dataset` at `resolution` pixels, square."""

    def __init__(self, dataset: Dataset, dataset_id: str, resolution: int) -> None:
        self.dataset, self.resolution = dataset, resolution
        key = hashlib.sha256(f"{dataset_id} {resolution}".encode()).hexdigest()[:16]
        self.path = dataset.root.parent / f"{dataset.root.name}.frames-{key}.npy"
        self._start: dict[tuple[str, str], int] = {}
        self.count = 0
        for name in list(dataset.keys()):
            frames = dataset.info(name)["frames"]
            for view in (view for view in CLIPS if view in frames):
                self._start[name, view] = self.count
                self.count += int(frames[view])
        self._frames: np.ndarray | None = None

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape of the array."""
        return self.count, 3, self.resolution, self.resolution

    @property
    def filled(self) -> bool:
        """Whether frames can be read."""
        return self._frames is not None or self.path.is_file()

    def fits(self) -> bool:
        """Whether the file exists, or is small enough for the limit and the disk."""
        size = int(np.prod(self.shape, dtype=np.int64))
        if self.filled:
            return True
        free = shutil.disk_usage(self.path.parent).free
        return size <= limits.FRAME_CACHE_MAX_BYTES and size * _SPARE < free

    def fill(self, *, reporter: Reporter, stop: StopFlag) -> bool:
        """Decode every frame once. False: a stop was requested before the end. OSError: the file cannot
        be written."""
        if self.filled:
            return True
        try:
            with replacing(self.path, shared=True) as temporary:
                out = np.lib.format.open_memmap(temporary, "w+", np.uint8, self.shape)
                for done, ((key, view), start) in enumerate(self._start.items(), start=1):
                    if stop.requested:
                        raise _Stopped
                    frames = frame_bytes(self.dataset, key, view, self.resolution)
                    out[start : start + len(frames)] = frames.numpy()
                    reporter.step("frames", done, len(self._start))
                out.flush()
        except _Stopped:
            return False
        return True

    def frame(self, key: str, view: str, number: int) -> Tensor:
        """[3,H,W] uint8, a copy. IntegrityError: the file is damaged."""
        if self._frames is None:
            self._frames = self._open()
        return torch.from_numpy(np.array(self._frames[self._start[key, view] + number]))

    def _open(self) -> np.ndarray:
        try:
            frames = np.load(self.path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise self._damaged(str(error)) from None
        if frames.shape != self.shape or frames.dtype != np.uint8:
            raise self._damaged(f"expected uint8 {self.shape}, got {frames.dtype} {frames.shape}")
        return frames

    def _damaged(self, why: str) -> IntegrityError:
        return IntegrityError(
            f"{self.path}: cannot be read: {why}", hint="remove it: it is made again"
        )
