"""Gaussians in a world whose up is another axis. N Gaussians; quaternions wxyz."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from orster_cli.core.types import Gaussians

_HALF = 0.5**0.5
# our +Z up to +Y up: (x, y, z) -> (x, z, -y); to -Y up (Y down): (x, y, z) -> (x, -z, y)
MATRICES = {
    "z": torch.eye(3, dtype=torch.float64),
    "y": torch.tensor([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]], dtype=torch.float64),
    "-y": torch.tensor([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]], dtype=torch.float64),
}
_QUATERNIONS = {
    "z": torch.tensor([1.0, 0, 0, 0], dtype=torch.float64),
    "y": torch.tensor([_HALF, -_HALF, 0, 0], dtype=torch.float64),
    "-y": torch.tensor([_HALF, _HALF, 0, 0], dtype=torch.float64),
}


def turned(gaussians: Gaussians, up: str, *, back: bool = False) -> Gaussians:
    """Gaussians of our world (+Z up) in one whose up is `up` ("z", "y" or "-y"); `back`: the inverse.

    Coefficients of spherical harmonics above degree 0 would have to turn too: they must be gone."""
    if up == "z":
        return gaussians
    if gaussians.sh.shape[1] != 1:
        raise ValueError("turned: colours that depend on the view are not turned")
    matrix, quat = MATRICES[up], _QUATERNIONS[up]
    if back:
        matrix, quat = matrix.T, quat * torch.tensor([1.0, -1.0, -1.0, -1.0], dtype=torch.float64)
    means = (gaussians.means.double() @ matrix.T).to(gaussians.means)
    return replace(gaussians, means=means, quats=_product(quat, gaussians.quats))


def _product(first: Tensor, second: Tensor) -> Tensor:
    """The Hamilton product of wxyz quaternions [4] and [N,4], in the type of the second."""
    w, v = first[:1], first[1:].expand(len(second), 3)
    q = second.double()
    u, s = q[:, 1:], q[:, :1]
    real = w * s - (v * u).sum(dim=1, keepdim=True)
    imaginary = w * u + s * v + torch.linalg.cross(v, u)
    return torch.cat([real, imaginary], dim=1).to(second)


def with_turns(gaussians: Gaussians) -> Gaussians:
    """Quaternions of length 0 as the identity, which is what a renderer makes of them."""
    none = gaussians.quats.norm(dim=-1, keepdim=True) < 1e-12
    if not bool(none.any()):
        return gaussians
    identity = gaussians.quats.new_tensor([1.0, 0, 0, 0])
    return replace(gaussians, quats=torch.where(none, identity, gaussians.quats))


def flat_colors(gaussians: Gaussians) -> Gaussians:
    """Without the coefficients that depend on the view."""
    return gaussians if gaussians.sh.shape[1] == 1 else replace(gaussians, sh=gaussians.sh[:, :1])
