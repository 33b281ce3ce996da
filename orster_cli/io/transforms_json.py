"""`transforms.json`, the camera file of nerfstudio and of Blender's NeRF exporters.

Camera-to-world matrices with OpenGL axes (x right, y up, z backward), world +Z up; intrinsics for
the whole file or per frame; `time` per frame as in D-NeRF. Without it, numbered frames are evenly spaced in
the order of their numbers, others in the order of the file. Pinhole cameras only.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from orster_cli.core.errors import InputError, LimitError
from orster_cli.core.file_kinds import IMAGES, SPLITS, TRANSFORMS
from orster_cli.core.limits import TRANSFORMS_MAX_FRAMES
from orster_cli.core.names import counted, frame_numbers, own_name, printable, safe_relative_path
from orster_cli.core.reporting import Reporter, Silent
from orster_cli.core.strict_json import read_json
from orster_cli.core.types import Cameras, OrbitClip
from orster_cli.geometry.conventions import opengl_c2w_to_w2c, w2c_to_opengl_c2w
from orster_cli.io.camera_values import check_pose, check_times, parse_numbers, parse_side
from orster_cli.io.clip_files import check_size
from orster_cli.io.images import read_image

MAX_DISTORTION = 1e-4  # lens coefficients up to this value shift no pixel visibly


def find_transforms(path: Path) -> Path | None:
    """The camera file that `path` is or, of a folder, holds: transforms.json, else the first of D-NeRF's
    split files. None: there is none."""
    if path.is_file():
        return path if path.suffix.lower() == ".json" else None
    return next((path / n for n in (TRANSFORMS, *SPLITS) if (path / n).is_file()), None)


def read_transforms(path: Path, reporter: Reporter | None = None) -> OrbitClip:
    """Frames and cameras of `path`, the file or its folder.

    Says which split files are not read, and what times were taken where there are none. InputError names
    the frame and the invalid field; LimitError: too many frames or pixels."""
    reporter = reporter or Silent()
    if path.is_dir():
        folder, path = path, find_transforms(path) or path / TRANSFORMS
        beside = [name for name in SPLITS if name != path.name and (folder / name).is_file()]
        if path.name in SPLITS and beside:
            reporter.warn(f"{own_name(folder)}: {path.name} is read; not used: {', '.join(beside)}")
    value = read_json(path)
    frames = value.get("frames") if isinstance(value, dict) else None
    if not isinstance(frames, list) or not frames:
        raise InputError(
            f"{path}: expected an object with a list of frames, each with file_path and transform_matrix"
        )
    if len(frames) > TRANSFORMS_MAX_FRAMES:
        raise LimitError(f"{path}: {len(frames)} frames, at most {TRANSFORMS_MAX_FRAMES}")
    _check_model(value, str(path))
    images: list[Tensor] = []
    names: list[str] = []
    poses, Ks = [], []
    for i, entry in enumerate(frames):
        where = f"{path}: frame {i}"
        if not isinstance(entry, dict):
            raise InputError(f"{where}: expected an object")
        name = _image_name(entry, path.parent, where)
        if name in names:
            raise InputError(f"{where}: {name} is listed twice")
        _check_model(entry, where)
        image = read_image(path.parent / name)
        if not images:
            check_size(len(frames), image.shape[2], image.shape[1], str(path))
        elif image.shape != images[0].shape:
            raise InputError(
                f"{where}: {name} differs from the first image in size, or in having alpha: expected "
                f"{_form(images[0])} as {names[0]}, got {_form(image)}"
            )
        pose = parse_numbers(entry.get("transform_matrix"), (4, 4), f"{where}: transform_matrix")
        check_pose(pose, f"{where}: transform_matrix")
        images.append(image)
        names.append(name)
        poses.append(pose)
        Ks.append(_intrinsics({**value, **entry}, image.shape[2], image.shape[1], where))
    masked = sum("mask_path" in entry for entry in frames)
    if masked:
        reporter.warn(
            f"{path}: mask_path of {counted(masked, 'frame')} is not read: put the masks into the alpha of "
            "the images"
        )
    times = _times(frames, names, path, reporter)
    stack = torch.stack(images)
    cameras = Cameras(
        K=torch.stack(Ks).float(),
        w2c=opengl_c2w_to_w2c(torch.stack(poses)).float(),
        width=stack.shape[3],
        height=stack.shape[2],
    )
    alpha = stack[:, 3:] if stack.shape[1] == 4 else None
    clip = OrbitClip(frames=stack[:, :3], alpha=alpha, cameras=cameras, times=times)
    order = times.argsort(stable=True)
    return clip if bool((order.diff() == 1).all()) else _ordered(clip, order)


def frame_paths(path: Path) -> list[Path]:
    """The images that a camera file names, in its order."""
    frames = read_json(path)["frames"]
    return [
        path.parent / _image_name(e, path.parent, f"{path}: frame {i}")
        for i, e in enumerate(frames)
    ]


def _ordered(clip: OrbitClip, order: Tensor) -> OrbitClip:
    """The frames of `clip` in another order."""
    return OrbitClip(
        frames=clip.frames[order],
        alpha=None if clip.alpha is None else clip.alpha[order],
        cameras=clip.cameras[order],
        times=clip.times[order],
    )


def _form(image: Tensor) -> str:
    return (
        f"{image.shape[2]}x{image.shape[1]} pixels {'with' if len(image) == 4 else 'without'} alpha"
    )


def _times(
    frames: list[dict[str, Any]], names: list[str], path: Path, reporter: Reporter
) -> Tensor:
    """[T] the time of each frame; where none has one, by its number, else by its place in the file."""
    count = len(frames)
    timed = [i for i, entry in enumerate(frames) if entry.get("time") is not None]
    if timed and len(timed) < count:
        first = next(i for i in range(count) if i not in set(timed))
        raise InputError(
            f"{path}: frame {first}: {names[first]} has no time, {len(timed)} of the {count} frames have "
            "one; expected all or none",
            hint="add the missing times, from 0 (first moment) to 1 (last), or remove all of them",
        )
    if timed:
        values = [
            parse_numbers(e["time"], (), f"{path}: frame {i}: time") for i, e in enumerate(frames)
        ]
        return check_times(torch.stack(values), str(path))
    numbers = frame_numbers([name.rsplit(".", 1)[0] for name in names])
    if numbers is None:
        reporter.warn(f"{path}: no frame has a time: evenly spaced in the order of the file")
        return (torch.arange(count, dtype=torch.float64) / max(count - 1, 1)).float()
    low, high = min(numbers), max(numbers)
    if high - low >= 2 * count:  # these numbers do not count frames
        ranks = {n: i for i, n in enumerate(sorted(numbers))}
        numbers, low, high = [ranks[n] for n in numbers], 0, count - 1
    shuffled = "" if numbers == sorted(numbers) else ", which is not that of the file"
    reporter.warn(f"{path}: no frame has a time: taken from the numbers of their names{shuffled}")
    return torch.tensor([(n - low) / max(high - low, 1) for n in numbers], dtype=torch.float32)


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
    try:
        name = safe_relative_path(name.removeprefix("./"), where=f"{where}: file_path")
    except InputError as error:
        raise InputError(
            f"{where}: file_path: expected a path inside {folder}, with forward slashes, got "
            f"{printable(name)[:200]!r}",
            hint="write file_path relative to the camera file, such as images/0001.png",
            code=error.code,
        ) from error
    if (folder / name).is_file():
        return name
    # Blender's exporters omit the suffix
    found = [s for s in IMAGES for s in (s, s.upper()) if (folder / f"{name}{s}").is_file()]
    if len(found) > 1:
        raise InputError(
            f"{where}: file_path {printable(name)[:200]!r} names several images: "
            f"{', '.join(f'{name}{suffix}' for suffix in found)}",
            hint="write the ending into file_path",
        )
    if not found:
        raise InputError(
            f"{folder / name}: no such file",
            hint=f"{where} names it; without an ending, {', '.join(IMAGES)} were tried",
        )
    return f"{name}{found[0]}"


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
