"""Flicker of a video. T frames, H W pixels; images in [0,1]."""

from __future__ import annotations

import torch
from torch import Tensor


def flicker(frames: Tensor) -> Tensor:
    """[T-2] of `frames` [T,3,H,W]: the mean absolute second difference of neighbouring frames. Even motion
    counts little, a jump there and back counts twice. ValueError: T < 3."""
    if frames.ndim != 4 or len(frames) < 3:
        raise ValueError(f"flicker: expected at least 3 frames [T,3,H,W], got {list(frames.shape)}")
    values = [
        (frames[i - 1].double() - 2 * frames[i].double() + frames[i + 1].double()).abs().mean()
        for i in range(1, len(frames) - 1)
    ]
    return torch.stack(values)
