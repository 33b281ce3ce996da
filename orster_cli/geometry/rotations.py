"""Rotations as wxyz quaternions, matrices and rotation vectors."""

from __future__ import annotations

import torch
from torch import Tensor


def rotation_quaternions(rotvec: Tensor) -> Tensor:
    """[..., 4] wxyz unit quaternions of rotation vectors [..., 3] (radians), smooth at zero."""
    half = 0.5 * rotvec
    angle2 = (half * half).sum(-1, keepdim=True)
    angle = (angle2 + 1e-12).sqrt()
    return torch.cat([torch.cos(angle), half * (torch.sin(angle) / angle)], dim=-1)


def quaternion_matrices(q: Tensor) -> Tensor:
    """[..., 3, 3] rotation matrices of unit quaternions [..., 4] wxyz."""
    w, x, y, z = q.unbind(-1)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(rows, dim=-1).reshape(*q.shape[:-1], 3, 3)


def matrix_quaternions(rotation: Tensor) -> Tensor:
    """[..., 4] wxyz unit quaternions, w >= 0, of rotation matrices [..., 3, 3].

    The inverse of `quaternion_matrices`, exact at half turns too: each quaternion is read from the
    row of 4 q q^T whose diagonal entry is largest."""
    m = rotation
    xx, yy, zz = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    wx, wy, wz = (m[..., i, j] - m[..., j, i] for i, j in ((2, 1), (0, 2), (1, 0)))
    xy, xz, yz = (m[..., i, j] + m[..., j, i] for i, j in ((0, 1), (0, 2), (1, 2)))
    outer = torch.stack(
        [
            1 + xx + yy + zz, wx, wy, wz,
            wx, 1 + xx - yy - zz, xy, xz,
            wy, xy, 1 - xx + yy - zz, yz,
            wz, xz, yz, 1 - xx - yy + zz,
        ],
        dim=-1,
    ).reshape(*m.shape[:-2], 4, 4)  # fmt: skip
    largest = outer.diagonal(dim1=-2, dim2=-1).argmax(dim=-1)
    row = torch.take_along_dim(outer, largest[..., None, None], dim=-2)[..., 0, :]
    q = torch.nn.functional.normalize(row, dim=-1)
    return torch.where(q[..., :1] < 0, -q, q)


def multiply_quaternions(a: Tensor, b: Tensor) -> Tensor:
    """Hamilton product of wxyz quaternions [..., 4]: the rotation `b`, then `a`."""
    aw, ax, ay, az = a.unbind(-1)
    bw, bx, by, bz = b.unbind(-1)
    return torch.stack(
        [
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ],
        dim=-1,
    )
