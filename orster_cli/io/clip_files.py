"""A clip on disk: `frames/0000.png` ..., `cameras.json`, `preview.mp4`.

PNG holds straight RGBA (or RGB where there is no alpha). The camera file says each frame's true pose,
OpenCV world-to-camera, in numbers that survive a round trip.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from orster_cli.core.errors import InputError
from orster_cli.core.limits import CLIP_MAX_FRAMES
from orster_cli.core.names import safe_relative_path
from orster_cli.core.strict_json import read_json
from orster_cli.core.types import Cameras, OrbitClip
from orster_cli.io.images import read_image, write_png
from orster_cli.io.video import write_video

CAMERAS = "cameras.json"
FORMAT = "orster-cameras"


def camera_entries(clip: OrbitClip) -> dict[str, Any]:
    """The JSON value of `cameras.json` for `clip`, file names left out."""
    return {
        "format": FORMAT,
        "version": 1,
        "convention": "OpenCV w2c, pixel centres at .5",
        "width": clip.cameras.width,
        "height": clip.cameras.height,
        "prompt": clip.prompt,
        "frames": [
            {"time": float(t), "K": K.tolist(), "w2c": w2c.tolist()}
            for t, K, w2c in zip(
                clip.times.double(), clip.cameras.K.double(), clip.cameras.w2c.double(), strict=True
            )
        ],
    }


def write_clip(folder: Path, clip: OrbitClip, *, fps: float = 12.0) -> None:
    """Write `clip` into `folder` (made if it is not there)."""
    (folder / "frames").mkdir(parents=True, exist_ok=True)
    value = camera_entries(clip)
    shown = []
    for i, entry in enumerate(value["frames"]):
        frame = clip.frames[i]
        entry["file"] = f"frames/{i:04d}.png"
        if clip.alpha is not None:
            shown.append(frame * clip.alpha[i] + (1 - clip.alpha[i]))
            frame = torch.cat([frame, clip.alpha[i]])
        else:
            shown.append(frame)
        write_png(folder / entry["file"], frame)
    (folder / CAMERAS).write_text(json.dumps(value, indent=1, ensure_ascii=False), encoding="utf-8")
    write_video(folder / "preview.mp4", shown, fps=fps)


def read_clip(folder: Path) -> OrbitClip:
    """The clip in `folder`. InputError names the file and the field that is wrong."""
    path = folder / CAMERAS
    value = read_json(path)
    cameras, times, prompt = parse_cameras(value, where=str(path))
    frames, alphas = [], []
    for i, entry in enumerate(value["frames"]):
        name = entry.get("file")
        if not isinstance(name, str):
            raise InputError(f"{path}: frame {i}: expected a file name, got {name!r}")
        image = read_image(folder / safe_relative_path(name, where=f"{path}: frame {i}"))
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
    )


def parse_cameras(value: Any, *, where: str) -> tuple[Cameras, Tensor, str | None]:
    """Cameras, times [T] and prompt of a `cameras.json` value; InputError where it is not one."""
    if not isinstance(value, dict) or value.get("format") != FORMAT or value.get("version") != 1:
        raise InputError(f"{where}: expected {FORMAT} version 1")
    width, height, frames = (value.get(k) for k in ("width", "height", "frames"))
    if not (_is_size(width) and _is_size(height)):
        raise InputError(f"{where}: expected width and height in pixels, got {width!r}, {height!r}")
    if not isinstance(frames, list) or not 1 <= len(frames) <= CLIP_MAX_FRAMES:
        raise InputError(f"{where}: expected 1 to {CLIP_MAX_FRAMES} frames")
    prompt = value.get("prompt")
    if prompt is not None and not isinstance(prompt, str):
        raise InputError(f"{where}: expected prompt to be a text")
    times, Ks, poses = [], [], []
    for i, entry in enumerate(frames):
        if not isinstance(entry, dict):
            raise InputError(f"{where}: frame {i}: expected an object")
        times.append(_numbers(entry.get("time"), (), f"{where}: frame {i}: time"))
        Ks.append(_numbers(entry.get("K"), (3, 3), f"{where}: frame {i}: K"))
        poses.append(_numbers(entry.get("w2c"), (4, 4), f"{where}: frame {i}: w2c"))
        check_pose(poses[-1], f"{where}: frame {i}: w2c")
        if min(Ks[-1][0, 0], Ks[-1][1, 1]) <= 0:
            raise InputError(f"{where}: frame {i}: K: expected positive focal lengths")
    time = torch.stack(times).float()
    if float(time.min()) < 0 or float(time.max()) > 1:
        raise InputError(f"{where}: times must lie in [0,1]")
    cameras = Cameras(
        K=torch.stack(Ks).float(), w2c=torch.stack(poses).float(), width=width, height=height
    )
    return cameras, time, prompt


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 < value <= 65536


def _numbers(value: Any, shape: tuple[int, ...], where: str) -> Tensor:
    """A float64 tensor of exactly `shape`, all finite."""
    try:
        tensor = torch.tensor(value, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{where}: expected numbers of shape {list(shape)}") from error
    if tuple(tensor.shape) != shape or not bool(torch.isfinite(tensor).all()):
        raise InputError(f"{where}: expected finite numbers of shape {list(shape)}")
    return tensor


def check_pose(pose: Tensor, where: str) -> None:
    """A rigid 4x4 transform: rotation of determinant 1, last row 0 0 0 1."""
    rotation = pose[:3, :3]
    identity = torch.eye(3, dtype=pose.dtype)
    straight = torch.allclose(rotation @ rotation.T, identity, atol=1e-3)
    last = torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=pose.dtype)
    if not straight or not torch.allclose(pose[3], last, atol=1e-6):
        raise InputError(f"{where}: expected a rotation and a translation, got another matrix")
    if math.copysign(1.0, float(torch.linalg.det(rotation))) < 0:
        raise InputError(f"{where}: the rotation mirrors (determinant -1)")
