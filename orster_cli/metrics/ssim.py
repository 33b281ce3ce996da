"""Structural similarity (Wang et al. 2004), as scikit-image computes it with `gaussian_weights=True`.

T frames, H W pixels; images in [0,1], range fixed at 1.
"""

from __future__ import annotations

import torch
from torch import Tensor

SIGMA = 1.5
RADIUS = 5  # int(3.5 * SIGMA + 0.5), where scikit-image cuts the window off
WINDOW = 2 * RADIUS + 1  # pixels
K1, K2 = 0.01, 0.03


def ssim(image: Tensor, reference: Tensor) -> Tensor:
    """[T] mean SSIM of `image` and `reference` [T,3,H,W], float64.

    Population covariance, as in the paper (scikit-image's `use_sample_covariance=False`; its default
    divides by N - 1 and differs slightly). Positions where the window leaves the image are left out.
    ValueError: the shapes differ or are smaller than the window."""
    if image.shape != reference.shape or image.ndim != 4:
        raise ValueError(
            f"ssim: expected two [T,3,H,W], got {list(image.shape)} and {list(reference.shape)}"
        )
    if min(image.shape[-2:]) < WINDOW:
        raise ValueError(f"ssim: images must be at least {WINDOW} pixels a side")
    return torch.cat(
        [
            ssim_map(a[None].double(), b[None].double()).mean(dim=(1, 2, 3))
            for a, b in zip(image, reference, strict=True)
        ]
    )


def ssim_map(x: Tensor, y: Tensor) -> Tensor:
    """[T,3,H-2r,W-2r] SSIM at each pixel of `x` and `y` [T,3,H,W] float64 whose window, of radius
    r = `RADIUS`, lies inside the image."""
    maps = _blur(torch.stack([x, y, x * x, y * y, x * y]))
    mean_x, mean_y, square_x, square_y, both = maps
    var_x, var_y = square_x - mean_x**2, square_y - mean_y**2
    cov = both - mean_x * mean_y
    c1, c2 = K1**2, K2**2
    numerator = (2 * mean_x * mean_y + c1) * (2 * cov + c2)
    denominator = (mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)
    return numerator / denominator


def _blur(maps: Tensor) -> Tensor:
    """Blur [...,H,W] with the separable Gaussian window, valid pixels only. The taps are symmetric, so two
    shifted maps are added at a time; on a CPU this is faster than a convolution in float64."""
    offsets = torch.arange(-RADIUS, 1, dtype=torch.float64)
    half = torch.exp(-0.5 * (offsets / SIGMA) ** 2)
    weights = (half / (2 * half.sum() - half[-1])).tolist()  # from the rim to the centre
    for axis in (-1, -2):
        size = maps.shape[axis] - 2 * RADIUS
        total = maps.narrow(axis, RADIUS, size) * weights[RADIUS]
        for k in range(RADIUS):
            pair = maps.narrow(axis, k, size) + maps.narrow(axis, 2 * RADIUS - k, size)
            total.add_(pair, alpha=weights[k])
        maps = total
    return maps
