"""Alpha compositing of colour images. Shapes broadcast: [3,H,W] or [T,3,H,W] with alpha [1,H,W] or
[T,1,H,W], or channels last.
"""

from __future__ import annotations

from torch import Tensor

WHITE = 1.0


def over(rgb: Tensor, alpha: Tensor, background: float | Tensor) -> Tensor:
    """Straight `rgb` composited over `background`, which broadcasts to `rgb`."""
    return rgb * alpha + (1 - alpha) * background


def premultiplied_over(rgb: Tensor, alpha: Tensor, background: float | Tensor) -> Tensor:
    """`rgb`, already multiplied by `alpha`, composited over `background`."""
    return rgb + (1 - alpha) * background
