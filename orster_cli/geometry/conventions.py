"""Converters between camera conventions, all in one place (docs/conventions.md; as text in
`core.conventions`).

Ours: OpenCV axes (x right, y down, z forward), world-to-camera, world +Z up, azimuth 0 at -Y.
"""

from __future__ import annotations

import torch
from torch import Tensor

# glTF is +Y up with its front along +Z; in our world up is +Z and the front faces -Y
GLTF_TO_WORLD = torch.tensor(
    [[1.0, 0, 0, 0], [0, 0, -1.0, 0], [0, 1.0, 0, 0], [0, 0, 0, 1.0]], dtype=torch.float64
)
# VideoMV's first condition camera stands at +X where ours stands at -Y: (x, y, z) -> (-y, x, z)
WORLD_TO_VIDEOMV = torch.tensor(
    [[0, -1.0, 0, 0], [1.0, 0, 0, 0], [0, 0, 1.0, 0], [0, 0, 0, 1.0]], dtype=torch.float64
)


def invert_rigid(matrix: Tensor) -> Tensor:
    """Inverse of rigid transforms [..., 4, 4], exact for rotations."""
    rotation_t = matrix[..., :3, :3].transpose(-1, -2)
    out = torch.zeros_like(matrix)
    out[..., :3, :3] = rotation_t
    out[..., :3, 3] = -(rotation_t @ matrix[..., :3, 3:])[..., 0]
    out[..., 3, 3] = 1
    return out


def opengl_c2w_to_w2c(c2w: Tensor) -> Tensor:
    """OpenCV w2c of OpenGL/Blender camera-to-world matrices [..., 4, 4] (x right, y up, z
    backward); the world stays the same."""
    return invert_rigid(_yz_flipped(c2w))


def w2c_to_opengl_c2w(w2c: Tensor) -> Tensor:
    """The inverse of `opengl_c2w_to_w2c`."""
    return _yz_flipped(invert_rigid(w2c))


def _yz_flipped(matrix: Tensor) -> Tensor:
    """Matrices [..., 4, 4] with the second and third axis reversed; nothing is copied from the host."""
    x, y, z, w = matrix.unbind(-1)
    return torch.stack([x, -y, -z, w], dim=-1)


def videomv_condition(w2c: Tensor) -> Tensor:
    """[T,16] camera condition of VideoMV: OpenGL camera-to-world matrices in VideoMV's world,
    flattened, not normalised."""
    c2w = w2c_to_opengl_c2w(w2c.double())
    x, y, z, w = c2w.unbind(-2)  # WORLD_TO_VIDEOMV, without a copy of it to the device
    return torch.stack([-y, x, z, w], dim=-2).flatten(-2).float()
