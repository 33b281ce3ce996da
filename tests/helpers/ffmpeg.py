"""Video fixtures, made by the test that needs them with the ffmpeg that reads them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import imageio_ffmpeg

BARS = ("-f", "lavfi", "-i", "testsrc=size=64x48:rate=10:duration=1")


def ffmpeg(*arguments: str | Path) -> None:
    """Run ffmpeg without any of our restrictions; CalledProcessError when it fails."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-nostdin", "-y"]
    subprocess.run([*command, *map(str, arguments)], check=True, capture_output=True)


def bars(path: Path, *options: str) -> Path:
    """Ten frames of 64 x 48 test pattern, encoded with `options`."""
    ffmpeg(*BARS, *options, path)
    return path
