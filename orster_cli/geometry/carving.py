"""Visual hulls as fields: how far each point of a grid lies outside of what all cameras see.

T views, H W pixels, X Y Z grid points. Reference: Laurentini, "The visual hull concept for silhouette-based
image understanding", 1994.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from orster_cli.core.types import Cameras
from orster_cli.geometry.projection import project, sample_image

PRUNED = 8  # views after which points that lie outside are dropped; later after every fourth view


def silhouette(opacity: Tensor, level: float) -> Tensor:
    """[H,W] how far each pixel of `opacity` [H,W] is outside, negative inside: 0 where the opacity is
    `level`, with its slope there, and distances in pixels farther away."""
    above = opacity.numpy() > level
    height, width = above.shape
    outward = (
        distance_transform_edt(~above) if above.any() else np.full(above.shape, height + width)
    )
    values = level - opacity.numpy()
    values = np.where(
        above,
        np.minimum(values, 1 - distance_transform_edt(above)),
        np.maximum(values, outward - 1),
    )
    return torch.from_numpy(values.astype(np.float32))


def grid_axes(low: np.ndarray, high: np.ndarray, spacing: float) -> list[Tensor]:
    """Coordinates of grid points along x, y and z, from `low` [3] to `high` [3] or a little farther."""
    counts = (math.ceil((b - a) / spacing) + 1 for a, b in zip(low, high, strict=True))
    return [
        (float(a) + spacing * torch.arange(n)).float() for a, n in zip(low, counts, strict=True)
    ]


def carve(silhouettes: Tensor, cameras: Cameras, axes: list[Tensor], limit: float) -> np.ndarray:
    """[X,Y,Z] the largest value that the `silhouettes` [T,H,W] of all `cameras` have where they show the
    points of a grid, at most `limit`; what lies beyond a picture's border is outside."""
    points = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, 3)
    out = torch.full((len(points),), limit)
    left, worst = torch.arange(len(points)), torch.full((len(points),), -math.inf)
    for number, view in enumerate(_spread_out(len(cameras))):
        place, _ = project(points, cameras, view)
        within = silhouettes[view, None].clamp(max=limit) - limit  # 0 beyond the border
        worst = torch.maximum(worst, limit + sample_image(within, place)[:, 0])
        if number < PRUNED or number % 4 == 0:
            kept = worst < limit
            points, worst, left = points[kept], worst[kept], left[kept]
    out[left] = worst
    return out.reshape([len(axis) for axis in axes]).numpy()


def _spread_out(count: int) -> list[int]:
    """Numbers below `count`, each far from those just before it: neighbours carve the same."""
    bits = max(count - 1, 1).bit_length()
    turned = (int(format(k, f"0{bits}b")[::-1], 2) for k in range(1 << bits))
    return [k for k in turned if k < count]
