"""`transforms.json`, the camera file of nerfstudio and of Blender's NeRF exporters.

Camera-to-world matrices with OpenGL axes (x right, y up, z backward), world +Z up; intrinsics for
the whole file or per frame; `time` per frame as in D-NeRF (evenly spaced in file order if absent).
Pinhole cameras only.
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
from orster_cli.core.names import printable, safe_relative_path
from orster_cli.core.strict_json import read_json
from orster_cli.core.types import Cameras, OrbitClip
from orster_cli.geometry.conventions import opengl_c2w_to_w2c, w2c_to_opengl_c2w
from orster_cli.io.camera_values import check_pose, check_times, parse_numbers, parse_side
from orster_cli.io.clip_files import check_size
from orster_cli.io.images import read_image

TRANSFORMS = "transforms.json"
MAX_DISTORTION = 1e-4  # lens coefficients up to this value shift no pixel visibly


def read_transforms(path: Path) -> OrbitClip:
    """Frames and cameras of `path`, the file or its folder.

    InputError names the frame and the invalid field; LimitError: too many frames or pixels."""
    path = path / TRANSFORMS if path.is_dir() else path
    value = read_json(path)
    frames = value.get("frames") if isinstance(value, dict) else None
    if not isinstance(frames, list) or not frames:
        raise InputError(f"{path}: expected an object with a list of frames")
    if len(frames) > TRANSFORMS_MAX_FRAMES:
        raise LimitError(f"{path}: {len(frames)} frames, at most {TRANSFORMS_MAX_FRAMES}")
    _check_model(value, str(path))
    images: list[Tensor] = []
    poses, Ks, times = [], [], []
    seen: set[str] = set()
    for i, entry in enumerate(frames):
        where = f"{path}: frame {i}"
        if not isinstance(entry, dict):
            raise InputError(f"{where}: expected an object")
        name = _image_name(entry, path.parent, where)
        if name in seen:
            raise InputError(f"{where}: {name} is listed twice")
        seen.add(name)
        _check_model(entry, where)
        image = read_image(path.parent / name)
        if not images:
            check_size(len(frames), image.shape[2], image.shape[1], str(path))
        elif image.shape != images[0].shape:
            raise InputError(
                f"{where}: {name} differs from the first image in size, or in having alpha"
            )
        pose = parse_numbers(entry.get("transform_matrix"), (4, 4), f"{where}: transform_matrix")
        check_pose(pose, f"{where}: transform_matrix")
        images.append(image)
        poses.append(pose)
        Ks.append(_intrinsics({**value, **entry}, image.shape[2], image.shape[1], where))
        time = entry.get("time", i / max(len(frames) - 1, 1))
        times.append(parse_numbers(time, (), f"{where}: time"))
    stack = torch.stack(images)
    cameras = Cameras(
        K=torch.stack(Ks).float(),
        w2c=opengl_c2w_to_w2c(torch.stack(poses)).float(),
        width=stack.shape[3],
        height=stack.shape[2],
    )
    alpha = stack[:, 3:] if stack.shape[1] == 4 else None
    return OrbitClip(
        frames=stack[:, :3],
        alpha=alpha,
        cameras=cameras,
        times=check_times(torch.stack(times), str(path)),
    )


def read_cameras(path: Path) -> Cameras:
    """The cameras of `path` alone, in the file's own image size `w` x `h`; no image is opened. Errors as
    `read_transforms`."""
    value = read_json(path)
    frames = value.get("frames") if isinstance(value, dict) else None
    if not isinstance(frames, list) or not 1 <= len(frames) <= TRANSFORMS_MAX_FRAMES:
        raise InputError(f"{path}: expected an object with 1 to {TRANSFORMS_MAX_FRAMES} frames")
    _check_model(value, str(path))
    width, height = parse_side(value, "w", str(path)), parse_side(value, "h", str(path))
    poses, Ks = [], []
    for i, entry in enumerate(frames):
        where = f"{path}: frame {i}"
        if not isinstance(entry, dict):
            raise InputError(f"{where}: expected an object")
        _check_model(entry, where)
        pose = parse_numbers(entry.get("transform_matrix"), (4, 4), f"{where}: transform_matrix")
        check_pose(pose, f"{where}: transform_matrix")
        poses.append(pose)
        Ks.append(_intrinsics({**value, **entry, "w": width, "h": height}, width, height, where))
    return Cameras(
        K=torch.stack(Ks).float(),
        w2c=opengl_c2w_to_w2c(torch.stack(poses)).float(),
        width=width,
        height=height,
    )


def _check_model(entry: dict[str, Any], where: str) -> None:
    """InputError for cameras with lens distortion, which is not supported."""
    model = entry.get("camera_model", "OPENCV")
    if model not in ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE"):
        raise InputError(
            f"{where}: camera_model: expected a pinhole camera, got {printable(str(model))[:40]!r}",
            hint="undistort the images first (COLMAP: image_undistorter)",
        )
    for key in ("k1", "k2", "k3", "k4", "p1", "p2"):
        if abs(float(parse_numbers(entry.get(key, 0.0), (), f"{where}: {key}"))) > MAX_DISTORTION:
            raise InputError(
                f"{where}: {key} is not 0: lens distortion is not supported",
                hint="undistort the images first (COLMAP: image_undistorter)",
            )


def _image_name(entry: dict[str, Any], folder: Path, where: str) -> str:
    name = entry.get("file_path")
    if not isinstance(name, str):
        raise InputError(f"{where}: expected file_path, got {printable(repr(name))[:80]}")
    name = safe_relative_path(name.removeprefix("./"), where=where)
    if not (folder / name).is_file() and (folder / f"{name}.png").is_file():
        return f"{name}.png"  # Blender's exporters omit the suffix
    return name


def _intrinsics(value: dict[str, Any], width: int, height: int, where: str) -> Tensor:
    """[3,3] from fl_x/fl_y/cx/cy, scaled from the file's w x h to the image size, or from
    camera_angle_x."""

    def number(key: str, default: float | None = None) -> float:
        return float(parse_numbers(value.get(key, default), (), f"{where}: {key}"))

    if "fl_x" in value:
        # w and h may differ from the size of the images
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
    """Write the cameras and times of `clip`; `files` are the image names of its frames, relative to
    the folder of `path`."""
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
            for i, file in zip(range(len(clip)), files, strict=True)
        ],
    }
    path.write_text(json.dumps(value, indent=1), encoding="utf-8")
