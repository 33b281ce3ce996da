"""Soft shadows on the floor, which a matte takes for a part of the object. T frames, H W pixels."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

DARKEST, TINT, STEP, RIM = 0.5, 0.02, 0.2, 0.12  # of a shadow, in shares of the background
BLUR = 3  # pixels over which noise is averaged in a picture
# of one that is cut off a picture: least shares of the mask that it has and leaves, of itself that is
# faint, of its height that its width is, and of the mask's height that its middle is below the top
LEAST, LEFT, FAINT, FLAT, LOW = 0.04, 0.5, 0.35, 1.5, 0.75


def shadow_share(frames: Tensor, alpha: Tensor, background: Tensor) -> float:
    """The share of the masks `alpha` [T,1,H,W] that looks like a soft shadow on the floor in the `frames`
    [T,3,H,W] before a `background` [T or 1,3,H or 1,W or 1]."""
    behind = background.expand(len(frames), -1, -1, -1)
    found = [_soft(*one)[0] for one in zip(frames, alpha[:, 0], behind, strict=True)]
    dark = sum(int(soft.sum()) for soft in found)
    return dark / max(int((alpha > 0.05).sum()), 1)


def floor_shadow(frame: Tensor, alpha: Tensor, background: Tensor) -> Tensor:
    """[H,W] bool: what is a shadow on the floor, and no gray part of an object, in one picture: flat, below
    the object, and faint in much of its area."""
    soft, level = _soft(averaged(frame), alpha, background)
    mask = alpha > 0.05
    area, nowhere = int(soft.sum()), torch.zeros_like(soft)
    if not LEAST * int(mask.sum()) < area < (1 - LEFT) * int(mask.sum()):
        return nowhere
    rows, columns = (np.flatnonzero(soft.any(dim=axis).numpy()) for axis in (1, 0))
    whole = np.flatnonzero(mask.any(dim=1).numpy())
    flat = np.ptp(columns) + 1 > FLAT * (np.ptp(rows) + 1)
    low = rows.mean() > whole[0] + LOW * np.ptp(whole)
    faint = float((1 - level[soft] < RIM).float().mean()) > FAINT
    return soft if flat and low and faint else nowhere


def _soft(frame: Tensor, alpha: Tensor, background: Tensor) -> tuple[Tensor, Tensor]:
    """[H,W] bool: where the mask `alpha` [H,W] has the tint of the `background` [3,H or 1,W or 1], darker,
    changing slowly, fading out at the rim, and low in the silhouette; and the level [H,W] of the `frame`
    [3,H,W] in shares of the background."""
    from scipy import ndimage

    mask = alpha > 0.05
    ratio = frame / background.clamp_min(0.05)
    level = ratio.mean(dim=0)
    if float(background.min()) < 0.2 or not bool(mask.any()):  # a shadow on black is black
        return torch.zeros_like(mask), level
    tinted = (ratio - level).abs().amax(dim=0) < TINT
    steps = _largest(level) + _largest(-level)
    candidate = mask & tinted & (level > DARKEST) & (level < 0.99) & (steps < STEP)
    outside = F.max_pool2d((~mask)[None].float(), 5, 1, 2)[0] > 0
    faint = outside & (1 - level < RIM)
    labels, number = ndimage.label(candidate.numpy(), structure=[[1] * 3] * 3)
    groups = torch.from_numpy(labels).long()
    sizes = torch.bincount(groups.flatten(), minlength=number + 1)
    rims = torch.bincount(groups[faint], minlength=number + 1)
    rows = mask.any(dim=1).nonzero()[:, 0]
    low = rows[0] + 0.5 * (rows[-1] - rows[0])
    row = torch.arange(len(groups)).float().repeat_interleave(groups.shape[1])
    heights = torch.zeros(number + 1).index_add_(0, groups.flatten(), row) / sizes.clamp_min(1)
    # a soft rim is as long as the root of the area; a hard one has next to no faint pixels
    soft = (rims.float() > sizes.float().sqrt()) & (heights > low)
    soft[0] = False
    return soft[groups], level


def averaged(picture: Tensor) -> Tensor:
    """[C,H,W] without its noise: the mean over squares of `BLUR`."""
    return F.avg_pool2d(picture[None], BLUR, 1, BLUR // 2, count_include_pad=False)[0]


def _largest(level: Tensor) -> Tensor:
    """[H,W] of each pixel and those around it."""
    return F.max_pool2d(level[None], 3, 1, 1)[0]
