"""Frames of a clip: on white, at a resolution, evenly spaced. T frames."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from orster_cli.core.errors import InputError
from orster_cli.core.types import OrbitClip


def on_white(clip: OrbitClip) -> Tensor:
    """[T,3,H,W] frames composited on white."""
    if clip.alpha is None:
        return clip.frames
    return clip.frames * clip.alpha + (1 - clip.alpha)


def at_resolution(clip: OrbitClip, resolution: int) -> Tensor:
    """Frames [T,3,H,W] on white at `resolution` pixels a side (0: as they are)."""
    frames = on_white(clip)
    if resolution in (0, frames.shape[-1]):
        return frames
    size = (resolution, resolution)
    kind = "area" if resolution < frames.shape[-1] else "bilinear"
    return F.interpolate(frames, size=size, mode=kind)


def spaced(have: int, want: int, *, where: str) -> Tensor:
    """Which `want` of `have` frames, evenly spaced from the first (0: all). On an orbit that closes
    they are evenly spaced all round where `want` divides `have`."""
    if want in (0, have):
        return torch.arange(have)
    if want > have:
        raise InputError(
            f"{where}: {have} frames, the model shows {want}",
            hint="prepare the dataset with --frames, or set model.frames",
        )
    return (torch.arange(want) * have) // want
