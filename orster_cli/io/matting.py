"""Alpha mattes of objects on a plain background.

T frames, H W pixels. The background is the colour of the frame borders. Pixels of that colour that are
connected to the border are background; a thin band around them may be partly covered; all other pixels
are opaque, so white eyes and white fur on a white background stay. An enclosed patch of background
colour is a hole, except on white and black backgrounds, where it is more likely part of the object, unless
the caller knows better.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from orster_cli.core.errors import InputError

BORDER_SPREAD = 0.06  # colour distance within which border pixels count as background
BORDER_SHARE = 0.9  # of the border pixels of all frames must be background
CLEAR = 0.035  # colour distance up to which a pixel is background (video compression is noisy)
SOLID = 0.16  # and from which it is opaque
BAND = 3  # pixels around the background that may be partly covered: antialiasing, codec bleed
MIN_COVERAGE, MAX_COVERAGE = 1e-3, 0.95  # mean alpha of a frame
MIN_HOLE = 6e-4  # least area of a hole, as a share of the frame
UNMIXED = 0.05  # alpha below which the object's colour cannot be recovered


@dataclass(frozen=True, kw_only=True)
class Matte:
    """`alpha` [T,1,H,W], straight colours `frames` [T,3,H,W], the colour `background` [3], and the
    share of border pixels that have this colour."""

    alpha: Tensor
    frames: Tensor
    background: Tensor
    border_share: float


def matte(frames: Tensor, *, where: str, gaps: bool = False) -> Matte:
    """Alpha and unmixed colours of `frames` [T,3,H,W] in [0,1] on a plain background. `gaps`: enclosed
    patches of a white or black background are holes, too.

    InputError: the borders have no common colour, or a frame is (almost) empty or full."""
    background, share = _background(frames, where)
    alpha = torch.empty(len(frames), 1, *frames.shape[2:])
    straight = torch.empty_like(frames)
    for i, frame in enumerate(frames):
        alpha[i, 0] = _alpha(frame, background, gaps)
        _check_coverage(float(alpha[i].mean()), i, where)
        mixed = frame - (1 - alpha[i]) * background[:, None, None]
        unmixed = (mixed / alpha[i].clamp_min(UNMIXED)).clamp(0, 1)
        straight[i] = torch.where(alpha[i] > UNMIXED, unmixed, frame)
    return Matte(alpha=alpha, frames=straight, background=background, border_share=share)


def shows_object(frames: Tensor, *, where: str) -> Tensor:
    """[T] bool: frames of which `matte` would leave something. InputError: the borders have no common
    colour."""
    background, _ = _background(frames, where)
    alphas = (_alpha(frame, background) for frame in frames)
    found = [float(a.mean()) >= MIN_COVERAGE and float(a.max()) >= 0.5 for a in alphas]
    return torch.tensor(found)


def _background(frames: Tensor, where: str) -> tuple[Tensor, float]:
    """The median border colour [3] of all frames, and the share of border pixels close to it."""
    sides = [frames[:, :, 0], frames[:, :, -1], frames[:, :, :, 0], frames[:, :, :, -1]]
    pixels = torch.cat(sides, dim=-1).permute(0, 2, 1).reshape(-1, 3)
    background = pixels.median(dim=0).values
    share = float(((pixels - background).abs().amax(-1) < BORDER_SPREAD).float().mean())
    if share < BORDER_SHARE:
        raise InputError(
            f"{where}: the background is not one plain colour ({share:.0%} of the border pixels "
            f"agree, {BORDER_SHARE:.0%} needed)",
            code="E-MATTE",
            hint="give frames with alpha (a folder of RGBA PNG), or remove the background first",
        )
    return background, share


def _alpha(frame: Tensor, background: Tensor, gaps: bool = False) -> Tensor:
    """[H,W] alpha of one frame [3,H,W]."""
    distance = (frame - background[:, None, None]).abs().amax(dim=0)
    soft = ((distance - CLEAR) / (SOLID - CLEAR)).clamp(0, 1)
    # enclosed white or black is often part of the object, and a false hole cuts through it
    extreme = float(background.min()) > 0.97 or float(background.max()) < 0.03
    whole = extreme and not gaps
    hole = soft.numel() if whole else max(1, round(MIN_HOLE * soft.numel()))
    outside = torch.from_numpy(outside_pixels((soft == 0).numpy(), hole))[None].float()
    near = F.max_pool2d(outside, 2 * BAND + 1, stride=1, padding=BAND)[0] > 0
    return torch.where(near, soft, torch.ones(()))


def _check_coverage(share: float, frame: int, where: str) -> None:
    if share < MIN_COVERAGE:
        raise InputError(
            f"{where}: frame {frame} shows nothing but background",
            code="E-MATTE-EMPTY",
            hint="cut the video to the frames that show the object, or give frames with alpha",
        )
    if share > MAX_COVERAGE:
        raise InputError(
            f"{where}: the object fills the whole of frame {frame}",
            code="E-MATTE-FULL",
            hint="the object must be seen whole on a plain background",
        )


def outside_pixels(clear: np.ndarray, hole: int) -> np.ndarray:
    """[H,W] bool: pixels of `clear` [H,W] that are connected to the border (by their 4 neighbours),
    and enclosed groups of at least `hole` of them."""
    from scipy import ndimage

    groups, count = ndimage.label(clear)
    outside = np.bincount(groups.ravel(), minlength=count + 1) >= hole
    for side in (groups[0], groups[-1], groups[:, 0], groups[:, -1]):
        outside[side] = True
    outside[0] = False  # the label of all pixels that are not clear
    return outside[groups]


def spread_colors(colors: Tensor, own: Tensor) -> Tensor:
    """Colours [3,H,W] whose pixels outside of `own` [H,W] have that of the nearest in it."""
    from scipy.ndimage import distance_transform_edt

    nearest = distance_transform_edt(~own.numpy(), return_distances=False, return_indices=True)
    y, x = (torch.from_numpy(one).long() for one in nearest)
    return colors[:, y, x]
