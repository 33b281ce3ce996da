"""True frames of a dataset's videos, each decoded once and kept as bytes while they fit.

n frames, H W pixels.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor

from orster_cli.core.compositing import WHITE, over
from orster_cli.core.frames import resize
from orster_cli.dataset.reader import Dataset

KEPT_BYTES = 2**29
_Frame = tuple[str, str, int]


class GroundTruth:
    """Frames of `dataset` at `resolution` pixels (0: its own)."""

    def __init__(self, dataset: Dataset, resolution: int) -> None:
        self.dataset, self.resolution = dataset, resolution
        self._frames: OrderedDict[_Frame, Tensor] = OrderedDict()  # RGBA bytes [4,H,W]
        self._size = 0

    def read(self, key: str, view: str, numbers: Sequence[int]) -> Tensor:
        """[n,3,H,W] in [0,1] on white: the frames `numbers` of a view."""
        names: list[_Frame] = [(key, view, number) for number in numbers]
        missing = [name for name in dict.fromkeys(names) if name not in self._frames]
        if missing:
            clip = self.dataset.frames(key, view, [name[2] for name in missing])
            assert clip.alpha is not None
            rgba = (torch.cat([clip.frames, clip.alpha], dim=1) * 255).round().to(torch.uint8)
            self._frames |= {name: rgba[k].clone() for k, name in enumerate(missing)}
            self._size += rgba.nbytes
        for name in names:
            self._frames.move_to_end(name)
        rgba = torch.stack([self._frames[name] for name in names]).float().div_(255)
        while self._size > KEPT_BYTES:
            self._size -= self._frames.popitem(last=False)[1].nbytes
        frames = over(rgba[:, :3], rgba[:, 3:], WHITE)
        if self.resolution in (0, frames.shape[-1]):
            return frames
        return resize(frames, self.resolution, self.resolution)
