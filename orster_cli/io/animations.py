"""Animated GIF, WebP and PNG (APNG), and TIFF of several pages, through imageio.

T frames, H W pixels. Only the four formats are opened; sizes are checked before a frame is decoded, and
frames are counted while they are read, since a file may claim anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from orster_cli.core.atomic import write_bytes
from orster_cli.core.errors import ConfigError, InputError, LimitError
from orster_cli.core.file_kinds import ANIMATIONS
from orster_cli.core.frames import resize_straight
from orster_cli.core.limits import (
    CLIP_MAX_BYTES,
    VIDEO_MAX_FRAMES,
    VIDEO_MAX_RAW_BYTES,
    VIDEO_MAX_SIDE,
)
from orster_cli.core.reporting import Reporter
from orster_cli.io.images import open_image, to_bytes

FORMATS = ("GIF", "WEBP", "PNG", "TIFF")
_EVEN = 0.1  # of the shortest frame's duration, by which the others may miss a multiple of it


@dataclass(frozen=True, kw_only=True)
class Animation:
    """Straight colour `frames` [T,3,H,W] in [0,1]; `alpha` [T,1,H,W], None where every pixel is opaque.
    `seconds` [T] float64 from 0, when each is shown; `duration`: up to the end of the last one."""

    frames: Tensor
    alpha: Tensor | None
    seconds: Tensor
    duration: float


def is_animation(path: Path) -> bool:
    """Whether `path` is a file in one of the four formats, by its first bytes."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        start = file.read(12)
    webp = start[:4] == b"RIFF" and start[8:] == b"WEBP"
    return webp or start.startswith((b"GIF8", b"\x89PNG\r\n\x1a\n", b"II*\0", b"MM\0*"))


def read_animation(path: Path, reporter: Reporter, *, maximum_side: int | None = None) -> Animation:
    """All frames of `path`, larger ones shrunk so that the longer side is `maximum_side`.

    A frame that is shown for twice as long as the shortest counts as two, since writers join equal
    frames; where durations are no multiples, each counts once, with a warning. InputError: no such file,
    or damaged; LimitError: too many or too large frames."""
    found: list[Tensor] = []
    durations: list[float] = []
    with open_image(path, where=str(path), formats=FORMATS) as image:
        width, height = image.size
        if max(width, height) > VIDEO_MAX_SIDE:
            raise LimitError(f"{path}: {width}x{height} pixels, at most {VIDEO_MAX_SIDE} a side")
        if image.mode.startswith(("I", "F")):
            raise InputError(f"{path}: expected 8 bits a channel, got mode {image.mode}")
        shrink = min(1.0, maximum_side / max(width, height)) if maximum_side else 1.0
        size = (max(1, round(height * shrink)), max(1, round(width * shrink)))
        most = min(
            VIDEO_MAX_FRAMES,
            VIDEO_MAX_RAW_BYTES // (3 * width * height),
            CLIP_MAX_BYTES // (4 * 4 * size[0] * size[1]),
        )
        # an APNG may bring a still image first, for programs that show no animation
        skipped = int(bool(getattr(image, "default_image", False)))
        for index, (pixels, duration) in enumerate(_decoded(path)):
            if index < skipped:
                continue
            if pixels.shape[:2] != (height, width):
                raise InputError(
                    f"{path}: page {index}: expected {width}x{height} pixels as the first, got "
                    f"{pixels.shape[1]}x{pixels.shape[0]}"
                )
            found.append(_resized(pixels, size))
            durations.append(duration)
            if len(found) > most:
                raise LimitError(
                    f"{path}: more than {most} frames of {width}x{height} pixels",
                    hint="cut the animation, or make it smaller",
                )
    if not found:
        raise InputError(f"{path}: no frame could be decoded", code="E-IMAGE")
    order, shown = _steps(durations, most)
    if len(set(shown)) > 1:
        reporter.warn(f"{path.name}: its frames last unequally long; each counts once")
    seconds = torch.tensor([0.0, *shown], dtype=torch.float64).cumsum(dim=0) / 1000
    rgba = torch.stack(found)[order]
    opaque = bool((rgba[:, 3:] == 1).all())
    return Animation(
        frames=rgba[:, :3],
        alpha=None if opaque else rgba[:, 3:],
        seconds=seconds[:-1],
        duration=float(seconds[-1]),
    )


