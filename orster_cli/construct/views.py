"""What the fit looks at: single frames with a camera and a phase of the motion.

A view is a frame of a clip, or its mirror image with a mirrored camera (see `recurrence`).
H W pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from orster_cli.core.types import OrbitClip


@dataclass(frozen=True, kw_only=True, eq=False)
class View:
    """`rgb` [H,W,3] on the background, `alpha` [H,W,1], `w2c` [4,4], `K` [3,3]; `phase` in [0,1) of the
    motion, or None for the static object; `time` in [0,1] of the frame it came from."""

    rgb: Tensor
    alpha: Tensor
    w2c: Tensor
    K: Tensor
    phase: float | None
    time: float
    weight: float = 1.0
    mirrored: bool = False


def mirror_matrix(azimuth: float, offset: float = 0.0) -> Tensor:
    """[4,4] reflection in the vertical plane through the view axis of `azimuth` (degrees): for 0, the
    plane x = `offset`, which parts the left of an object that faces -Y from its right."""
    angle = math.radians(azimuth)
    normal = torch.tensor([math.cos(angle), math.sin(angle), 0.0], dtype=torch.float64)
    reflection = torch.eye(4, dtype=torch.float64)
    reflection[:3, :3] -= 2 * normal[:, None] * normal
    reflection[:3, 3] = 2 * offset * normal
    return reflection


def mirrored_camera(w2c: Tensor, K: Tensor, width: int, reflection: Tensor) -> tuple[Tensor, Tensor]:
    """The camera whose image of the mirrored world is the left-right flipped image of (`w2c`, `K`)."""
    flip = torch.diag(torch.tensor([-1.0, 1.0, 1.0, 1.0], dtype=torch.float64))
    flipped_K = K.clone()
    flipped_K[0, 2] = width - K[0, 2]
    return (flip @ w2c.double() @ reflection).to(w2c.dtype), flipped_K


def composite(clip: OrbitClip, background: Tensor) -> Tensor:
    """[T,3,H,W] frames whose transparent parts show `background` [3].

    `OrbitClip.frames` hold straight colour where alpha > 0."""
    assert clip.alpha is not None
    return clip.frames * clip.alpha + (1 - clip.alpha) * background[:, None, None]
