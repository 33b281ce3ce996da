"""Frames of a clip: resized, evenly spaced. T frames, H W pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from orster_cli.core.errors import InputError
from orster_cli.core.types import Cameras, OrbitClip


def resize(images: Tensor, height: int, width: int) -> Tensor:
    """[T,C,H,W] `images` at another size: area filter where they shrink, bilinear where they grow."""
    shrinks = width * height < images.shape[-1] * images.shape[-2]
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
    if resolution == 0 or frames.shape[-2:] == (resolution, resolution):
        return frames
    return resize(frames, resolution, resolution)


def on_squares(frames: Tensor, fill: float = 1.0) -> Tensor:
    """[T,C,S,S], S the longer side of frames [T,C,H,W]: each in the middle, with `fill` around it (1:
    white); square ones as they are."""
    height, width = frames.shape[2:]
    if height == width:
        return frames
    left, top = _margins(width, height)
    longer = max(height, width)
    sides = (left, longer - width - left, top, longer - height - top)
    return F.pad(frames, sides, value=fill)


def squared(clip: OrbitClip) -> OrbitClip:
    """`clip` with white around its frames where they are not square."""
    height, width = clip.cameras.height, clip.cameras.width
    if height == width:
        return clip
    alpha = None if clip.alpha is None else on_squares(clip.alpha, 0.0)
    longer = max(height, width)
    cameras = _moved(clip.cameras, *_margins(width, height), longer, longer)
    return replace(clip, frames=on_squares(clip.frames), alpha=alpha, cameras=cameras)


def _margins(width: int, height: int) -> tuple[int, int]:
    """Pixels on the left and on top of what is in the middle of a square."""
    longer = max(height, width)
    return (longer - width) // 2, (longer - height) // 2


def cut_as(clip: OrbitClip, width: int, height: int) -> OrbitClip:
    """What `squared` added to a clip of `width` x `height` pixels cut off again, of its square at another
    size."""
    side, longer = clip.cameras.width, max(width, height)
    width, height = (max(round(n * side / longer), 1) for n in (width, height))
    left, top = (side - width) // 2, (side - height) // 2
    part = (..., slice(top, top + height), slice(left, left + width))
    alpha = None if clip.alpha is None else clip.alpha[part]
    cameras = _moved(clip.cameras, -left, -top, width, height)
    return replace(clip, frames=clip.frames[part], alpha=alpha, cameras=cameras)


def _moved(cameras: Cameras, left: int, top: int, width: int, height: int) -> Cameras:
    """`cameras` of pictures with so many more pixels on the left and on top."""
    K = cameras.K.clone()
    K[:, 0, 2] += left
    K[:, 1, 2] += top
    return replace(cameras, K=K, width=width, height=height)


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
