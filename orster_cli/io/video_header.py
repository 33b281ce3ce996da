"""What a video file is, by ffmpeg's description of its header: size, rate, codec, alpha, rotation.

Only lines that ffmpeg itself writes are believed: a title may say anything.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import imageio_ffmpeg

from orster_cli.core.errors import InputError
from orster_cli.core.limits import VIDEO_MAX_SECONDS, VIDEO_MAX_SIDE
from orster_cli.core.names import printable

DEMUXERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi"
DECODERS = "h264,hevc,vp8,vp9,libvpx,libvpx-vp9,av1,libdav1d,mpeg4,mjpeg,png,rawvideo,prores,qtrle"
WHITELIST_OPTIONS = (  # options before every -i
    *("-protocol_whitelist", "file,pipe"),
    *("-format_whitelist", DEMUXERS),
    *("-codec_whitelist", DECODERS),
    *("-max_pixels", str(VIDEO_MAX_SIDE**2), "-threads", "4"),
)
READ_CODECS = "H.264, HEVC, VP8, VP9, AV1, MPEG-4, MJPEG, PNG, ProRes, QuickTime RLE, raw"
REENCODE_HINT = (
    "re-encode it: ffmpeg -i IN -c:v libx264 -pix_fmt yuv420p out.mp4; with transparency: "
    "ffmpeg -i IN -c:v png -pix_fmt rgba out.mov"
)
REENCODE_ALPHA_HINT = "re-encode it with its alpha: ffmpeg -i IN -c:v png -pix_fmt rgba out.mov"
_STREAM = re.compile(r"^ *Stream #0:\d+.*?: Video: .*?, (\d+)x(\d+)(?=[ ,\n])[^\n]*", re.MULTILINE)
_ANY_STREAM = re.compile(r"^ *Stream #0:\d+", re.MULTILINE)
_SOUND = re.compile(r"^ *Stream #0:\d+.*?: Audio: ", re.MULTILINE)
_MP4 = re.compile(r"^Input #0, mov,mp4,", re.MULTILINE)
_CUT = re.compile(r"^\[[^\]\n]*\] moov atom not found", re.MULTILINE)
_CODEC = re.compile(r": Video: (\w+)")
_PIXELS_WITH_ALPHA = re.compile(r"\b(yuva\w+|rgba\w*|bgra\w*|argb|abgr|ya8|ya16\w*|gbrap\w*)\b")
# metadata lines are padded ("title           : text"), so none of these can be one
_NEXT_BLOCK = re.compile(r"^(?:\S|  \S)", re.MULTILINE)
_ROTATION = re.compile(r"^ +Display Matrix: rotation of (-?[\d.]+) degrees *$", re.MULTILINE)
_DURATION = re.compile(r"^  Duration: (\d+):(\d\d):(\d\d\.\d+), ", re.MULTILINE)
_ALPHA_MODE = re.compile(r"^ +alpha_mode +: 1 *$", re.MULTILINE | re.IGNORECASE)
_ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}  # ffmpeg's own decoders drop their alpha


@dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """Display size in pixels (upright, square pixels), frames per second, seconds and number of frames
    according to the container (or None), and the ignored properties of the file. `alpha`: it has
    transparency; `decoder`: the one that reads it with its alpha, "" for ffmpeg's own choice."""

    width: int
    height: int
    fps: float
    frames: int | None
    seconds: float | None = None
    alpha: bool = False
    decoder: str = ""
    ignored: tuple[str, ...] = ()


def read_header(path: Path) -> VideoInfo:
    """What the header of `path` says, unchecked. InputError: not a supported video."""
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    text = _header_text(path)
    streams = [s for s in _STREAM.finditer(text) if "(attached pic)" not in s[0]]
    if not streams:
        if _CUT.search(text) or (_MP4.search(text) and not _ANY_STREAM.search(text)):
            raise InputError(
                f"{path}: expected a video, found one that is cut short: the index at its end is missing",
                code="E-VIDEO",
                hint="copy, download or record it again: without its index no program can read it",
            )
        if _SOUND.search(text):
            raise InputError(
                f"{path}: expected a video, found sound without pictures",
                code="E-VIDEO",
                hint="give the file that has the pictures",
            )
        raise InputError(
            f"{path}: expected a video (MP4, MOV, MKV, WebM, AVI), found none that may be opened",
            code="E-VIDEO",
            hint=REENCODE_HINT,
        )
    line, width, height = streams[0][0], int(streams[0][1]), int(streams[0][2])
    block = _own_block(text, streams[0])
    codec = found[1] if (found := _CODEC.search(line)) else "unknown"
    alpha = _PIXELS_WITH_ALPHA.search(line) is not None
    if codec not in DECODERS.split(","):
        raise InputError(
            f"{path}: expected a video of {READ_CODECS} frames, got the codec "
            f"{printable(codec)[:40]!r}, which is not read",
            code="E-VIDEO",
            hint=REENCODE_ALPHA_HINT if alpha else REENCODE_HINT,
        )
    decoder = ""
    if codec in _ALPHA_DECODERS and _ALPHA_MODE.search(block):
        alpha, decoder = True, _ALPHA_DECODERS[codec]
    shape = re.search(r"SAR (\d+):(\d+)", line)
    if shape and int(shape[1]) and int(shape[2]):
        width = max(1, round(width * int(shape[1]) / int(shape[2])))
    rotation = _ROTATION.search(block)
    if rotation and round(float(rotation[1])) % 180 == 90:
        width, height = height, width
    rate = re.search(r"([\d.]+)(k?) fps", line) or re.search(r"([\d.]+)(k?) tbr", line)
    fps = float(rate[1]) * (1000 if rate[2] else 1) if rate else 0.0
    length = _DURATION.search(text)
    frames, seconds = None, None
    if length:
        seconds = int(length[1]) * 3600 + int(length[2]) * 60 + float(length[3])
        frames = max(1, round(seconds * fps)) if fps > 0 else None
    return VideoInfo(
        width=width,
        height=height,
        fps=fps or 24.0,
        frames=frames,
        seconds=seconds,
        alpha=alpha,
        decoder=decoder,
        ignored=_ignored(line),
    )


def _own_block(text: str, stream: re.Match[str]) -> str:
    """The metadata and side data that ffmpeg prints below the line of a stream."""
    end = _NEXT_BLOCK.search(text, stream.end() + 1)
    return text[stream.end() : end.start() if end else len(text)]


def _ignored(line: str) -> tuple[str, ...]:
    if "smpte2084" in line or "arib-std-b67" in line:
        return ("its HDR colours are read as if they were SDR: convert it first",)
    return ()


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