def _decoded(path: Path) -> Iterator[tuple[np.ndarray, float]]:
    """Pixels [H,W,4] uint8 and the duration in milliseconds (0: none) of each frame."""
    import imageio.v3 as imageio

    # resolved: imageio takes "imageio:x.png" for a name of its own
    with imageio.imopen(path.resolve(), "r", plugin="pillow") as file:
        for index, pixels in enumerate(file.iter(mode="RGBA")):
            yield pixels, float(file.metadata(index=index).get("duration") or 0)


def _resized(pixels: np.ndarray, size: tuple[int, int]) -> Tensor:
    """[4,h,w] float32 in [0,1] of [H,W,4] uint8."""
    rgba = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
    if rgba.shape[2:] != size:
        rgba = torch.cat(resize_straight(rgba[:, :3], rgba[:, 3:], *size), dim=1)
    return rgba[0].contiguous()


def _steps(durations: list[float], most: int) -> tuple[list[int], list[float]]:
    """Indices of the frames, each as often as the shortest duration fits into its own, and how long each of
    these is shown, in milliseconds; once each where durations are no multiples."""
    step = min(durations)
    plain = list(range(len(durations)))
    if step <= 0:
        return plain, [1.0] * len(plain)
    times = [round(duration / step) for duration in durations]
    even = all(abs(d - n * step) <= _EVEN * step for d, n in zip(durations, times, strict=True))
    if not even or sum(times) > most:
        return plain, durations
    order = [index for index in plain for _ in range(times[index])]
    return order, [step] * len(order)


def write_animation(path: Path, frames: Tensor, *, fps: float = 12.0, quality: int = 80) -> None:
    """Write [T,3,H,W] or straight [T,4,H,W] frames in [0,1] as an endless animation in the format of
    the ending: .gif (256 colours a frame, alpha 0 or 1), .webp (lossy, `quality` 0 to 100), .apng or
    .png (lossless), .tif or .tiff (lossless pages, without times).

    ConfigError: another ending; LimitError: too many or too large frames. An existing file is replaced
    only by a whole one."""
    suffix = path.suffix.lower()
    if suffix not in ANIMATIONS:
        raise ConfigError(
            f"{path}: expected one of {', '.join(ANIMATIONS)}, got {suffix or 'none'!r}"
        )
    if frames.ndim != 4 or frames.shape[1] not in (3, 4) or not len(frames) or not 0 < fps <= 1000:
        raise ValueError(f"write_animation: {list(frames.shape)} at {fps} frames a second")
    if len(frames) > VIDEO_MAX_FRAMES or max(frames.shape[2:]) > VIDEO_MAX_SIDE:
        raise LimitError(
            f"{path}: {len(frames)} frames of {frames.shape[3]}x{frames.shape[2]} pixels, at most "
            f"{VIDEO_MAX_FRAMES} of {VIDEO_MAX_SIDE} a side"
        )
    pixels = np.stack([to_bytes(frame) for frame in frames])
    options: dict[str, object] = {} if suffix.startswith(".tif") else {"duration": 1000 / fps}
    if suffix == ".gif":  # hundredths of a second; players take fewer than two for ten
        options |= {"duration": max(20, 10 * round(100 / fps)), "loop": 0, "disposal": 2}
    elif suffix == ".webp":
        options |= {"loop": 0, "quality": quality, "method": 6}
    elif options:
        options["loop"] = 0
    import imageio.v3 as imageio

    # into memory: on a full disk imageio would try again when it is collected
    data = imageio.imwrite(
        "<bytes>", pixels, plugin="pillow", extension=suffix, is_batch=True, **options
    )
    write_bytes(path, data)
