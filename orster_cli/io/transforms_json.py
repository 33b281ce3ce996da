"""`transforms.json`, the camera file of nerfstudio and of Blender's NeRF exporters.

Camera-to-world matrices with OpenGL axes (x right, y up, z backward), world +Z up; intrinsics for the
whole file or per frame; `time` per frame as D-NeRF has it (without it, frames are evenly spaced).
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from orster_cli.core.errors import InputError, LimitError
from orster_cli.core.limits import TRANSFORMS_MAX_FRAMES
from orster_cli.core.names import safe_relative_path
from orster_cli.core.strict_json import read_json
from orster_cli.core.types import Cameras, OrbitClip
from orster_cli.geometry.conventions import opengl_c2w_to_w2c, w2c_to_opengl_c2w
from orster_cli.io.clip_files import _numbers, check_pose
from orster_cli.io.images import read_image

TRANSFORMS = "transforms.json"


def read_transforms(path: Path) -> OrbitClip:
    """Frames and cameras of `path` (the file, or the folder that holds it).

    InputError names the frame and field that is wrong; LimitError: too many frames."""
    path = path / TRANSFORMS if path.is_dir() else path
    value = read_json(path)
    frames = value.get("frames") if isinstance(value, dict) else None
    if not isinstance(frames, list) or not frames:
        raise InputError(f"{path}: expected an object with a list of frames")
    if len(frames) > TRANSFORMS_MAX_FRAMES:
        raise LimitError(f"{path}: {len(frames)} frames, at most {TRANSFORMS_MAX_FRAMES}")
    images, poses, Ks, times, seen = [], [], [], [], set()
    for i, entry in enumerate(frames):
        where = f"{path}: frame {i}"
        if not isinstance(entry, dict):
            raise InputError(f"{where}: expected an object")
        name = _image_name(entry, path.parent, where)
        if name in seen:
            raise InputError(f"{where}: {name} is listed twice")
        seen.add(name)
        image = read_image(path.parent / name)
        pose = _numbers(entry.get("transform_matrix"), (4, 4), f"{where}: transform_matrix")
        check_pose(pose, f"{where}: transform_matrix")
        images.append(image)
        poses.append(pose)
        Ks.append(_intrinsics({**value, **entry}, image.shape[2], image.shape[1], where))
        time = entry.get("time", i / max(len(frames) - 1, 1))
        times.append(_numbers(time, (), f"{where}: time"))
    if len({tuple(image.shape) for image in images}) != 1:
        raise InputError(f"{path}: the frames differ in size or only some have alpha")
    time = torch.stack(times).float()
    if float(time.min()) < 0 or float(time.max()) > 1:
        raise InputError(f"{path}: expected times in [0,1], got {time.min():g} to {time.max():g}")
    stack = torch.stack(images)
    cameras = Cameras(
        K=torch.stack(Ks).float(),
        w2c=opengl_c2w_to_w2c(torch.stack(poses)).float(),
        width=stack.shape[3],
        height=stack.shape[2],
    )
    alpha = stack[:, 3:] if stack.shape[1] == 4 else None
    return OrbitClip(frames=stack[:, :3], alpha=alpha, cameras=cameras, times=time)


def _image_name(entry: dict[str, Any], folder: Path, where: str) -> str:
    name = entry.get("file_path")
    if not isinstance(name, str):
        raise InputError(f"{where}: expected file_path, got {name!r}")
    name = safe_relative_path(name.removeprefix("./"), where=where)
    if not (folder / name).is_file() and (folder / f"{name}.png").is_file():
        return f"{name}.png"  # Blender's exporters leave the ending out
    return name


def _intrinsics(value: dict[str, Any], width: int, height: int, where: str) -> Tensor:
    """[3,3] from fl_x/fl_y/cx/cy of a w x h image (scaled to ours), or from camera_angle_x."""

    def number(key: str, default: float | None = None) -> float:
        return float(_numbers(value.get(key, default), (), f"{where}: {key}"))

    if "fl_x" in value:
        stored_width, stored_height = number("w", width), number("h", height)
        if min(stored_width, stored_height) <= 0:
            raise InputError(f"{where}: w and h must be positive")
        sx, sy = width / stored_width, height / stored_height
        fx = number("fl_x")
        fy = number("fl_y", fx)
        cx, cy = number("cx", stored_width / 2), number("cy", stored_height / 2)
        fx, fy, cx, cy = fx * sx, fy * sy, cx * sx, cy * sy
    elif "camera_angle_x" in value:
        angle = number("camera_angle_x")
        if not 0 < angle < math.pi:
            raise InputError(f"{where}: camera_angle_x: expected radians in (0, pi), got {angle:g}")
        fx = fy = width / 2 / math.tan(angle / 2)
        cx, cy = width / 2, height / 2
    else:
        raise InputError(f"{where}: expected fl_x or camera_angle_x, found neither")
    if min(fx, fy) <= 0:
        raise InputError(f"{where}: the focal length must be positive, got {fx:g}, {fy:g}")
    return torch.tensor([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], dtype=torch.float64)


def write_transforms(path: Path, clip: OrbitClip, files: list[str]) -> None:
    """Write the cameras and times of `clip` beside images named `files` (relative to `path`)."""
    c2w = w2c_to_opengl_c2w(clip.cameras.w2c.double())
    value = {
        "camera_model": "OPENCV",
        "w": clip.cameras.width,
        "h": clip.cameras.height,
        "frames": [
            {
                "file_path": file,
                "time": float(clip.times[i]),
                "transform_matrix": c2w[i].tolist(),
                "fl_x": float(clip.cameras.K[i, 0, 0]),
                "fl_y": float(clip.cameras.K[i, 1, 1]),
                "cx": float(clip.cameras.K[i, 0, 2]),
                "cy": float(clip.cameras.K[i, 1, 2]),
            }
            for i, file in enumerate(files)
        ],
    }
    path.write_text(json.dumps(value, indent=1), encoding="utf-8")
