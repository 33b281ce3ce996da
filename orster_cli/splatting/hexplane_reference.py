"""Sampling and smoothness of HexPlane planes in plain torch: what runs on a GPU, and the reference of
`hexplane_numba` and `smoothness_numba`.

N points, C channels, F features. Planes are [second axis, first axis, C], in the order of 4DGaussians:
0 xy, 1 xz, 2 xt, 3 yz, 4 yt, 5 zt.
"""

from __future__ import annotations

import torch
from torch import Tensor

AXES = ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3))  # x 0, y 1, z 2, t 3
SPATIAL = (0, 1, 3)
TEMPORAL = (2, 4, 5)


def time_cells(t: float, cells: int, periodic: bool) -> tuple[int, int, float]:
    """The two cells around time `t` in [0,1], and the weight of the second."""
    if periodic:
        position = (t % 1.0) * cells
        first = min(int(position), cells - 1)
        return first, (first + 1) % cells, position - first
    position = min(max(t, 0.0), 1.0) * (cells - 1)
    first = min(int(position), cells - 2)
    return first, first + 1, position - first


def sample_planes(
    points: Tensor, t: float, planes: list[list[Tensor]], aabb: Tensor, periodic: bool
) -> Tensor:
    """[N,F] features of `points` [N,3] at time `t` in [0,1], by grid_sample.

    `planes`: six planes [second axis, first axis, C] per scale; `aabb` [2,3]: corners of the box."""
    normalised = (points - aabb[0]) / (aabb[1] - aabb[0]) * 2 - 1
    features = []
    for scale in planes:
        product = None
        for (first, second), plane in zip(AXES, scale, strict=True):
            if second == 3:
                low, high, weight = time_cells(t, plane.shape[0], periodic)
                plane = torch.lerp(plane[low], plane[high], weight)[None]
                grid = torch.stack([normalised[:, first], torch.zeros_like(points[:, 0])], dim=-1)
            else:
                grid = normalised[:, [first, second]]
            value = torch.nn.functional.grid_sample(
                plane.permute(2, 0, 1)[None],
                grid[None, :, None],
                mode="bilinear",
                padding_mode="border",
                align_corners=True,
            )[0, :, :, 0].T
            product = value if product is None else product * value
        features.append(product)
    return torch.cat(features, dim=-1)


def roughness(planes: list[Tensor], axes: tuple[int, ...], *, periodic: bool = False) -> Tensor:
    """Mean squared second difference along `axes`, averaged over `planes` [A,B,C] and axes; 0 for an
    axis of fewer than three cells that is not `periodic`."""
    return torch.stack([_roughness(p, axis, periodic) for p in planes for axis in axes]).mean()


def _roughness(plane: Tensor, axis: int, periodic: bool) -> Tensor:
    if periodic:
        return (plane.roll(-1, axis) - 2 * plane + plane.roll(1, axis)).square().mean()
    if plane.shape[axis] < 3:
        return plane.new_zeros(())
    return plane.diff(n=2, dim=axis).square().mean()
