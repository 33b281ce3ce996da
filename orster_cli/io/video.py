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
from fractions import Fraction
from pathlib import Path
from typing import IO

import imageio_ffmpeg
import numpy as np
import torch
from torch import Tensor

from orster_cli.core.errors import InputError, LimitError
from orster_cli.core.frames import resize, resize_straight
from orster_cli.core.limits import (
    VIDEO_MAX_FRAMES,
    VIDEO_MAX_RAW_BYTES,
    VIDEO_MAX_SECONDS,
    VIDEO_MAX_SIDE,
)
from orster_cli.core.reporting import Reporter, Silent
from orster_cli.io.images import to_bytes
from orster_cli.io.video_encoder import VideoEncoder
from orster_cli.io.video_header import REENCODE_HINT, WHITELIST_OPTIONS, VideoInfo, read_header

IGNORED_ALPHA = "its transparency is ignored: give frames as RGBA images to keep it"


@dataclass(frozen=True, kw_only=True)
class Movie:
    """`frames` [T,3,H,W] in [0,1] (straight colour), `alpha` [T,1,H,W] or None, and the `seconds` [T]
    float64 at which the frames are shown, from 0; `duration`: seconds up to the end of the last one."""

    frames: Tensor
    alpha: Tensor | None
    seconds: Tensor
    duration: float


def probe(path: Path) -> VideoInfo:
    """Size, frame rate and length from the header of `path`. InputError: not a supported video;
    LimitError: too large or too long."""
    info = read_header(path)
    _check_limits(path, info.width, info.height, info.frames)
    return info


def _check_limits(
    path: Path, width: int, height: int, frames: int | None, shrink: float = 1.0
) -> None:
    if max(width, height) > VIDEO_MAX_SIDE:
        raise LimitError(f"{path}: {width}x{height} pixels, at most {VIDEO_MAX_SIDE} a side")
    if frames is not None and frames > VIDEO_MAX_FRAMES:
        raise LimitError(
            f"{path}: about {frames} frames, at most {VIDEO_MAX_FRAMES}",
            hint="cut the video to the part that shows the orbit",
        )
    raw = round(width * height * shrink**2) * 3 * (frames or 1)
    if raw > VIDEO_MAX_RAW_BYTES:
        raise LimitError(
            f"{path}: {raw:,} bytes decoded, at most {VIDEO_MAX_RAW_BYTES:,}",
            hint="make it smaller, as with ffmpeg -i IN.mp4 -vf scale=-2:720 OUT.mp4, or cut it",
        )


def iterate_frames(
    path: Path,
    info: VideoInfo | None = None,
    reporter: Reporter | None = None,
    *,
    alpha: bool = False,
    stamps: list[float] | None = None,
    shrink: float = 1.0,
) -> Iterator[np.ndarray]:
    """Yields frames [H,W,3] uint8, [H,W,4] with `alpha`; memory use does not depend on the video's length.

    The seconds at which each frame is shown are appended to `stamps` when the last one was read. Warns
    about damage, truncation and ignored properties. The child process is killed when the iterator is
    closed or the time limit is reached. InputError: no frame could be decoded; LimitError: too slow, or too
    many frames, as they are once their sides are multiplied by `shrink`."""
    info, reporter = info or probe(path), reporter or Silent()
    ignored = info.ignored + ((IGNORED_ALPHA,) if info.alpha and not alpha else ())
    for text in ignored:
        reporter.warn(f"{path.name}: {text}")
    channels = 4 if alpha else 3
    size = info.width * info.height * channels
    limit = min(VIDEO_MAX_FRAMES, int(VIDEO_MAX_RAW_BYTES / (size * shrink**2)))
    child, count = _Decoder(path, info, "rgba" if alpha else "rgb24", limit), 0
    try:
        while block := child.read(size):
            count += 1
            if count > limit:
                raise LimitError(f"{path}: more than {limit} frames of its size")
            yield np.frombuffer(block, np.uint8).reshape(info.height, info.width, channels)
        problem = child.last_error()
        if stamps is not None:
            stamps += child.stamps()
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
    """ffmpeg in its own process group, writing raw frames to a pipe and their time stamps to another."""

    def __init__(self, path: Path, info: VideoInfo, pixels: str, limit: int) -> None:
        self._path = path
        stamps, stamps_in = os.pipe()
        own = ("-c:v", info.decoder) if info.decoder else ()
        command = [
            *("-v", "error", "-nostdin", *WHITELIST_OPTIONS, *own, "-i", f"file:{path.resolve()}"),
            *("-an", "-sn", "-dn", "-map", "0:V:0", "-fps_mode", "passthrough"),
            *("-stats_enc_pre", f"pipe:{stamps_in}", "-stats_enc_pre_fmt", "{ptsi} {tbi}"),
            *("-frames:v", str(limit + 1), "-s", f"{info.width}x{info.height}"),
            *("-f", "rawvideo", "-pix_fmt", pixels, "pipe:1"),
        ]
        try:
            self._child = subprocess.Popen(  # noqa: S603
                [imageio_ffmpeg.get_ffmpeg_exe(), *command],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                pass_fds=(stamps_in,),
            )
        except BaseException:
            os.close(stamps)
            raise
        finally:
            os.close(stamps_in)
        self._stamp_lines: deque[bytes] = deque(maxlen=limit + 1)
        self._stamp_reader = threading.Thread(
            target=self._read_stamps, args=(os.fdopen(stamps, "rb"),), daemon=True
        )
        self._stamp_reader.start()
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

    def _read_stamps(self, stream: IO[bytes]) -> None:
        with stream:
            for line in stream:
                self._stamp_lines.append(line)

    def stamps(self) -> list[float]:
        """The seconds of all frames, in order, NaN where there is no time stamp; after the last frame."""
        self._stamp_reader.join(timeout=5)
        found = []
        for line in self._stamp_lines:
            try:
                ticks, _, base = line.decode().strip().partition(" ")
                found.append(float(int(ticks) * Fraction(base)))
            except (ValueError, ZeroDivisionError, OverflowError):
                found.append(math.nan)
        return found

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
        self._stamp_reader.join(timeout=5)


