"""Reads and writes videos through the bundled ffmpeg, as a child process restricted to video files.

T frames, H W pixels. A hostile file can refer to other files, use rarely tested codecs, claim a false
size, or take endless time. Hence demuxers and decoders are whitelisted, the size is probed before
decoding, and the child process is killed after a time limit.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import select
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import imageio_ffmpeg
import numpy as np
import torch
from torch import Tensor

from orster_cli.core.errors import InputError, LimitError
from orster_cli.core.frames import resize
from orster_cli.core.limits import (
    VIDEO_MAX_FRAMES,
    VIDEO_MAX_RAW_BYTES,
    VIDEO_MAX_SECONDS,
    VIDEO_MAX_SIDE,
)
from orster_cli.core.reporting import Reporter, Silent
from orster_cli.io.images import to_bytes
from orster_cli.io.video_encoder import VideoEncoder

DEMUXERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi"
DECODERS = "h264,hevc,vp8,vp9,libvpx,libvpx-vp9,av1,libdav1d,mpeg4,mjpeg,png,rawvideo"
WHITELIST_OPTIONS = (  # options before every -i
    *("-protocol_whitelist", "file,pipe"),
    *("-format_whitelist", DEMUXERS),
    *("-codec_whitelist", DECODERS),
    *("-max_pixels", str(VIDEO_MAX_SIDE**2), "-threads", "4"),
)
REENCODE_HINT = "re-encode it: ffmpeg -i IN -c:v libx264 -pix_fmt yuv420p out.mp4"
_STREAM = re.compile(r"^ *Stream #0:\d+.*?: Video: .*?, (\d+)x(\d+)(?=[ ,\n])[^\n]*", re.MULTILINE)
_PIXELS_WITH_ALPHA = re.compile(r"\b(yuva\w+|rgba\w*|bgra\w*|argb|abgr|ya8|ya16\w*|gbrap\w*)\b")


@dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """Display size in pixels (upright, square pixels), frames per second, number of frames according
    to the container (or None), and the ignored properties of the file."""

    width: int
    height: int
    fps: float
    frames: int | None
    ignored: tuple[str, ...] = ()


def probe(path: Path) -> VideoInfo:
    """Size, frame rate and length from the header of `path`. InputError: not a supported video;
    LimitError: too large or too long."""
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    text = _header_text(path)
    streams = [s for s in _STREAM.finditer(text) if "(attached pic)" not in s[0]]
    if not streams:
        raise InputError(
            f"{path}: expected a video (MP4, MOV, MKV, WebM, AVI), found none that may be opened",
            code="E-VIDEO",
            hint=REENCODE_HINT,
        )
    line, width, height = streams[0][0], int(streams[0][1]), int(streams[0][2])
    shape = re.search(r"SAR (\d+):(\d+)", line)
    if shape and int(shape[1]) and int(shape[2]):
        width = max(1, round(width * int(shape[1]) / int(shape[2])))
    rotation = re.search(r"rotation of (-?[\d.]+) degrees", text)
    if rotation and round(float(rotation[1])) % 180 == 90:
        width, height = height, width
    rate = re.search(r"([\d.]+)(k?) fps", line) or re.search(r"([\d.]+)(k?) tbr", line)
    fps = float(rate[1]) * (1000 if rate[2] else 1) if rate else 0.0
    length = re.search(r"Duration: (\d+):(\d\d):(\d\d\.\d+)", text)
    frames = None
    if length and fps > 0:
        seconds = int(length[1]) * 3600 + int(length[2]) * 60 + float(length[3])
        frames = max(1, round(seconds * fps))
    _check_limits(path, width, height, frames)
    return VideoInfo(
        width=width, height=height, fps=fps or 24.0, frames=frames, ignored=_ignored(line, text)
    )


def _ignored(line: str, text: str) -> tuple[str, ...]:
    found = []
    if _PIXELS_WITH_ALPHA.search(line) or re.search(r"alpha_mode +: 1", text):
        found.append("its transparency is ignored: give frames as RGBA images to keep it")
    if "smpte2084" in line or "arib-std-b67" in line:
        found.append("its HDR colours are read as if they were SDR: convert it first")
    return tuple(found)


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


def iterate_frames(
    path: Path, info: VideoInfo | None = None, reporter: Reporter | None = None
) -> Iterator[np.ndarray]:
    """Yields frames [H,W,3] uint8; memory use does not depend on the video's length.

    Warns about damage, truncation and ignored properties. The child process is killed when the
    iterator is closed or the time limit is reached. InputError: no frame could be decoded;
    LimitError: too many frames, or too slow."""
    info, reporter = info or probe(path), reporter or Silent()
    for text in info.ignored:
        reporter.warn(f"{path.name}: {text}")
    limit = min(VIDEO_MAX_FRAMES, VIDEO_MAX_RAW_BYTES // (info.width * info.height * 3))
    command = [
        *("-v", "error", "-nostdin", *WHITELIST_OPTIONS, "-i", f"file:{path.resolve()}"),
        *("-an", "-sn", "-dn", "-map", "0:V:0", "-fps_mode", "passthrough"),
        *("-frames:v", str(limit + 1), "-s", f"{info.width}x{info.height}"),
        *("-f", "rawvideo", "-pix_fmt", "rgb24", "pipe:1"),
    ]
    child, count = _Decoder(path, command), 0
    try:
        while block := child.read(info.width * info.height * 3):
            count += 1
            if count > limit:
                raise LimitError(f"{path}: more than {limit} frames of its size")
            yield np.frombuffer(block, np.uint8).reshape(info.height, info.width, 3)
        problem = child.last_error()
    finally:
        child.close()
    if count == 0:
        raise InputError(
            f"{path}: no frame could be decoded ({problem or 'it is empty'})",
            code="E-VIDEO",
            hint=REENCODE_HINT,
        )
    if problem:
        reporter.warn(f"{path.name}: damaged in places ({problem})")
    if info.frames is not None and count + 2 < info.frames:
        reporter.warn(f"{path.name}: {count} frames came of about {info.frames}: is it cut short?")


class _Decoder:
    """ffmpeg in its own process group, writing raw frames to a pipe."""

    def __init__(self, path: Path, arguments: list[str]) -> None:
        self._path = path
        self._child = subprocess.Popen(  # noqa: S603
            [imageio_ffmpeg.get_ffmpeg_exe(), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        assert self._child.stdout is not None
        assert self._child.stderr is not None
        self._out: IO[bytes] = self._child.stdout
        self._errors: deque[bytes] = deque(
            maxlen=4
        )  # bounded: a hostile file can cause endless messages
        self._listener = threading.Thread(
            target=self._listen, args=(self._child.stderr,), daemon=True
        )
        self._listener.start()
        self._seconds_left = float(VIDEO_MAX_SECONDS)

    def _listen(self, stream: IO[bytes]) -> None:
        while block := stream.read1(4096):  # type: ignore[attr-defined]
            self._errors.append(block)
        stream.close()

    def read(self, size: int) -> bytes:
        """The next `size` bytes, or b"" at the end. LimitError: the total waiting time, not counting
        the caller's own, exceeds the limit."""
        block = bytearray(size)
        view, filled = memoryview(block), 0
        descriptor = self._out.fileno()
        while filled < size:
            started = time.monotonic()
            ready, _, _ = select.select([descriptor], [], [], max(0.0, self._seconds_left))
            self._seconds_left -= time.monotonic() - started
            if not ready or self._seconds_left < 0:
                raise LimitError(f"{self._path}: decoding took more than {VIDEO_MAX_SECONDS} s")
            got = os.readv(descriptor, [view[filled:]])
            if got == 0:
                return b""
            filled += got
        return bytes(block)

    def last_error(self) -> str:
        """The last error message of ffmpeg."""
        self._listener.join(timeout=5)
        lines = b"".join(self._errors).decode(errors="replace").strip().split("\n")
        return re.sub(r"^\[[^\]]*\] *", "", lines[-1])[:160]

    def close(self) -> None:
        """Kill the process group and wait for the child."""
        with contextlib.suppress(ProcessLookupError, PermissionError):  # already exited
            os.killpg(self._child.pid, signal.SIGKILL)
        self._child.wait()
        self._out.close()
        self._listener.join(timeout=5)


