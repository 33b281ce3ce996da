"""Numbers, poses and intrinsics out of JSON: right shape, finite, rigid, in front of a lens."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from orster_cli.core.errors import InputError

LARGEST = 1e6  # of any number in a camera file; beyond it float32 has no pixels left
SKEWED = 1e-3  # by how much a rotation may miss being one


def numbers(value: Any, shape: tuple[int, ...], where: str) -> Tensor:
    """A float64 tensor of exactly `shape`, all finite and of reasonable size. InputError."""
    try:
        tensor = torch.tensor(value, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise InputError(f"{where}: expected numbers of shape {list(shape)}") from error
    if tuple(tensor.shape) != shape:
        raise InputError(
            f"{where}: expected numbers of shape {list(shape)}, got {list(tensor.shape)}"
        )
    if not bool((tensor.abs() <= LARGEST).all()):  # NaN compares false
        raise InputError(f"{where}: expected finite numbers up to {LARGEST:g}")
    return tensor


def check_pose(pose: Tensor, where: str) -> None:
    """`pose` [4,4] is a rigid transform: a rotation that does not mirror, and a translation.
    InputError."""
    rotation = pose[:3, :3]
    identity = torch.eye(3, dtype=pose.dtype)
    last = torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=pose.dtype)
    straight = torch.allclose(rotation @ rotation.T, identity, atol=SKEWED)
    if not straight or not torch.allclose(pose[3], last, atol=1e-6):
        raise InputError(f"{where}: expected a rotation and a translation, got another matrix")
    if math.copysign(1.0, float(torch.linalg.det(rotation))) < 0:
        raise InputError(f"{where}: the rotation mirrors (determinant -1)")


def check_intrinsics(K: Tensor, where: str) -> None:
    """`K` [3,3] is a pinhole camera without skew. InputError."""
    if min(float(K[0, 0]), float(K[1, 1])) <= 0:
        raise InputError(f"{where}: expected positive focal lengths")
    rest = [K[0, 1], K[1, 0], K[2, 0], K[2, 1], K[2, 2] - 1]
    if any(abs(float(value)) > 1e-6 for value in rest):
        raise InputError(f"{where}: expected fx 0 cx / 0 fy cy / 0 0 1, got another matrix")
