"""Structural similarity (Wang et al. 2004), as scikit-image has it with `gaussian_weights=True`.

T frames, H W pixels; images in [0,1], range fixed at 1.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SIGMA = 1.5
RADIUS = 5  # int(3.5 * SIGMA + 0.5), where scikit-image cuts the window off
WINDOW = 2 * RADIUS + 1  # pixels
K1, K2 = 0.01, 0.03


def ssim(image: Tensor, reference: Tensor) -> Tensor:
    """[T] mean SSIM of `image` and `reference` [T,3,H,W], float64.

    Population covariance, as in the paper (scikit-image's `use_sample_covariance=False`; its
    default divides by one less and gives slightly other figures); positions where the window
    leaves the image are left out. ValueError: the shapes differ or are smaller than the window."""
    if image.shape != reference.shape or image.ndim != 4:
        raise ValueError(
            f"ssim: expected two [T,3,H,W], got {list(image.shape)} and {list(reference.shape)}"
        )
    if min(image.shape[-2:]) < WINDOW:
        raise ValueError(f"ssim: images must be at least {WINDOW} pixels a side")
    return torch.cat(
        [_one(a[None].double(), b[None].double()) for a, b in zip(image, reference, strict=True)]
    )


def _one(x: Tensor, y: Tensor) -> Tensor:
    mean_x, mean_y = _blur(x), _blur(y)
    var_x = _blur(x * x) - mean_x**2
    var_y = _blur(y * y) - mean_y**2
    cov = _blur(x * y) - mean_x * mean_y
    c1, c2 = K1**2, K2**2
    numerator = (2 * mean_x * mean_y + c1) * (2 * cov + c2)
    denominator = (mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)
    return (numerator / denominator).mean(dim=(1, 2, 3))


def _blur(image: Tensor) -> Tensor:
    """Separable Gaussian window, valid pixels only."""
    offsets = torch.arange(-RADIUS, RADIUS + 1, dtype=image.dtype, device=image.device)
    window = torch.exp(-0.5 * (offsets / SIGMA) ** 2)
    window = (window / window.sum()).expand(image.shape[1], 1, -1)
    rows = F.conv2d(image, window[:, :, None], groups=image.shape[1])
    return F.conv2d(rows, window[..., None], groups=image.shape[1])