def read_video(path: Path, reporter: Reporter, *, maximum_side: int | None = None) -> Tensor:
    """All frames [T,3,H,W] float32 in [0,1], shrunk so that the longer side is at most `maximum_side`
    (area filter). Warns and raises as `iterate_frames`; LimitError also if the frames would take more
    memory than allowed."""
    info = probe(path)
    longer = max(info.width, info.height)
    shrink = min(1.0, maximum_side / longer) if maximum_side else 1.0
    size = (max(1, round(info.height * shrink)), max(1, round(info.width * shrink)))
    frames: list[Tensor] = []
    for raw in iterate_frames(path, info, reporter):
        frame = torch.from_numpy(raw.copy()).permute(2, 0, 1).float() / 255
        if shrink < 1:
            frame = resize(frame[None], *size)[0]
        frames.append(frame)
        if len(frames) * frame.numel() * 4 > VIDEO_MAX_RAW_BYTES:
            raise LimitError(
                f"{path}: {len(frames)} and more frames of {size[1]}x{size[0]} pixels take more "
                f"than {VIDEO_MAX_RAW_BYTES:,} bytes of memory",
                hint="cut the video, or make it smaller",
            )
    out = torch.empty(len(frames), 3, *size)
    for i in range(len(frames)):  # frame by frame, so that peak memory is one video instead of two
        out[i], frames[i] = frames[i], frames[i].new_empty(0)
    return out


