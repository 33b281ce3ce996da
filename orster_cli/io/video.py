"""Videos through the bundled ffmpeg, as a child process that may open only plain video files.

T frames, H W pixels. A hostile file can name other files, playlists or rare codecs with holes: what
may be demuxed and decoded is listed here, and sizes are probed before a frame is decoded.
"""

from __future__ import annotations

import math
import re
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import torch
from torch import Tensor

from orster_cli.core.errors import InputError, LimitError
from orster_cli.core.limits import (
    VIDEO_MAX_FRAMES,
    VIDEO_MAX_RAW_BYTES,
    VIDEO_MAX_SECONDS,
    VIDEO_MAX_SIDE,
)
from orster_cli.core.reporting import Reporter
from orster_cli.io.images import to_bytes

DEMUXERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi"
DECODERS = "h264,hevc,vp8,vp9,libvpx,libvpx-vp9,av1,libdav1d,mpeg4,mjpeg,png,rawvideo"
WHITELIST = (
    *("-protocol_whitelist", "file,pipe"),
    *("-format_whitelist", DEMUXERS),
    *("-codec_whitelist", DECODERS),
)


@dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """Upright size in pixels, frames a second, and the frames that the container promises (or None)."""

    width: int
    height: int
    fps: float
    frames: int | None


def probe(path: Path) -> VideoInfo:
    """What `path` says it is; nothing is decoded. InputError: no video that may be opened; LimitError."""
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    text = _ffmpeg("-hide_banner", *WHITELIST, "-i", f"file:{path.resolve()}")
    stream = re.search(r"Stream #.*?Video: .*?(\d{2,5})x(\d{2,5})[^\n]*", text)
    if stream is None:
        raise InputError(
            f"{path}: expected a video (MP4, MOV, MKV, WebM, AVI), found none that may be opened",
            code="E-VIDEO",
            hint="re-encode it: ffmpeg -i IN -c:v libx264 -pix_fmt yuv420p out.mp4",
        )
    width, height = int(stream[1]), int(stream[2])
    rate = re.search(r"([\d.]+) fps", stream[0]) or re.search(r"([\d.]+) tbr", stream[0])
    fps = float(rate[1]) if rate else 24.0
    turned = re.search(r"rotation of (-?[\d.]+) degrees", text)
    if turned and round(float(turned[1])) % 180 == 90:
        width, height = height, width
    length = re.search(r"Duration: (\d+):(\d\d):(\d\d\.\d+)", text)
    frames = None
    if length:
        seconds = int(length[1]) * 3600 + int(length[2]) * 60 + float(length[3])
        frames = max(1, round(seconds * fps))
    _check_limits(path, width, height, frames)
    return VideoInfo(width=width, height=height, fps=fps, frames=frames)


def _check_limits(path: Path, width: int, height: int, frames: int | None) -> None:
    if max(width, height) > VIDEO_MAX_SIDE:
        raise LimitError(f"{path}: {width}x{height} pixels, at most {VIDEO_MAX_SIDE} a side")
    if frames is not None and frames > VIDEO_MAX_FRAMES:
        raise LimitError(
            f"{path}: about {frames} frames, at most {VIDEO_MAX_FRAMES}",
            hint="cut the video to the part that shows the orbit",
        )
    raw = width * height * 3 * (frames or 1)
    if raw > VIDEO_MAX_RAW_BYTES:
        raise LimitError(f"{path}: {raw:,} bytes decoded, at most {VIDEO_MAX_RAW_BYTES:,}")


