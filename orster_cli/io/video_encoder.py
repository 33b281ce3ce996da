"""ffmpeg as a child process that writes one video."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from fractions import Fraction
from pathlib import Path

import imageio_ffmpeg
import numpy as np

from orster_cli.core.errors import MissingResourceError


class VideoEncoder:
    """A running ffmpeg that takes raw RGB frames of `shape` (H, W, 3)."""

    def __init__(self, path: Path, shape: tuple[int, ...], fps: float) -> None:
        self.path, self.shape = path, shape
        self._messages = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        command = [
            *(imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-nostdin", "-v", "error"),
            *("-f", "rawvideo", "-vcodec", "rawvideo", "-s", f"{shape[1]}x{shape[0]}"),
            *("-pix_fmt", "rgb24", "-r", str(Fraction(fps).limit_denominator()), "-i", "pipe:0"),
            *("-an", "-vcodec", "libx264", "-pix_fmt", "yuv420p"),
            *("-crf", "18", "-movflags", "+faststart", "-bitexact", "-threads", "1"),
            *("-vf", "scale=out_color_matrix=bt709:out_range=tv", "-colorspace", "bt709"),
            *("-color_primaries", "bt709", "-color_trc", "bt709", "-color_range", "tv"),
            *("-f", "mp4", f"file:{path}"),  # a name with a colon is no protocol
        ]
        self._process = subprocess.Popen(  # noqa: S603
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._messages,
            start_new_session=True,  # Ctrl-C is ours to handle
        )

    def write(self, pixels: np.ndarray) -> None:
        """One frame. MissingResourceError: ffmpeg has ended."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(pixels.data)
        except OSError:
            self.finish()
            raise

    def finish(self) -> None:
        """Wait for the whole file. MissingResourceError: it was not written."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # ffmpeg ended first; its status says why
            self._process.stdin.close()
        status = self._process.wait()
        self._messages.seek(0)
        lines = self._messages.read().decode(errors="replace").strip().splitlines()
        self._messages.close()
        if status != 0 or not self.path.is_file() or self.path.stat().st_size == 0:
            why = lines[-1].strip() if lines else f"ffmpeg ended with status {status}"
            raise MissingResourceError(
                f"{self.path}: the video could not be written: {why}",
                hint="is the disk full, or the folder read-only?",
                code="E-VIDEO-WRITE",
            )

    def abort(self) -> None:
        """End ffmpeg, and remove what it wrote."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        self._messages.close()
        self.path.unlink(missing_ok=True)
