"""Prepares a clip for a fit: alpha, resolution, checks.

T frames, H W pixels.
"""

from __future__ import annotations

from dataclasses import replace

from orster_cli.core.errors import InputError
from orster_cli.core.frames import resize_straight
from orster_cli.core.limits import CLIP_MAX_FRAMES, CLIP_MIN_FRAMES
from orster_cli.core.types import OrbitClip
from orster_cli.io.matting import matte


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