def write_video(path: Path, frames: Iterable[Tensor], *, fps: float = 12.0) -> None:
    """Write [3,H,W] frames in [0,1] as H.264 MP4 (yuv420p, BT.709); odd sizes are padded with a white
    line. Equal frames give equal bytes.

    ValueError: no frame, or frames of different sizes; MissingResourceError: ffmpeg could not write them
    all. Then no file is left."""
    encoder: VideoEncoder | None = None
    try:
        for frame in frames:
            pixels = np.ascontiguousarray(_even(to_bytes(frame)))
            if encoder is None:
                encoder = VideoEncoder(path, pixels.shape, fps)
            if pixels.shape != encoder.shape:
                raise ValueError(f"write_video: frames of {encoder.shape} and of {pixels.shape}")
            encoder.write(pixels)
        if encoder is None:
            raise ValueError("write_video: expected at least one frame")
        encoder.finish()
    except BaseException:
        if encoder is not None:
            encoder.abort()
        raise


def _even(pixels: np.ndarray) -> np.ndarray:
    height, width = (2 * math.ceil(n / 2) for n in pixels.shape[:2])
    if (height, width) == pixels.shape[:2]:
        return pixels
    padded = np.full((height, width, 3), 255, np.uint8)
    padded[: pixels.shape[0], : pixels.shape[1]] = pixels
    return padded


def _header_text(path: Path) -> str:
    """ffmpeg's description of a file; without an output file ffmpeg exits with 1."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", *WHITELIST_OPTIONS]
    try:
        done = subprocess.run(  # noqa: S603
            [*command, "-i", f"file:{path.resolve()}"],
            capture_output=True,
            timeout=VIDEO_MAX_SECONDS,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired as error:
        raise InputError(f"{path}: ffmpeg did not answer in time", code="E-VIDEO") from error
    return done.stderr.decode(errors="replace")
