"""One sample: the views of a clip, curated and encoded for a shard.

The JSON of a sample holds the data other than images: cameras, times, caption, source.
T frames.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from orster_cli.config.prepare import PrepareConfig
from orster_cli.core.conventions import CONVENTIONS, in_order
from orster_cli.core.types import OrbitClip
from orster_cli.dataset.curation import check_motion, empty_frame, motion_magnitude, touches_border
from orster_cli.dataset.shards import encode_sample, png_bytes

FRAMING_MOST = 1e3
STRIP_FRAMES, STRIP_SIDE = 8, 96  # frames of a contact sheet's row, and their pixels


@dataclass(frozen=True, kw_only=True)
class CurationResult:
    """The result of curation: `reason` for dropping the clip, or None, and the measured `figures`."""

    reason: str | None
    figures: dict[str, Any] = field(default_factory=dict)


def curate(views: dict[str, OrbitClip], cfg: PrepareConfig) -> CurationResult:
    """Curate a clip by its views. Clips with empty frames are always dropped."""
    figures: dict[str, Any] = {}
    if "static" in views:
        figures["motion"] = motion_magnitude(views["dynamic"], views["static"])
    for name, clip in views.items():
        frame = empty_frame(clip)
        if frame is not None:
            return CurationResult(
                reason=f"empty: frame {frame} of {name} shows nothing", figures=figures
            )
    if not cfg.curate:
        return CurationResult(reason=None, figures=figures)
    front = views.get("front")
    if front is not None and front.alpha is not None:
        check = check_motion(front, cfg.still_ssim)
        figures["ssim_object"], figures["ssim_frame"] = check.over_object, check.over_frame
        reason = check.verdict(cfg.still_ssim, cfg.broken_ssim)
        if reason is not None:
            return CurationResult(reason=reason, figures=figures)
    for name, clip in views.items():
        frame = touches_border(clip)
        if frame is not None:
            return CurationResult(
                reason=f"cut off: frame {frame} of {name} touches the border", figures=figures
            )
    return CurationResult(reason=None, figures=figures)


def is_framing(value: list[Any]) -> bool:
    """Whether `value` is a clip's framing as an index has it: a factor on the cameras' distance, and a
    point."""
    numbers = all(type(one) in (float, int) and abs(one) < FRAMING_MOST for one in value)
    return numbers and len(value) == 4 and value[0] > 1 / FRAMING_MOST


def encode_views(key: str, views: dict[str, OrbitClip], metadata: dict[str, Any]) -> bytes:
    """The tar members of a sample: ``json``, then ``dynamic.00.png`` and so on by view."""
    text = json.dumps(
        {
            "key": key,
            **metadata,
            "conventions": CONVENTIONS,
            "views": {name: _cameras(views[name]) for name in in_order(views)},
        },
        ensure_ascii=False,
        separators=(",", ":"),
    )
    return encode_sample(key, [("json", text.encode()), *_images(views)])


def _images(views: dict[str, OrbitClip]) -> Iterator[tuple[str, bytes]]:
    for name in in_order(views):
        clip = views[name]
        digits = frame_digits(len(clip))
        for i in range(len(clip)):
            yield f"{name}.{i:0{digits}d}.png", png_bytes(_rgba_bytes(clip, i))


def frame_digits(count: int) -> int:
    """Number of digits in the frame numbers of a view of `count` frames."""
    return max(2, len(str(count - 1)))


def _rgba_bytes(clip: OrbitClip, i: int) -> np.ndarray:
    """[H,W,4] uint8 straight RGBA of frame `i`; opaque for clips without alpha."""
    rgb = clip.frames[i].permute(1, 2, 0).numpy()
    if clip.alpha is None:
        alpha = np.ones_like(rgb[..., :1])
    else:
        alpha = clip.alpha[i].permute(1, 2, 0).numpy()
    return np.round(np.clip(np.concatenate([rgb, alpha], axis=-1), 0, 1) * 255).astype(np.uint8)


def _cameras(clip: OrbitClip) -> dict[str, Any]:
    return {
        "frames": len(clip),
        "width": clip.cameras.width,
        "height": clip.cameras.height,
        "times": clip.times.tolist(),
        "K": clip.cameras.K.tolist(),
        "w2c": clip.cameras.w2c.tolist(),
    }


def contact_strip(views: dict[str, OrbitClip]) -> np.ndarray:
    """[side, frames * side, 3] uint8: frames of the dynamic orbit on white, for the contact sheet."""
    from PIL import Image

    clip = views["dynamic"]
    which = np.linspace(0, len(clip) - 1, min(STRIP_FRAMES, len(clip))).round().astype(int)
    tiles = []
    for frame in clip.over()[which].permute(0, 2, 3, 1).numpy():
        image = Image.fromarray(np.round(np.clip(frame, 0, 1) * 255).astype(np.uint8))
        image.thumbnail((STRIP_SIDE, STRIP_SIDE), Image.Resampling.BOX)
        tile = np.full((STRIP_SIDE, STRIP_SIDE, 3), 255, np.uint8)
        pixels = np.asarray(image)
        tile[: pixels.shape[0], : pixels.shape[1]] = pixels
        tiles.append(tile)
    return np.concatenate(tiles, axis=1)
