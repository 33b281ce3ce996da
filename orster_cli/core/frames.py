"""Frames of a clip: resized, evenly spaced. T frames, H W pixels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from orster_cli.core.errors import InputError
from orster_cli.core.types import OrbitClip


def resize(images: Tensor, height: int, width: int) -> Tensor:
    """[T,C,H,W] `images` at another size: area filter where they shrink, bilinear where they grow."""
    shrinks = (width, height) < (images.shape[-1], images.shape[-2])
    return F.interpolate(images, size=(height, width), mode="area" if shrinks else "bilinear")


def resize_straight(rgb: Tensor, alpha: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """`resize` for straight `rgb` [T,3,H,W] with `alpha` [T,1,H,W]: premultiplied colours are averaged,
    so that colours under alpha 0 do not bleed in. White where the new alpha is (almost) 0."""
    small = resize(alpha, height, width)
    seen = resize(rgb * alpha, height, width)
    straight = torch.where(small > 1e-3, seen / small.clamp_min(1e-3), torch.ones(()))
    return straight.clamp(0, 1), small


def at_resolution(clip: OrbitClip, resolution: int) -> Tensor:
    """Frames [T,3,H,W] on white at `resolution` pixels a side (0: unchanged)."""
    frames = clip.over()
    if resolution in (0, frames.shape[-1]):
        return frames
    return resize(frames, resolution, resolution)


def evenly_spaced(available: int, wanted: int, *, where: str) -> Tensor:
    """Indices of `wanted` of `available` frames, evenly spaced from the first (0: all). On a closed
    orbit they are evenly spaced all round where `wanted` divides `available`."""
    if wanted in (0, available):
        return torch.arange(available)
    if wanted > available:
        raise InputError(
            f"{where}: {available} frames, the model shows {wanted}",
            hint="render more frames (prepare.frames), or ask for fewer (model.frames, sample.frames)",
        )
    return (torch.arange(wanted) * available) // wanted


def standardised(frames: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """(frames - mean) / std for each of the three colours of frames [...,3,H,W]."""
    center, scale = (frames.new_tensor(values)[:, None, None] for values in (mean, std))
    return (frames - center) / scale


def centres(alpha: Tensor) -> Tensor:
    """[T,2] x, y of the centres of what `alpha` [T,H,W] shows, pixels."""
    mass = alpha.sum(dim=(1, 2)).clamp_min(1e-6)
    height, width = (torch.arange(n, device=alpha.device) + 0.5 for n in alpha.shape[1:])
    x, y = (alpha.sum(dim=1) * width).sum(dim=1), (alpha.sum(dim=2) * height).sum(dim=1)
    return torch.stack([x, y], dim=1) / mass[:, None]
