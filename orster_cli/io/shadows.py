"""Soft shadows on the floor, which a matte takes for a part of the object. T frames, H W pixels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

DARKEST, TINT, STEP, RIM = 0.5, 0.02, 0.2, 0.12  # of a shadow, in shares of the background
BLUR = 3  # pixels
OUTER, DEEPER = (
    0.35,
    0.7,
)  # of the depth: its rim and its core; of the core, how dark the rim may be
SHARE = 0.04  # of the mask: less is not told from the object


def shadow(frame: Tensor, alpha: Tensor, background: Tensor) -> Tensor:
    """[H,W] bool: where the mask `alpha` [H,W] looks like a soft shadow on the floor in the `frame` [3,H,W]
    before `background` [3,H or 1,W or 1]: the background's tint, darker, changing slowly, fading out at
    the rim, darkest far from it, and low in the silhouette. Nowhere, where all of these are less than
    `SHARE` of the mask."""
    from scipy import ndimage

    mask = alpha > 0.05
    nowhere = torch.zeros_like(mask)
    if float(background.min()) < 0.2 or not bool(mask.any()):  # a shadow on black is black
        return nowhere
    ratio = averaged(frame) / background.clamp_min(0.05)
    level = ratio.mean(dim=0)
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
    depth = torch.from_numpy(ndimage.distance_transform_edt(mask.numpy()))
    for number in soft.nonzero()[:, 0].tolist():
        soft[number] = _deepens(1 - level[groups == number], depth[groups == number])
    found = soft[groups]
    return found if float(found.sum()) > SHARE * float(mask.sum()) else nowhere


def _deepens(dark: Tensor, depth: Tensor) -> bool:
    """Whether pixels as `dark` and as deep in the mask become darker all the way; objects are flat."""
    far = depth / depth.max()
    rim, core = dark[far < OUTER], dark[far > 1 - OUTER]
    return len(rim) > 0 and float(rim.mean()) < DEEPER * float(core.mean())


def averaged(picture: Tensor) -> Tensor:
    """[C,H,W] without its noise: the mean over squares of `BLUR`."""
    return F.avg_pool2d(picture[None], BLUR, 1, BLUR // 2, count_include_pad=False)[0]


def _largest(level: Tensor) -> Tensor:
    """[H,W] of each pixel and those around it."""
    return F.max_pool2d(level[None], 3, 1, 1)[0]
