"""What a user may ask of an export, parsed from text. H W pixels."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, tensor

from orster_cli.core.errors import ConfigError
from orster_cli.core.limits import VIDEO_MAX_SIDE
from orster_cli.core.marks import split_mark
from orster_cli.core.names import did_you_mean, printable

COLORS = {"white": (1.0, 1.0, 1.0), "black": (0.0, 0.0, 0.0), "grey": (0.5, 0.5, 0.5)}
TRANSPARENT = "transparent"
UP = ("z", "y", "-y")
# the world of the files: that of the cameras that were given, or ours, the object at the origin and 1 long
FRAMES = ("input", "orster")
# which axis points up in the files that a program expects: Gaussians only, glTF is always +Y up
PROGRAMS = {"supersplat": "-y", "unity": "-y", "blender": "z", "three": "y"}


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """`times`: moments in [0,1] (None: the clip's own); `fps`; `at`: the moment of a still; `size`: width
    and height in pixels; `background`: a name, #rrggbb, "transparent" or "" (what the format holds best);
    `camera`: "orbit", "fixed" or a file; `up`: the axis that points up in files of Gaussians ("": the
    format's own); `frame`: the world of the files, one of `FRAMES`; `bones` of a skin; `quality` of lossy
    pictures, 0 to 100."""

    times: tuple[float, ...] | None = None
    fps: float = 12.0
    at: float = 0.0
    size: tuple[int, int] = (512, 512)
    background: str = ""
    camera: str = "orbit"
    elevation: float = 10.0
    up: str = ""
    frame: str = "input"
    bones: int = 0
    quality: int = 90

    def color(self, default: str = "white") -> Tensor | None:
        """[3] the background; None: transparent."""
        return parse_color(self.background or default)


@dataclass(frozen=True)
class MeshChoice:
    """`--mesh file.glb#2`: a file and its animation (None: not named)."""

    path: Path
    clip: int | None = None


def parse_up(up: str, program: str | None) -> str:
    """The axis that `--up` names, or that the program of `--for` expects; "": neither is given.
    ConfigError."""
    if program is not None:
        if program not in PROGRAMS:
            guess = did_you_mean(program, list(PROGRAMS))
            raise ConfigError(f"--for: expected {', '.join(PROGRAMS)}{guess}")
        if up:
            raise ConfigError("--for and --up both say which axis points up: give one of them")
        return PROGRAMS[program]
    if up and up not in UP:
        raise ConfigError(f"--up: expected z, y or -y, got {up!r}")
    return up


def parse_frame(text: str) -> str:
    """One of `FRAMES`. ConfigError."""
    if text not in FRAMES:
        guess = did_you_mean(text, list(FRAMES))
        raise ConfigError(f"--frame: expected {' or '.join(FRAMES)}{guess}")
    return text


def parse_color(text: str) -> Tensor | None:
    """[3] in [0,1] of a name or #rrggbb; None for "transparent". ConfigError."""
    if text == TRANSPARENT:
        return None
    if text in COLORS:
        return tensor(COLORS[text])
    if re.fullmatch(r"#[0-9a-fA-F]{6}", text):
        return tensor([int(text[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    known = [*COLORS, TRANSPARENT]
    raise ConfigError(
        f"--background: expected {', '.join(known)} or #rrggbb, got {printable(text)!r}"
        f"{did_you_mean(text, known)}"
    )


def parse_size(text: str) -> tuple[int, int]:
    """Width and height of "512" or "640x360". ConfigError."""
    match = re.fullmatch(r"(\d{1,5})(?:x(\d{1,5}))?", text)
    sides = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not min(sides) >= 16 or max(sides) > VIDEO_MAX_SIDE:
        raise ConfigError(
            f"--size: expected pixels as 512 or 640x360, 16 to {VIDEO_MAX_SIDE}, got {text!r}"
        )
    return sides


def parse_mesh(text: str) -> MeshChoice:
    """ "file.glb" or "file.glb#2". ConfigError."""
    name, mark, clip = split_mark(text)
    if not mark:
        return MeshChoice(Path(text))
    if not clip.isdecimal():
        raise ConfigError(f"--mesh: expected file.glb or file.glb#NUMBER, got {printable(text)!r}")
    return MeshChoice(Path(name), int(clip))
