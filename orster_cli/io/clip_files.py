"""A clip on disk: `frames/0000.png` ..., `cameras.json`, `preview.mp4`, and `course.safetensors` where it
is known how its object was meant to go. Beside them what came with it: priors, and clips of their own, the
object at rest in `static/` and further orbits of the same motion in `orbit-090/` ...

T frames. PNG files hold straight RGBA, or RGB for clips without alpha. `cameras.json` holds each
frame's pose, in numbers that survive a round trip, and the conventions.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from orster_cli.core.conventions import CONVENTIONS, ORBIT
from orster_cli.core.errors import InputError, LimitError
from orster_cli.core.file_kinds import MESHES
from orster_cli.core.limits import CLIP_MAX_BYTES, CLIP_MAX_FRAMES
from orster_cli.core.names import did_you_mean, printable, safe_relative_path
from orster_cli.core.strict_json import read_json
from orster_cli.core.types import Cameras, Course, OrbitClip
from orster_cli.io.camera_values import parse_frames, parse_side
from orster_cli.io.images import on_white, read_image, write_png
from orster_cli.io.tensors import read_tensors, write_tensors
from orster_cli.io.video import write_video

CAMERAS = "cameras.json"
PRIORS = "priors.safetensors"  # O^s and O^t of Eq. 8, of sampled clips
PRIOR_NAMES = ("spatial", "temporal")
COURSE = "course.safetensors"  # a `Course`
MOST_POINTS, MOST_MOMENTS = 1 << 16, 1 << 10  # of a course
MOST_FURTHER = 64  # orbits beside the first one
FARTHEST = 1e4  # world units from the origin of its places; their covariances must be finite
CONDITION = "condition.png"  # image condition (the first view), stored with a clip or an asset
STATIC = (
    "static"  # folder of the object's static orbit, a clip of its own, where one came with a clip
)
OBJECT = (
    "object"  # object.glb or object.gltf: the mesh that a clip was sampled of, or an asset shows
)
FORMAT = "orster-cameras"
_KEYS = ("format", "version", "conventions", "width", "height", "prompt", "frames")
_FRAME_KEYS = ("file", "time", "K", "w2c")


def find_object(folder: Path) -> Path | None:
    """The copy of a mesh in the folder of a clip or an asset; None: it came from none."""
    paths = (folder / f"{OBJECT}{suffix}" for suffix in MESHES)
    return next((path for path in paths if path.is_file()), None)


def cameras_value(clip: OrbitClip) -> dict[str, Any]:
    """The value of `cameras.json` for `clip`, without file names."""
    cameras = clip.cameras
    each = zip(clip.times.double(), cameras.K.double(), cameras.w2c.double(), strict=True)
    return {
        "format": FORMAT,
        "version": 1,
        "conventions": CONVENTIONS,
        "width": cameras.width,
        "height": cameras.height,
        "prompt": clip.prompt,
        "frames": [
            {"time": float(time), "K": K.tolist(), "w2c": w2c.tolist()} for time, K, w2c in each
        ],
    }


def write_clip(
    folder: Path, clip: OrbitClip, *, fps: float = 12.0, side: int = 0, loops: int = 1
) -> None:
    """Write `clip` into `folder`, which is created if missing: lossless frames, cameras, and a preview
    video on white. `side`: least pixels of the preview, reached by whole factors; `loops`: how often it
    shows the clip (0: no video)."""
    (folder / "frames").mkdir(parents=True, exist_ok=True)
    value = cameras_value(clip)
    for i, entry in enumerate(value["frames"]):
        entry["file"] = f"frames/{i:04d}.png"
        write_png(folder / entry["file"], _image(clip, i))
    text = json.dumps(value, indent=1, ensure_ascii=False)
    (folder / CAMERAS).write_text(text + "\n", encoding="utf-8")
    if loops:
        factor = max(1, -(-side // max(clip.cameras.width, clip.cameras.height)))
        shown = (on_white(_image(clip, i % len(clip))) for i in range(loops * len(clip)))
        enlarged = (f.repeat_interleave(factor, 1).repeat_interleave(factor, 2) for f in shown)
        write_video(folder / "preview.mp4", enlarged, fps=fps)
    if clip.course is not None:
        write_course(folder, clip.course)


def _image(clip: OrbitClip, index: int) -> Tensor:
    """Frame `index` as [4,H,W], or [3,H,W] of a clip without alpha."""
    frame = clip.frames[index]
    return frame if clip.alpha is None else torch.cat([frame, clip.alpha[index]])


def write_beside(
    folder: Path,
    clip: OrbitClip,
    *,
    static: OrbitClip | None,
    further: Sequence[OrbitClip],
    priors: dict[str, Tensor],
) -> None:
    """Write what came with a `clip` into its `folder`: the object at rest, further orbits of the motion, by
    how many degrees they are ahead of it, and prior tokens [M,P] by name."""
    if static is not None:
        write_clip(folder / STATIC, static)
    taken: set[int] = set()
    for one in further:
        ahead = round(_heading(one.cameras) - _heading(clip.cameras)) % 360
        while ahead in taken:
            ahead += 1
        taken.add(ahead)
        write_clip(folder / f"{ORBIT}{ahead:03d}", one, loops=0)
    write_priors(folder, priors)


def _heading(cameras: Cameras) -> float:
    """Degrees about the vertical axis of where the right of the first picture is."""
    right = cameras.c2w[0, :3, 0]
    return math.degrees(math.atan2(float(right[1]), float(right[0])))


def read_further(folder: Path) -> list[OrbitClip]:
    """The further orbits of the motion in the clip of `folder`. InputError: as `read_clip`, or they are too
    many."""
    found = [path.parent for path in sorted(folder.glob(f"{ORBIT}*/{CAMERAS}"))]
    if len(found) > MOST_FURTHER:
        raise InputError(f"{folder}: {len(found)} further orbits, expected at most {MOST_FURTHER}")
    return [read_clip(path) for path in found]


def write_priors(folder: Path, priors: dict[str, Tensor]) -> None:
    """Write the prior tokens [M,P] by name into the clip's `folder`; no file if `priors` is empty."""
    if priors:
        write_tensors(folder / PRIORS, priors)


