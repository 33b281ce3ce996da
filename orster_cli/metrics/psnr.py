"""Peak signal-to-noise ratio. T frames, H W pixels; images in [0,1], range fixed at 1."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

CEILING = 100.0  # dB of equal images, so that means stay finite


def psnr(image: Tensor, reference: Tensor) -> Tensor:
    """[T] dB of `image` and `reference` [T,3,H,W], accumulated in float64, at most `CEILING`."""
    _check_shapes(image, reference)
    return _decibel(torch.stack([_mean_square(a - b) for a, b in _frames(image, reference)]))


def masked_psnr(image: Tensor, reference: Tensor, mask: Tensor) -> Tensor:
    """[T] dB over the pixels where `mask` [T,1,H,W] exceeds 0.5, without the plain background, which is
    easy and most of a frame. ValueError: an empty mask, or shapes that differ."""
    _check_shapes(image, reference)
    if mask.shape != image[:, :1].shape:
        raise ValueError(f"masked_psnr: a mask {list(mask.shape)} for images {list(image.shape)}")
    errors = []
    for i, (a, b) in enumerate(_frames(image, reference)):
        inside = mask[i, 0] > 0.5
        if not bool(inside.any()):
            raise ValueError(f"masked_psnr: the mask of frame {i} is empty")
        errors.append(_mean_square(a[:, inside] - b[:, inside]))
    return _decibel(torch.stack(errors))


def _mean_square(difference: Tensor) -> Tensor:
    """Mean square, summed in float64."""
    values = difference.flatten().double()
    return torch.dot(values, values) / len(values)


def _decibel(error: Tensor) -> Tensor:
    """Mean squared errors on a range of 1 as dB."""
    return -10 * torch.log10(error.clamp_min(10 ** (-CEILING / 10)))


def _frames(image: Tensor, reference: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Pairs of frames, so that only one pair at a time is in float64."""
    return zip(image, reference, strict=True)


def _check_shapes(image: Tensor, reference: Tensor) -> None:
    if image.shape != reference.shape or image.ndim != 4:
        raise ValueError(
            f"expected two [T,3,H,W], got {list(image.shape)} and {list(reference.shape)}"
        )
