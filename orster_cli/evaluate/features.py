"""What networks say of frames, kept on disk by content: the same frames are never looked at twice, also
after a kill and by several processes. T frames, H W pixels.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from orster_cli.evaluate.networks import Networks


class Features:
    """`Networks` with a memory in `folder` (None: none)."""

    def __init__(self, networks: Networks, folder: Path | None) -> None:
        self.networks, self.folder = networks, folder

    def video(self, frames: Tensor) -> Tensor:
        """[400] I3D logits of a clip [T,3,H,W]."""
        how = self.networks.cfg.resize
        return self._kept("i3d", how, [frames], lambda: self.networks.video(frames))

    def images(self, key: str, frames: Tensor) -> Tensor:
        """[T,P] of frames [T,3,H,W] by the encoder `key`."""
        return self._kept(key, "image", [frames], lambda: self.networks.images(key, frames))

    def text(self, key: str, text: str) -> Tensor:
        """[P] of a text; not kept."""
        return self.networks.text(key, text)

    def distances(self, key: str, first: Tensor, second: Tensor) -> Tensor:
        """[T] perceptual distances of frames [T,3,H,W]."""
        measure = lambda: self.networks.distances(key, first, second)  # noqa: E731
        return self._kept(key, "distance", [first, second], measure)

    def _kept(
        self, key: str, how: str, frames: list[Tensor], compute: Callable[[], Tensor]
    ) -> Tensor:
        if self.folder is None:
            return compute()
        total = hashlib.sha256(f"{self.networks.sources[key].sha256} {how}".encode())
        for each in frames:
            total.update(f"{tuple(each.shape)}".encode())
            total.update(each.float().contiguous().numpy())
        name = total.hexdigest()
        path = self.folder / name[:2] / f"{name}.npy"
        found = _read(path)
        if found is None:
            found = compute()
            _write(path, found)
        return found


def _read(path: Path) -> Tensor | None:
    """None where it is not there or damaged: it is computed again."""
    try:
        value = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return torch.from_numpy(value) if value.dtype == np.float32 else None


def _write(path: Path, value: Tensor) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    building = path.with_suffix(f".{os.getpid()}.tmp")
    with building.open("wb") as handle:
        np.save(handle, value.float().contiguous().numpy())
    building.replace(path)