def read_priors(folder: Path) -> dict[str, Tensor]:
    """The priors written by `write_priors`; empty without a file. InputError: other tensors."""
    path = folder / PRIORS
    if not path.is_file():
        return {}
    tensors = read_tensors(path)
    for name, tokens in tensors.items():
        if name not in PRIOR_NAMES or tokens.ndim != 2 or not 1 <= len(tokens) <= 128:
            raise InputError(
                f"{path}: expected up to 128 tokens each of spatial and temporal, got "
                f"{printable(name)[:80]} {list(tokens.shape)}"
            )
    return tensors


def write_course(folder: Path, course: Course) -> None:
    """Into the folder of a clip or an asset."""
    tensors = {name: getattr(course, name).float() for name in ("rest", "places")}
    write_tensors(folder / COURSE, tensors)


def read_course(folder: Path) -> Course | None:
    """Of the clip or the asset in `folder`; None: it has none. InputError: other tensors."""
    path = folder / COURSE
    if not path.is_file():
        return None
    tensors = read_tensors(path)
    rest, places = tensors.get("rest"), tensors.get("places")
    wrong = InputError(
        f"{path}: expected rest [P,3] and places [M,P,3] in float32, of up to {MOST_POINTS:,} points and "
        f"2 to {MOST_MOMENTS:,} moments"
    )
    if rest is None or places is None or len(tensors) != 2:
        raise wrong
    if not (rest.ndim == 2 and places.ndim == 3 and places.shape[1:] == rest.shape):
        raise wrong
    few = 0 < len(rest) <= MOST_POINTS and 2 <= len(places) <= MOST_MOMENTS and rest.shape[1] == 3
    if not few or {rest.dtype, places.dtype} != {torch.float32}:
        raise wrong
    if max(float(rest.abs().max()), float(places.abs().max())) > FARTHEST:
        raise InputError(f"{path}: expected places at most {FARTHEST:,.0f} from the origin")
    return Course(rest=rest, places=places)


def read_clip(folder: Path) -> OrbitClip:
    """The clip in `folder`. InputError names the file and the invalid field; LimitError: too many
    pixels."""
    path = folder / CAMERAS
    value = read_json(path)
    cameras, times, prompt = parse_cameras(value, where=str(path))
    check_size(len(cameras), cameras.width, cameras.height, str(path))
    frames, alphas = [], []
    seen: set[str] = set()
    for i, entry in enumerate(value["frames"]):
        where = f"{path}: frame {i}"
        name = entry.get("file")
        if not isinstance(name, str):
            raise InputError(f"{where}: expected a file name, got {printable(repr(name))[:80]}")
        if name in seen:
            raise InputError(f"{where}: {printable(name)} is listed twice")
        seen.add(name)
        image = read_image(folder / safe_relative_path(name, where=where))
        if image.shape[1:] != (cameras.height, cameras.width):
            raise InputError(
                f"{folder / name}: expected {cameras.width}x{cameras.height} pixels, "
                f"got {image.shape[2]}x{image.shape[1]}"
            )
        frames.append(image[:3])
        if image.shape[0] == 4:
            alphas.append(image[3:])
    if alphas and len(alphas) != len(frames):
        raise InputError(
            f"{folder}: {len(alphas)} of {len(frames)} frames have alpha, expected all"
        )
    return OrbitClip(
        frames=torch.stack(frames),
        alpha=torch.stack(alphas) if alphas else None,
        cameras=cameras,
        times=times,
        prompt=prompt,
        course=read_course(folder),
    )


def check_size(frames: int, width: int, height: int, where: str) -> None:
    """LimitError if the frames would take more memory than a clip may."""
    size = frames * width * height * 4 * 4
    if size > CLIP_MAX_BYTES:
        raise LimitError(
            f"{where}: {frames} frames of {width}x{height} take {size:,} bytes of memory, at most "
            f"{CLIP_MAX_BYTES:,}",
            hint="make the frames smaller, or leave some out",
        )


def parse_cameras(value: Any, *, where: str) -> tuple[Cameras, Tensor, str | None]:
    """Cameras, times [T] and prompt of a `cameras.json` value. InputError: another value."""
    if not isinstance(value, dict) or value.get("format") != FORMAT or value.get("version") != 1:
        raise InputError(f"{where}: expected {FORMAT} version 1")
    _known(value, _KEYS, where)
    width, height = parse_side(value, "width", where), parse_side(value, "height", where)
    frames = value.get("frames")
    if not isinstance(frames, list) or not 1 <= len(frames) <= CLIP_MAX_FRAMES:
        raise InputError(f"{where}: expected 1 to {CLIP_MAX_FRAMES} frames")
    prompt = value.get("prompt")
    if prompt is not None and not isinstance(prompt, str):
        raise InputError(f"{where}: expected prompt to be a text")
    for i, entry in enumerate(frames):
        if isinstance(entry, dict):
            _known(entry, _FRAME_KEYS, f"{where}: frame {i}")
    cameras, times = parse_frames(frames, width=width, height=height, where=where)
    return cameras, times, prompt


def _known(entry: dict[str, Any], keys: tuple[str, ...], where: str) -> None:
    for key in entry:
        if key not in keys:
            guess = did_you_mean(key, list(keys))
            raise InputError(f"{where}: unknown key {printable(key)[:80]!r}{guess}")