def iterate_frames(path: Path, info: VideoInfo | None = None) -> Iterator[np.ndarray]:
    """Frames [H,W,3] uint8 one after the other; memory does not grow with the video.

    The child is killed when the iterator is closed or decoding takes too long."""
    info = info or probe(path)
    command = [
        imageio_ffmpeg.get_ffmpeg_exe(),
        *("-v", "error", "-nostdin", *WHITELIST, "-i", f"file:{path.resolve()}"),
        *("-an", "-sn", "-dn", "-map", "0:v:0", "-fps_mode", "passthrough"),
        *("-s", f"{info.width}x{info.height}", "-f", "rawvideo", "-pix_fmt", "rgb24", "pipe:1"),
    ]
    child = subprocess.Popen(  # noqa: S603
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL
    )
    assert child.stdout is not None and child.stderr is not None
    watchdog = threading.Timer(VIDEO_MAX_SECONDS, child.kill)
    watchdog.start()
    talk: list[bytes] = []
    listener = threading.Thread(target=lambda: talk.append(child.stderr.read()), daemon=True)
    listener.start()
    size, count = info.width * info.height * 3, 0
    try:
        while len(block := child.stdout.read(size)) == size:
            count += 1
            if count > VIDEO_MAX_FRAMES:
                raise LimitError(f"{path}: more than {VIDEO_MAX_FRAMES} frames")
            yield np.frombuffer(block, np.uint8).reshape(info.height, info.width, 3)
        child.wait()
        listener.join(timeout=5)
        if not watchdog.is_alive():
            raise LimitError(f"{path}: decoding took more than {VIDEO_MAX_SECONDS} s")
        if count == 0:
            said = b"".join(talk).decode(errors="replace").strip().split("\n")[-1][:200]
            raise InputError(f"{path}: no frame could be decoded ({said})", code="E-VIDEO")
    finally:
        watchdog.cancel()
        child.kill()
        child.stdout.close()
        child.wait()


def read_video(path: Path, reporter: Reporter, *, maximum_side: int | None = None) -> Tensor:
    """All frames [T,3,H,W] float32 in [0,1]; larger ones are shrunk so that the longer side is
    `maximum_side` (area filter). Warns where fewer frames came than the container promised."""
    info = probe(path)
    shrink = 1.0
    if maximum_side and max(info.width, info.height) > maximum_side:
        shrink = maximum_side / max(info.width, info.height)
    size = (max(1, round(info.height * shrink)), max(1, round(info.width * shrink)))
    frames = []
    for raw in iterate_frames(path, info):
        frame = torch.from_numpy(raw.copy()).permute(2, 0, 1).float() / 255
        if shrink < 1:
            frame = torch.nn.functional.interpolate(frame[None], size=size, mode="area")[0]
        frames.append(frame)
    if info.frames is not None and len(frames) < 0.9 * info.frames:
        reporter.warn(
            f"{path.name}: {len(frames)} frames came of about {info.frames}: is it cut short?"
        )
    return torch.stack(frames)


def write_video(path: Path, frames: Iterator[Tensor] | list[Tensor], *, fps: float = 12.0) -> None:
    """Write [3,H,W] frames as H.264 MP4 that every player opens (yuv420p; odd sizes get a white line)."""
    writer = None
    try:
        for frame in frames:
            pixels = to_bytes(frame)
            height, width = (2 * math.ceil(n / 2) for n in pixels.shape[:2])
            if (height, width) != pixels.shape[:2]:
                padded = np.full((height, width, 3), 255, np.uint8)
                padded[: pixels.shape[0], : pixels.shape[1]] = pixels
                pixels = padded
            if writer is None:
                writer = imageio_ffmpeg.write_frames(
                    str(path),
                    (width, height),
                    fps=fps,
                    codec="libx264",
                    pix_fmt_out="yuv420p",
                    macro_block_size=1,
                    ffmpeg_log_level="error",
                    output_params=["-crf", "18", "-movflags", "+faststart", "-bitexact"],
                )
                writer.send(None)
            writer.send(np.ascontiguousarray(pixels))
    finally:
        if writer is not None:
            writer.close()


def _ffmpeg(*arguments: str) -> str:
    """What ffmpeg says of a file (it exits with 1, having been given no output)."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), *arguments]
    try:
        done = subprocess.run(  # noqa: S603
            command, capture_output=True, timeout=VIDEO_MAX_SECONDS, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired as error:
        raise InputError(f"{arguments[-1]}: ffmpeg did not answer in time") from error
    return done.stderr.decode(errors="replace")
