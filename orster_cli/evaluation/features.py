"""Network features of frames, cached on disk under a hash of the frames and the weights: equal frames are
encoded once, across runs, kills and processes. T frames, H W pixels, P features.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from orster_cli.core.atomic import replacing
from orster_cli.evaluation.networks import Networks


class Features:
    """`Networks` with a cache in `folder` (None: no cache)."""

    def __init__(self, networks: Networks, folder: Path | None) -> None:
        self.networks, self.folder = networks, folder

    def videos(self, clips: Sequence[Tensor]) -> Tensor:
        """[N,400] I3D logits of clips [T,3,H,W]."""
        cfg = self.networks.cfg
        how = cfg.resize if cfg.hold == 1 else f"{cfg.resize} {cfg.hold}"
        cached = [self._lookup("i3d", how, [clip]) for clip in clips]
        new = [i for i, (_, found) in enumerate(cached) if found is None]
        rows = [found for _, found in cached]
        for shape in dict.fromkeys(clips[i].shape for i in new):
            which = [i for i in new if clips[i].shape == shape]
            logits = self.networks.videos([clips[i] for i in which])
            for i, row in zip(which, logits, strict=True):
                self._store(cached[i][0], row)
                rows[i] = row
        return torch.stack([row for row in rows if row is not None])

    def images(self, key: str, frames: Tensor) -> Tensor:
        """[T,P] of frames [T,3,H,W] by the encoder `key`."""
        height, width = frames.shape[2:]
        # those of frames that are not square were squeezed until 0.2
        how = "image" if height == width else "image on a square"
        return self._cached(key, how, [frames], lambda: self.networks.images(key, frames))

    def text(self, key: str, text: str) -> Tensor:
        """[P] of a text; not cached."""
        return self.networks.text(key, text)

    def distances(self, key: str, first: Tensor, second: Tensor) -> Tensor:
        """[T] perceptual distances of frames [T,3,H,W]."""
        measure = lambda: self.networks.distances(key, first, second)  # noqa: E731
        return self._cached(key, "distance", [first, second], measure)

    def _cached(
        self, key: str, how: str, frames: list[Tensor], compute: Callable[[], Tensor]
    ) -> Tensor:
        path, found = self._lookup(key, how, frames)
        if found is None:
            found = compute()
            self._store(path, found)
        return found

    def _lookup(
        self, key: str, how: str, frames: list[Tensor]
    ) -> tuple[Path | None, Tensor | None]:
        """The cache file for `frames`, and its value where it exists."""
        if self.folder is None:
            return None, None
        total = hashlib.sha256(f"{self.networks.sources[key].sha256} {how}".encode())
        for each in frames:
            total.update(f"{tuple(each.shape)}".encode())
            total.update(each.float().contiguous().numpy())
        name = total.hexdigest()
        path = self.folder / name[:2] / f"{name}.npy"
        return path, _read(path)

    @staticmethod
    def _store(path: Path | None, value: Tensor) -> None:
        if path is None:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, shared=True) as temporary, temporary.open("wb") as handle:
            np.save(handle, value.float().contiguous().numpy())


def _read(path: Path) -> Tensor | None:
    """The cached value; None where the file is missing or damaged, so that it is computed again."""
    try:
        value = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return torch.from_numpy(value) if value.dtype == np.float32 else None
