"""Imports third-party renderings: Diffusion4D's folders, and frames with a transforms.json.

Diffusion4D writes ``multi_frame{i}.png`` with ``multi{i}.json`` (dynamic orbit, view i at time i),
``multi_static_frame{i}.png`` with ``static{i}.json`` (the same cameras at time 0) and
``front_frame{i}.png`` with one ``front.json``. Poses are read from `matrix_world`, Blender's
camera-to-world matrix in a +Z-up world, never from names: the azimuths are 360 i / 23, so that the last
pose repeats the first, and the elevations in the folder names differ from the true ones.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from orster_cli.core import limits
from orster_cli.core.errors import InputError, LimitError
from orster_cli.core.strict_json import read_json
from orster_cli.core.types import Cameras, OrbitClip
from orster_cli.geometry.conventions import opengl_c2w_to_w2c
from orster_cli.geometry.orbit import clip_times
from orster_cli.io.camera_values import check_pose
from orster_cli.io.clip_files import check_size
from orster_cli.io.images import read_image
from orster_cli.io.transforms_json import read_transforms

_VIEWS = {
    "dynamic": ("multi_frame{}.png", "multi{}.json"),
    "static": ("multi_static_frame{}.png", "static{}.json"),
    "front": ("front_frame{}.png", "front.json"),
}
_SAME_POSE = 1e-4  # largest difference between matrix entries of equal poses


def read_frames(folder: Path) -> tuple[dict[str, OrbitClip], dict[str, Any]]:
    """A folder with transforms.json as a sample with only a dynamic orbit, and its metadata."""
    clip = read_transforms(folder / "transforms.json")
    return {"dynamic": clip}, {
        "layout": "transforms.json",
        "repeated_pose": repeats_first_pose(clip),
    }


def read_diffusion4d(folder: Path) -> tuple[dict[str, OrbitClip], dict[str, Any]]:
    """The views of a folder in Diffusion4D's layout (static and front if present), and metadata.
    InputError: missing frames, different sizes, or invalid poses."""
    views: dict[str, OrbitClip] = {}
    for name, (image, camera) in _VIEWS.items():
        count = _count(folder, image)
        if count:
            views[name] = _view(folder, image, camera, count, still=name == "static")
    dynamic, static = views["dynamic"], views.get("static")
    if static is not None and (
        len(static) != len(dynamic) or static.frames.shape != dynamic.frames.shape
    ):
        raise InputError(
            f"{folder}: {len(dynamic)} dynamic frames of {dynamic.cameras.width} px, but "
            f"{len(static)} static ones of {static.cameras.width} px"
        )
    return views, {"layout": "diffusion4d", "repeated_pose": repeats_first_pose(dynamic)}


def repeats_first_pose(clip: OrbitClip) -> bool:
    """Whether the last pose equals the first, as with azimuths 360 i / (T - 1)."""
    difference = (clip.cameras.w2c[-1] - clip.cameras.w2c[0]).abs().max()
    moved = (clip.cameras.w2c - clip.cameras.w2c[:1]).abs().max() > _SAME_POSE
    return len(clip) > 1 and bool(difference < _SAME_POSE) and bool(moved)


def _count(folder: Path, pattern: str) -> int:
    """Number of frames, which are numbered without gaps. InputError: a gap; LimitError: too many."""
    prefix, suffix = pattern.split("{}")
    numbers = sorted(
        int(path.name[len(prefix) : -len(suffix)])
        for path in folder.glob(pattern.format("*"))
        if path.name[len(prefix) : -len(suffix)].isdecimal()
    )
    if numbers != list(range(len(numbers))):
        missing = next(i for i, n in enumerate([*numbers, -1]) if i != n)
        raise InputError(f"{folder}: {pattern.format(missing)} is missing")
    if len(numbers) > limits.CLIP_MAX_FRAMES:
        raise LimitError(f"{folder}: {len(numbers)} frames, over {limits.CLIP_MAX_FRAMES}")
    return len(numbers)


def _view(folder: Path, image: str, camera: str, count: int, *, still: bool) -> OrbitClip:
    """One view of the folder. `still`: every frame is at time 0."""
    images: list[Tensor] = []  # [4,H,W] each
    height = width = 0
    for i in range(count):
        frame = _read_rgba(folder / image.format(i))
        if not images:
            height, width = frame.shape[1:]
            check_size(count, width, height, str(folder))
        elif frame.shape != images[0].shape:
            raise InputError(
                f"{folder / image.format(i)}: expected {width}x{height} pixels as the first frame, "
                f"got {frame.shape[2]}x{frame.shape[1]}"
            )
        images.append(frame)
    cameras = [_camera(folder / camera.format(i), width, height) for i in range(count)]
    rgba = torch.stack(images)
    times = clip_times(count).float()
    return OrbitClip(
        frames=torch.where(rgba[:, 3:] > 0, rgba[:, :3], torch.ones(())),
        alpha=rgba[:, 3:],
        cameras=Cameras(
            K=torch.stack([K for K, _ in cameras]).float(),
            w2c=torch.stack([w2c for _, w2c in cameras]).float(),
            width=width,
            height=height,
        ),
        times=torch.zeros_like(times) if still else times,
    )


def _read_rgba(path: Path) -> Tensor:
    """[4,H,W]; an image without transparency is opaque."""
    image = read_image(path)
    return image if len(image) == 4 else torch.cat([image, torch.ones_like(image[:1])])


def _camera(path: Path, width: int, height: int) -> tuple[Tensor, Tensor]:
    """(K [3,3] pixels, OpenCV w2c [4,4]) float64 from one of Diffusion4D's camera files."""
    try:
        camera = read_json(path, maximum=limits.MiB)
        matrix = torch.tensor(camera["matrix_world"], dtype=torch.float64)
        fov_x, fov_y = float(camera["x_fov"]), float(camera["y_fov"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: expected matrix_world, x_fov and y_fov, got {type(error).__name__}: {error}"
        ) from None
    if matrix.shape != (4, 4) or not bool((matrix.abs() < 1e6).all()):
        raise InputError(f"{path}: matrix_world: expected 4x4 finite numbers below 1e6")
    check_pose(matrix, f"{path}: matrix_world")
    if not (0.01 < fov_x < math.pi and 0.01 < fov_y < math.pi):
        raise InputError(f"{path}: expected fields of view in (0.01, pi), got {fov_x}, {fov_y}")
    K = torch.tensor(
        [
            [width / 2 / math.tan(fov_x / 2), 0.0, width / 2],
            [0.0, height / 2 / math.tan(fov_y / 2), height / 2],
            [0.0, 0.0, 1.0],
        ],
        dtype=torch.float64,
    )
    return K, opengl_c2w_to_w2c(matrix)
