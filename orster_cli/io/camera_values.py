"""Cameras from JSON values: shape, finiteness, rigid poses and pinhole intrinsics are checked."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from orster_cli.core.errors import InputError
from orster_cli.core.limits import IMAGE_MAX_SIDE
from orster_cli.core.names import printable
from orster_cli.core.types import Cameras

MAX_MAGNITUDE = 1e6  # magnitude of any number in a camera file; float32 resolves no pixel beyond it
ORTHOGONALITY_TOLERANCE = 1e-3  # tolerance on the orthogonality of a rotation


def parse_frames(
    frames: list[Any], *, width: int, height: int, where: str
) -> tuple[Cameras, Tensor]:
    """Cameras and times [T] of T JSON objects with `time`, `K` and `w2c`. InputError names the frame
    and the invalid field."""
    times, Ks, poses = [], [], []
    for i, frame in enumerate(frames):
        at = f"{where}: frame {i}"
        if not isinstance(frame, dict):
            raise InputError(f"{at}: expected an object")
        times.append(parse_numbers(frame.get("time"), (), f"{at}: time"))
        Ks.append(parse_numbers(frame.get("K"), (3, 3), f"{at}: K"))
        check_intrinsics(Ks[-1], f"{at}: K")
        poses.append(parse_numbers(frame.get("w2c"), (4, 4), f"{at}: w2c"))
        check_pose(poses[-1], f"{at}: w2c")
    cameras = Cameras(
        K=torch.stack(Ks).float(), w2c=torch.stack(poses).float(), width=width, height=height
    )
    return cameras, check_times(torch.stack(times), where)


def check_times(times: Tensor, where: str) -> Tensor:
    """`times` [T] as float32. InputError: a time outside [0,1]."""
    if float(times.min()) < 0 or float(times.max()) > 1:
        raise InputError(
            f"{where}: expected times in [0,1], got {times.min():g} to {times.max():g}",
            hint="0 is the first moment of the motion, 1 its last: subtract the first time and divide by "
            "the length, in whatever unit",
        )
    return times.float()


def parse_side(value: dict[str, Any], key: str, where: str) -> int:
    """The width or height `value[key]` in pixels. InputError: not an integer within the limits."""
    side = value.get(key)
    if type(side) is not int or not 0 < side <= IMAGE_MAX_SIDE:
        raise InputError(f"{where}: expected {key} to be 1 to {IMAGE_MAX_SIDE} pixels")
    return side


def parse_numbers(value: Any, shape: tuple[int, ...], where: str) -> Tensor:
    """`value` as a float64 tensor of exactly `shape`. InputError: another shape, not finite, too large."""
    wanted = f"numbers of shape {list(shape)}" if shape else "a number"
    try:
        tensor = torch.tensor(value, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        got = "nothing" if value is None else printable(repr(value))[:60]
        raise InputError(f"{where}: expected {wanted}, got {got}") from error
    if tuple(tensor.shape) != shape:
        raise InputError(f"{where}: expected {wanted}, got {list(tensor.shape)}")
    if not bool((tensor.abs() <= MAX_MAGNITUDE).all()):  # NaN compares false
        raise InputError(f"{where}: expected finite numbers up to {MAX_MAGNITUDE:g}")
    return tensor


def check_pose(pose: Tensor, where: str) -> None:
    """InputError unless `pose` [4,4] is a rigid transform: a proper rotation and a translation."""
    rotation = pose[:3, :3]
    identity = torch.eye(3, dtype=pose.dtype)
    last = torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=pose.dtype)
    straight = torch.allclose(rotation @ rotation.T, identity, atol=ORTHOGONALITY_TOLERANCE)
    if not straight or not torch.allclose(pose[3], last, atol=1e-6):
        raise InputError(f"{where}: expected a rotation and a translation, got another matrix")
    if math.copysign(1.0, float(torch.linalg.det(rotation))) < 0:
        raise InputError(f"{where}: the rotation mirrors (determinant -1)")


def check_intrinsics(K: Tensor, where: str) -> None:
    """InputError unless `K` [3,3] is a pinhole camera without skew."""
    if min(float(K[0, 0]), float(K[1, 1])) <= 0:
        raise InputError(f"{where}: expected positive focal lengths")
    rest = [K[0, 1], K[1, 0], K[2, 0], K[2, 1], K[2, 2] - 1]
    if any(abs(float(value)) > 1e-6 for value in rest):
        raise InputError(f"{where}: expected fx 0 cx / 0 fy cy / 0 0 1, got another matrix")
