"""Checks of given masks: no mask at all, inverted, filling the frame, empty, cut off.

T frames, H W pixels. Each check says what it found with a count, and what was done.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from orster_cli.core.errors import InputError
from orster_cli.core.limits import CLIP_MIN_FRAMES
from orster_cli.core.names import counted
from orster_cli.core.reporting import Reporter
from orster_cli.core.types import OrbitClip
from orster_cli.io.matting import MAX_COVERAGE, shows_object

OPAQUE = 0.98  # alpha from which a pixel counts as opaque, in a video's noise
OPAQUE_SHARE = 0.999  # of the pixels of every frame: then alpha is no mask
BORDER_SHARE = 0.9  # of the border pixels lie inside an inverted mask
MOST_EMPTY = 0.5  # of the frames may be empty
CUT_SHARE = 0.02  # of the border pixels that the object may touch


def check_masks(clip: OrbitClip, where: str, reporter: Reporter) -> OrbitClip:
    """`clip` with the masks that its alpha means, or without alpha where it is opaque throughout. Frames
    without the object are left out, aloud.

    InputError: some masks fill their frame or are inverted, or too few show anything."""
    if clip.alpha is None:
        return clip
    alpha, count = clip.alpha, len(clip)
    opaque = (alpha >= OPAQUE).flatten(1).float().mean(dim=1)
    if bool((opaque >= OPAQUE_SHARE).all()):
        reporter.warn(
            f"{where}: alpha is opaque everywhere in all {counted(count, 'frame')}, so it is no mask: the "
            "object is cut out of its background instead"
        )
        return replace(clip, alpha=None)
    solid = alpha > 0.5
    border = _border(solid).float().mean(dim=1)
    coverage = solid.flatten(1).float().mean(dim=1)
    full = (coverage > MAX_COVERAGE).nonzero()[:, 0].tolist()
    inverted = ((border > BORDER_SHARE) & (coverage <= MAX_COVERAGE)).nonzero()[:, 0].tolist()
    if len(inverted) > 0.5 * count and len(inverted) + len(full) == count:
        reporter.warn(
            f"{where}: the masks of {len(inverted)} of {count} frames cover the border and leave out the "
            "middle: they are inverted, and are turned round"
        )
        return check_masks(replace(clip, alpha=1 - alpha), where, reporter)
    for found, what in ((full, "fill the frame"), (inverted, "cover its border")):
        if found:
            raise InputError(
                f"{where}: the masks of {len(found)} of {count} frames {what} (the first is frame "
                f"{found[0]}), expected an object that is seen whole",
                code="E-MATTE-FULL",
                hint="alpha must be 1 on the object and 0 around it; repair or remove these frames",
            )
    return _cut_off(without_empty(clip, where, reporter), where, reporter)


def select(clip: OrbitClip, which: Tensor) -> OrbitClip:
    """The frames of `clip` at the indices or the mask `which` [T]."""
    return replace(
        clip,
        frames=clip.frames[which],
        alpha=None if clip.alpha is None else clip.alpha[which],
        cameras=clip.cameras[which],
        times=clip.times[which],
    )


def without_empty(clip: OrbitClip, where: str, reporter: Reporter) -> OrbitClip:
    """`clip` without the frames whose masks are empty, or would be, which is said: a diffusion model, too,
    may fade an object out. InputError: too few are left; it has no mask and no plain background."""
    if clip.alpha is None:
        shown = shows_object(clip.frames, where=where)
    else:
        shown = clip.alpha.amax(dim=(1, 2, 3)) >= 0.5
    empty = (~shown).nonzero()[:, 0].tolist()
    if not empty:
        return clip
    kept = len(clip) - len(empty)
    if kept < CLIP_MIN_FRAMES or len(empty) > MOST_EMPTY * len(clip):
        raise InputError(
            f"{where}: the masks of {len(empty)} of {len(clip)} frames are empty (the first is frame "
            f"{empty[0]})",
            code="E-CLIP-EMPTY",
            hint="give frames that show the object: alpha must be 1 on the object and 0 around it",
        )
    reporter.warn(
        f"{where}: {counted(len(empty), 'frame')} of {len(clip)} without the object left out, the first is "
        f"frame {empty[0]}; the others keep their places"
    )
    return select(clip, shown)


def _cut_off(clip: OrbitClip, where: str, reporter: Reporter) -> OrbitClip:
    assert clip.alpha is not None
    touching = _border(clip.alpha > 0.5).float().mean(dim=1) > CUT_SHARE
    if bool(touching.any()):
        first = int(touching.nonzero()[0, 0])
        reporter.warn(
            f"{where}: the object is cut off by the frame in {int(touching.sum())} of {len(clip)} frames "
            f"(the first is frame {first}): what lies outside is not made"
        )
    return clip


def _border(mask: Tensor) -> Tensor:
    """[T,2H+2W] the border pixels of [T,1,H,W]."""
    sides = (mask[:, 0, 0], mask[:, 0, -1], mask[:, 0, :, 0], mask[:, 0, :, -1])
    return torch.cat(sides, dim=1)