def read_video(path: Path, reporter: Reporter, *, maximum_side: int | None = None) -> Tensor:
    """The colours of all frames, [T,3,H,W] float32 in [0,1], as `read_movie` shrinks them; transparency is
    ignored, with a warning."""
    return _read(path, reporter, maximum_side, alpha=False).frames


def read_movie(path: Path, reporter: Reporter, *, maximum_side: int | None = None) -> Movie:
    """All frames of `path` with their alpha and time stamps, shrunk so that the longer side is at most
    `maximum_side` (area filter). `alpha` is None where every pixel is opaque. Warns and raises as
    `iterate_frames`; LimitError also if the frames would take more memory than allowed."""
    return _read(path, reporter, maximum_side, alpha=True)


def _read(path: Path, reporter: Reporter, maximum_side: int | None, *, alpha: bool) -> Movie:
    info = read_header(path)
    alpha = alpha and info.alpha
    longer = max(info.width, info.height)
    shrink = min(1.0, maximum_side / longer) if maximum_side else 1.0
    _check_limits(path, info.width, info.height, info.frames, shrink)
    size = (max(1, round(info.height * shrink)), max(1, round(info.width * shrink)))
    frames: list[Tensor] = []
    stamps: list[float] = []
    for raw in iterate_frames(path, info, reporter, alpha=alpha, stamps=stamps, shrink=shrink):
        frame = torch.from_numpy(raw.copy()).permute(2, 0, 1).float() / 255
        if shrink < 1:
            frame = _shrunk(frame, size)
        frames.append(frame)
        if len(frames) * frame.numel() * 4 > VIDEO_MAX_RAW_BYTES:
            raise LimitError(
                f"{path}: {len(frames)} and more frames of {size[1]}x{size[0]} pixels take more "
                f"than {VIDEO_MAX_RAW_BYTES:,} bytes of memory",
                hint="cut the video, or make it smaller",
            )
    out = torch.empty(len(frames), *frames[0].shape)
    for i in range(len(frames)):  # frame by frame, so that peak memory is one video instead of two
        out[i], frames[i] = frames[i], frames[i].new_empty(0)
    seconds, duration = _moments(stamps, len(out), info, path.name, reporter)
    masks = out[:, 3:] if alpha and not bool((out[:, 3:] == 1).all()) else None
    return Movie(frames=out[:, :3], alpha=masks, seconds=seconds, duration=duration)


def _shrunk(frame: Tensor, size: tuple[int, int]) -> Tensor:
    """[C,h,w] of [C,H,W], RGB or straight RGBA."""
    if len(frame) == 3:
        return resize(frame[None], *size)[0]
    return torch.cat(resize_straight(frame[None, :3], frame[None, 3:], *size), dim=1)[0]


def _moments(
    stamps: list[float], count: int, info: VideoInfo, name: str, reporter: Reporter
) -> tuple[Tensor, float]:
    """The seconds [T] of the frames from 0, and the whole duration. Evenly spaced, with a warning, where
    the file's time stamps are missing or do not increase."""
    even = torch.arange(count, dtype=torch.float64) / info.fps
    if count < 2:
        return even, count / info.fps
    seconds = torch.tensor(stamps, dtype=torch.float64)
    if len(seconds) != count or not bool((seconds.diff() > 0).all()):  # NaN compares false
        reporter.warn(f"{name}: has no usable time stamps; its frames are taken as evenly spaced")
        return even, count / info.fps
    seconds = seconds - seconds[0]
    gaps = seconds.diff()
    # how long the last frame is shown: as the container says, within the other gaps, but not less than
    # the gap before it, since writers of variable frame rate put a default there
    rest = (info.seconds or 0.0) - float(seconds[-1])
    last = max(float(gaps[-1]), min(rest, float(gaps.max())))
    return seconds, float(seconds[-1]) + last


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
