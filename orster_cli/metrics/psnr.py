"""Peak signal-to-noise ratio. T frames, H W pixels; images in [0,1], range fixed at 1."""

from __future__ import annotations

import torch
from torch import Tensor

CEILING = 100.0  # dB that equal images get, so that means stay finite


def psnr(image: Tensor, reference: Tensor) -> Tensor:
    """[T] dB of `image` and `reference` [T,3,H,W]; float64 accumulation, at most `CEILING`."""
    _same(image, reference)
    error = (image.double() - reference.double()).square().mean(dim=(1, 2, 3))
    return (-10 * torch.log10(error.clamp_min(10 ** (-CEILING / 10)))).clamp_max(CEILING)


def masked_psnr(image: Tensor, reference: Tensor, mask: Tensor) -> Tensor:
    """[T] dB over the pixels where `mask` [T,1,H,W] exceeds 0.5: the background, which a white-backed
    object mostly is, does not count. ValueError: an empty mask."""
    _same(image, reference)
    inside = (mask > 0.5).double()
    count = inside.sum(dim=(1, 2, 3))
    if bool((count == 0).any()):
        raise ValueError(f"masked_psnr: the mask of frame {int(count.argmin())} is empty")
    squared = (image.double() - reference.double()).square().mean(dim=1, keepdim=True)
    error = (squared * inside).sum(dim=(1, 2, 3)) / count
    return (-10 * torch.log10(error.clamp_min(10 ** (-CEILING / 10)))).clamp_max(CEILING)


def _same(image: Tensor, reference: Tensor) -> None:
    if image.shape != reference.shape or image.ndim != 4:
        raise ValueError(
            f"expected two [T,3,H,W], got {list(image.shape)} and {list(reference.shape)}"
        )
