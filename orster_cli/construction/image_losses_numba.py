"""The image losses of a view on the CPU, values and gradients in one pass each.

H W pixels. The reference is `losses.image_terms`, in plain torch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from orster_cli.core.jit import kernel

_F = np.float32


@kernel
def _sums(rgb, alpha, target_rgb, target_alpha, background):  # type: ignore[no-untyped-def]
    """Sums over pixels of the absolute and the squared error of colour, and of the absolute error of
    alpha."""
    absolute, squared, mask = 0.0, 0.0, 0.0
    for p in range(alpha.size):
        clear = _F(1) - alpha[p]
        for c in range(3):
            off = rgb[3 * p + c] + clear * background[c] - target_rgb[3 * p + c]
            absolute += abs(off)
            squared += off * off
        mask += abs(alpha[p] - target_alpha[p])
    return absolute, squared, mask


@kernel
def _gradients(  # type: ignore[no-untyped-def]
    rgb, alpha, target_rgb, target_alpha, background, weights, g_rgb, g_alpha
):
    """`weights` [3]: upstream gradients of the three means."""
    pixels = _F(alpha.size)
    absolute, squared = weights[0] / (3 * pixels), _F(2) * weights[1] / (3 * pixels)
    mask = weights[2] / pixels
    for p in range(alpha.size):
        clear = _F(1) - alpha[p]
        through = _F(0)
        for c in range(3):
            off = rgb[3 * p + c] + clear * background[c] - target_rgb[3 * p + c]
            g = squared * off
            if off > 0:
                g += absolute
            elif off < 0:
                g -= absolute
            g_rgb[3 * p + c] = g
            through -= g * background[c]
        off = alpha[p] - target_alpha[p]
        if off > 0:
            through += mask
        elif off < 0:
            through -= mask
        g_alpha[p] = through


def _flat(tensor: Tensor) -> np.ndarray:
    return tensor.detach().contiguous().numpy().reshape(-1)


class _ImageTerms(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        rgb: Tensor,
        alpha: Tensor,
        target_rgb: Tensor,
        target_alpha: Tensor,
        background: Tensor,
    ) -> Tensor:
        ctx.arrays = [_flat(x) for x in (rgb, alpha, target_rgb, target_alpha, background)]
        ctx.shapes = rgb.shape, alpha.shape
        absolute, squared, mask = _sums(*ctx.arrays)
        pixels = alpha.numel()
        return torch.tensor(
            [absolute / (3 * pixels), squared / (3 * pixels), mask / pixels], dtype=torch.float32
        )

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        g_rgb, g_alpha = (torch.empty(shape) for shape in ctx.shapes)
        out = g_rgb.numpy().reshape(-1), g_alpha.numpy().reshape(-1)
        _gradients(*ctx.arrays, _flat(upstream), *out)
        return g_rgb, g_alpha, None, None, None


def image_terms_fused(
    rgb: Tensor, alpha: Tensor, target_rgb: Tensor, target_alpha: Tensor, background: Tensor
) -> Tensor:
    """As `losses.image_terms`, for float32 on the CPU. Targets and background have no gradients."""
    terms: Tensor = _ImageTerms.apply(rgb, alpha, target_rgb, target_alpha, background)
    return terms


def warm_kernels() -> None:
    """Run every kernel once."""
    rgb, alpha = torch.zeros(2, 2, 3, requires_grad=True), torch.zeros(2, 2, 1)
    image_terms_fused(rgb, alpha, torch.ones(2, 2, 3), alpha, torch.ones(3)).sum().backward()
