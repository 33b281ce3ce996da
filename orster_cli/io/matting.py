"""Alpha from a plain background.

T frames, H W pixels. The background is one colour that the borders show; what is connected to the
border and has that colour is outside, so white eyes inside a white-backed object stay.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numba import njit
from torch import Tensor

from orster_cli.core.errors import InputError

BORDER_SPREAD = 0.06  # colour distance within which border pixels count as background
BORDER_SHARE = 0.9  # of the border pixels of all frames must be background
SOLID = 0.16  # colour distance from which a pixel is fully covered
CLEAR = 0.035  # and up to which it is not at all (video compression is noisy)


@dataclass(frozen=True, kw_only=True)
class Matte:
    """`alpha` [T,1,H,W], straight colours `frames` [T,3,H,W], `background` [3], and the share of
    border pixels that showed it."""

    alpha: Tensor
    frames: Tensor
    background: Tensor
    border_share: float


def matte(frames: Tensor, *, where: str) -> Matte:
    """Alpha and unmixed colours of `frames` [T,3,H,W] on a plain background.

    InputError: the border shows no single colour, or nothing (or nearly everything) differs from it."""
    border = torch.cat(
        [frames[:, :, 0], frames[:, :, -1], frames[:, :, :, 0], frames[:, :, :, -1]], dim=-1
    )
    pixels = border.permute(0, 2, 1).reshape(-1, 3)
    background = pixels.median(dim=0).values
    share = float(((pixels - background).abs().amax(-1) < BORDER_SPREAD).float().mean())
    if share < BORDER_SHARE:
        raise InputError(
            f"{where}: the background is not one plain colour ({share:.0%} of the border pixels "
            f"agree, {BORDER_SHARE:.0%} needed)",
            code="E-MATTE",
            hint="give frames with alpha (a folder of RGBA PNG), or remove the background first",
        )
    distance = (frames - background[:, None, None]).abs().amax(dim=1)
    soft = ((distance - CLEAR) / (SOLID - CLEAR)).clamp(0, 1)
    alpha = torch.empty_like(soft)
    for i in range(len(frames)):
        outside = _outside(np.ascontiguousarray((soft[i] < 1).numpy()))
        alpha[i] = torch.where(torch.from_numpy(outside), soft[i], torch.ones(()))
    covered = alpha.mean(dim=(1, 2))
    if float(covered.min()) < 1e-3:
        raise InputError(
            f"{where}: frame {int(covered.argmin())} shows nothing but background",
            code="E-MATTE-EMPTY",
            hint="cut the video to the frames that show the object, or give frames with alpha",
        )
    if float(covered.max()) > 0.95:
        raise InputError(
            f"{where}: the object fills the whole of frame {int(covered.argmax())}",
            code="E-MATTE-FULL",
            hint="the object must be seen whole on a plain background",
        )
    alpha = alpha[:, None]
    mixed = frames - (1 - alpha) * background[:, None, None]
    straight = torch.where(alpha > 0.05, mixed / alpha.clamp_min(0.05), frames).clamp(0, 1)
    return Matte(alpha=alpha, frames=straight, background=background, border_share=share)


@njit(cache=True)
def _outside(open_: np.ndarray) -> np.ndarray:
    """Which of the pixels marked in `open_` [H,W] the border reaches through marked ones (4-neighbours)."""
    height, width = open_.shape
    seen = np.zeros((height, width), np.bool_)
    stack = np.empty((height * width, 2), np.int32)
    top = 0
    for y in range(height):
        for x in range(width):
            edge = y == 0 or x == 0 or y == height - 1 or x == width - 1
            if edge and open_[y, x]:
                seen[y, x] = True
                stack[top, 0], stack[top, 1] = y, x
                top += 1
    while top > 0:
        top -= 1
        y, x = stack[top, 0], stack[top, 1]
        for k in range(4):
            ny = y + (1 if k == 0 else -1 if k == 1 else 0)
            nx = x + (1 if k == 2 else -1 if k == 3 else 0)
            if 0 <= ny < height and 0 <= nx < width and open_[ny, nx] and not seen[ny, nx]:
                seen[ny, nx] = True
                stack[top, 0], stack[top, 1] = ny, nx
                top += 1
    return seen
