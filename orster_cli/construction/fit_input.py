"""Prepares a clip for a fit: alpha, resolution, checks.

T frames, H W pixels.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from orster_cli.core.errors import InputError
from orster_cli.core.frames import centres, resize, resize_straight
from orster_cli.core.limits import CLIP_MAX_FRAMES, CLIP_MIN_FRAMES
from orster_cli.core.types import OrbitClip
from orster_cli.io.matting import matte

TRAVEL_SIDE = 32  # pixels, at which pictures are compared
BEAT_SIDE = 8  # pixels: smaller parts change while the camera turns
BEAT_TURN = 16.0  # degrees between frames, on average, above which the camera hides a beat
BEAT = 1.1  # times as far from the mean of its neighbours as these are from it
LEAST_BEAT = 0.1  # of the silhouette: less is noise


def picture_travel(clip: OrbitClip) -> float:
    """How often the pictures of `clip` cross the whole range of what they show: the sum of the differences
    between consecutive frames, over the largest difference of any two, at `TRAVEL_SIDE` pixels.

    It hardly depends on the frame rate. One cycle of a walk on an orbit is at 7 to 15, four are at 15 to
    32; the camera's own way round is 6 to 14 of these. 0: nothing changes."""
    small = resize(clip.over(), TRAVEL_SIDE, TRAVEL_SIDE).flatten(1)
    differences = torch.cdist(small, small, p=1)
    largest = float(differences.max())
    return float(differences.diagonal(1).sum()) / largest if largest > 0 else 0.0


def beats(clip: OrbitClip) -> bool:
    """Whether the object of `clip`, which has alpha, beats faster than its frames show, as wings do: its
    silhouettes are further from the mean of those before and after than these are from it.

    They are centred: an unsteady camera shakes all of them. At 15 degrees between frames wings and fins
    that beat within two or three are at 1.4 to 1.5 of that, other motions at 0.5 to 0.9. False where the
    camera turns too far between frames to tell."""
    assert clip.alpha is not None
    if len(clip) < 3 or _turn(clip) > BEAT_TURN:
        return False
    centred = _centred(resize(clip.alpha, TRAVEL_SIDE, TRAVEL_SIDE))
    small = resize(centred, BEAT_SIDE, BEAT_SIDE)
    off = float((small[1:-1] - (small[:-2] + small[2:]) / 2).abs().mean())
    apart = float((small[2:] - small[:-2]).abs().mean()) / 2
    return off > max(BEAT * apart, LEAST_BEAT * float(small.mean()))


def _centred(alpha: Tensor) -> Tensor:
    """`alpha` [T,1,S,S], the middle of each silhouette moved to the middle of the picture."""
    moved = torch.eye(2, 3).repeat(len(alpha), 1, 1)
    moved[:, :, 2] = 2 * centres(alpha[:, 0]) / alpha.shape[-1] - 1
    grid = F.affine_grid(moved, list(alpha.shape), align_corners=False)
    return F.grid_sample(alpha, grid, align_corners=False)


def _turn(clip: OrbitClip) -> float:
    """By how many degrees the direction of view changes between frames, on average."""
    toward = F.normalize(clip.cameras.w2c[:, 2, :3].double(), dim=-1)
    cosines = (toward[1:] * toward[:-1]).sum(dim=-1).clamp(-1, 1)
    return float(torch.rad2deg(torch.acos(cosines)).mean())


def prepare_clip(clip: OrbitClip, resolution: int, *, where: str) -> OrbitClip:
    """`clip` with alpha and with `resolution` pixels on its longer side (0: unchanged).

    Raises InputError for too few or too many frames and for frames without the object."""
    if clip.alpha is None:
        matted = matte(clip.frames, where=where)
        clip = replace(clip, frames=matted.frames, alpha=matted.alpha)
    assert clip.alpha is not None
    if not CLIP_MIN_FRAMES <= len(clip) <= CLIP_MAX_FRAMES:
        raise InputError(
            f"{where}: {len(clip)} frames, expected {CLIP_MIN_FRAMES} to {CLIP_MAX_FRAMES}"
        )
    empty = (clip.alpha.amax(dim=(1, 2, 3)) < 0.5).nonzero()[:, 0].tolist()
    if empty:
        raise InputError(
            f"{where}: the mask of frame {empty[0]} is empty ({len(empty)} such frames)",
            code="E-CLIP-EMPTY",
            hint="trim the clip to the frames that show the object",
        )
    longer = max(clip.cameras.width, clip.cameras.height)
    if resolution in (0, longer):
        return clip
    width = max(1, round(clip.cameras.width * resolution / longer))
    height = max(1, round(clip.cameras.height * resolution / longer))
    rgb, alpha = resize_straight(clip.frames, clip.alpha, height, width)
    return replace(clip, frames=rgb, alpha=alpha, cameras=clip.cameras.resized(width, height))
