"""The low-pass of a fit at another scale. N Gaussians.

The rasterizer adds `eps2d` pixels squared to every projected covariance (Zwicker et al. 2001). The fit
makes Gaussians smaller by as much, so what was fitted is Gaussian and low-pass together. A larger picture
with the same low-pass in pixels shows the Gaussians too thin: gaps between them, thin parts as beads.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TypedDict

from torch import Tensor

from orster_cli.core.types import FitScale, Gaussians

SMALLEST_OPACITY = 1e-6
NONE = FitScale(focal=1.0, radius=1.0, eps2d=1e-10)


class LowPass(TypedDict, total=False):
    """Arguments of `rasterize`; empty: its defaults."""

    eps2d: float
    antialiased: bool


def low_pass(gaussians: Gaussians, K: Tensor, w2c: Tensor) -> LowPass:
    """The low-pass of `gaussians` in a camera `K` [3,3], `w2c` [4,4]."""
    fitted = gaussians.fitted
    if fitted is None:
        return {}
    return {"eps2d": fitted.eps2d_at(K, w2c), "antialiased": fitted.antialiased}


def without_low_pass(gaussians: Gaussians) -> Gaussians:
    """`gaussians` to be rendered as large as they are, by (almost) no low-pass at any scale."""
    return replace(gaussians, fitted=NONE)


def with_low_pass(gaussians: Gaussians) -> Gaussians:
    """The same Gaussians with the low-pass of their fit in their sizes, for programs that do not know it.

    Exact at the distance of the origin: the low-pass is in pixels, a size is in the world. Compensated
    opacities are those of each Gaussian seen along its shortest axis."""
    fitted = gaussians.fitted
    if fitted is None:
        return gaussians
    squared = (2 * gaussians.log_scales).exp()
    grown = squared + fitted.variance
    opacity_logits = gaussians.opacity_logits
    if fitted.antialiased:
        kept = (squared / grown).sqrt().topk(2, dim=-1).values.prod(dim=-1)
        opacity_logits = (opacity_logits.sigmoid() * kept).logit(eps=SMALLEST_OPACITY)
    return replace(
        gaussians, log_scales=grown.log() / 2, opacity_logits=opacity_logits, fitted=None
    )
