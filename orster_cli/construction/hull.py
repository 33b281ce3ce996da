"""Initial positions of the Gaussians: the surface of the visual hull of the masks.

T views, G voxels per side, P surface points. World coordinates; the object lies in [-extent, extent]^3.
Reference: Laurentini, "The visual hull concept for silhouette-based image understanding", 1994.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from orster_cli.core.errors import InputError
from orster_cli.core.types import Cameras, OrbitClip
from orster_cli.geometry.projection import project, sample_image

EXTENT = 0.66  # half the side of the volume; objects of the designed size (1 to 1.25) fit into it


@dataclass(frozen=True, kw_only=True)
class SurfacePoints:
    """`positions` [P,3], outward `normals` [P,3], `colors` [P,3] in [0,1], `spacing` in world units."""

    positions: Tensor
    normals: Tensor
    colors: Tensor
    spacing: float

    def to(self, device: torch.device) -> SurfacePoints:
        """The same points on `device`."""
        return replace(
            self,
            positions=self.positions.to(device),
            normals=self.normals.to(device),
            colors=self.colors.to(device),
        )


def distance_inside(mask: Tensor) -> Tensor:
    """[H,W] distance in pixels from each pixel of `mask` [H,W] to the nearest pixel outside the mask; 0
    outside. Pixels beyond the image's border are outside."""
    padded = np.pad(mask.cpu().numpy(), 1)
    distance = ndimage.distance_transform_edt(padded)[1:-1, 1:-1]
    return torch.from_numpy(distance.astype(np.float32))


def voxel_centres(side: int, extent: float) -> Tensor:
    """[side**3, 3] centres of a regular grid over [-extent, extent]^3, x slowest."""
    axis = (torch.arange(side, dtype=torch.float32) + 0.5) / side * 2 * extent - extent
    return torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1).reshape(-1, 3)


def occupancy(clip: OrbitClip, *, side: int, extent: float, misses: int) -> Tensor:
    """[side,side,side] bool: voxels that lie inside all masks except at most `misses`.

    A static orbit needs ``misses=0``. In a moving orbit a limb is inside some masks only, so that a
    voxel stays if most views contain it."""
    assert clip.alpha is not None
    points = voxel_centres(side, extent)
    empty = torch.zeros(len(points), dtype=torch.int16)
    alive = torch.arange(len(points))
    for i in range(len(clip)):
        uv, _ = project(points[alive], clip.cameras, i)
        outside = sample_image(clip.alpha[i], uv)[:, 0] < 0.5
        empty[alive[outside]] += 1
        alive = alive[empty[alive] <= misses]
    if is_fixed_view(clip.cameras):
        alive = alive[_inflated(clip, points[alive])]
    filled = torch.zeros(len(points), dtype=torch.bool)
    filled[alive] = True
    return filled.reshape(side, side, side)


def sides_touched(clip: OrbitClip, *, misses: int, extent: float = EXTENT) -> int:
    """How many of the six sides of its volume the hull of `clip` touches: there it is cut off."""
    filled = occupancy(clip, side=32, extent=extent, misses=misses)
    ends = [filled.select(axis, end).any() for axis in range(3) for end in (0, -1)]
    return int(torch.stack(ends).sum())


def is_fixed_view(cameras: Cameras) -> bool:
    """Whether all cameras share one position. Masks then contain no information about depth."""
    positions = cameras.positions
    return bool((positions - positions[0]).norm(dim=1).max() < 0.02 * positions[0].norm())


def _inflated(clip: OrbitClip, points: Tensor) -> Tensor:
    """[P] bool: whether a point lies in the silhouette inflated along the view axis, which turns a disc
    into a ball. It is the guess for a fixed camera (as in Igarashi et al., "Teddy", 1999)."""
    assert clip.alpha is not None
    distance = distance_inside(clip.alpha.mean(dim=0)[0] > 0.5)
    uv, depth = project(points, clip.cameras, 0)
    # at distance d from the rim, half the thickness of a ball of radius R is sqrt(R^2 - (R-d)^2)
    radius = float(distance.max())
    from_rim = sample_image(distance[None], uv)[:, 0]
    pixels = (radius**2 - (radius - from_rim) ** 2).clamp_min(0).sqrt()
    middle = clip.cameras.positions[0].norm()
    return (depth - middle).abs() <= pixels * middle / clip.cameras.K[0, 0, 0]


def _surface(filled: Tensor, extent: float) -> tuple[Tensor, Tensor]:
    """Surface voxel centres [P,3] of `filled` and outward unit normals [P,3]."""
    volume = filled.float()[None, None]
    inner = -F.max_pool3d(-F.pad(volume, (1,) * 6), 3, stride=1)[0, 0] > 0.5
    shell = filled & ~inner
    blurred = F.avg_pool3d(F.pad(volume, (3,) * 6), 5, stride=1)[0, 0]  # [side+2]^3
    core = slice(1, -1)
    gradient = torch.stack(
        [
            blurred[2:, core, core] - blurred[:-2, core, core],
            blurred[core, 2:, core] - blurred[core, :-2, core],
            blurred[core, core, 2:] - blurred[core, core, :-2],
        ],
        dim=-1,
    )
    side = filled.shape[0]
    points = voxel_centres(side, extent).reshape(side, side, side, 3)
    return points[shell], -F.normalize(gradient[shell], dim=-1, eps=1e-6)


def in_front(cell: Tensor, depth: Tensor, cells: int, slack: float) -> Tensor:
    """[...,P] bool: points at most `slack` behind the nearest one in their cell of a depth buffer.

    `cell` [...,P] int64 is below `cells`; `depth` [...,P] and `slack` are in world units."""
    nearest = depth.new_full((*depth.shape[:-1], cells), torch.inf)
    nearest = nearest.scatter_reduce(-1, cell, depth, reduce="amin")
    return depth <= nearest.gather(-1, cell) + slack


def _view_colors(clip: OrbitClip, points: Tensor, normals: Tensor, spacing: float) -> Tensor:
    """[P,3] colours averaged over the views that see each point, weighted by how they face it.

    A depth buffer of the points, at the resolution of their spacing, decides visibility."""
    # points that no view sees take the object's mean colour
    mean = (clip.frames * clip.alpha).sum(dim=(0, 2, 3)) / clip.alpha.sum().clamp_min(1e-6)
    weight = torch.full((len(points), 1), 1e-4)
    total = weight * mean
    for i in range(len(clip)):
        uv, depth = project(points, clip.cameras, i)
        cell = max(1.0, float(spacing * clip.cameras.K[i, 0, 0] / depth.mean()) * 1.5)
        columns, rows = (int(n / cell) + 2 for n in (clip.cameras.width, clip.cameras.height))
        column, row = (uv / cell).long().unbind(dim=1)
        key = row.clamp(0, rows - 1) * columns + column.clamp(0, columns - 1)
        visible = in_front(key, depth, rows * columns, 2.5 * spacing)
        to_camera = F.normalize(clip.cameras.positions[i] - points, dim=-1)
        facing = (normals * to_camera).sum(-1).clamp_min(0.02) ** 3
        alpha = sample_image(clip.alpha[i], uv)[:, 0]
        w = (facing * visible * alpha**2)[:, None]
        total += w * sample_image(clip.frames[i], uv)
        weight += w
    return (total / weight).clamp(0, 1)


def surface_points(
    clip: OrbitClip, count: int, *, misses: int = 0, extent: float = EXTENT, seed: int = 0
) -> SurfacePoints:
    """About `count` points on the visual hull of `clip` (alpha required), with normals and colours.

    Raises InputError if the masks have no common volume: wrong orbit flags, or an empty mask."""
    side = 96
    filled = occupancy(clip, side=side, extent=extent, misses=misses)
    if int(filled.sum()) < 8:
        raise InputError(
            f"the masks of the {len(clip)} views have no common volume",
            code="E-CLIP-HULL",
            hint="check the orbit (elevation, radius, field of view, direction) and that the object's mask "
            "is not empty; for a moving orbit, give --static-orbit",
        )
    points, _ = _surface(filled, extent)
    ratio = (count / max(len(points), 1)) ** 0.5
    finer = int(min(max(round(side * ratio), 32), 224))
    box = points.abs().amax() + 4 * extent / side  # limit the voxels to the object
    filled = occupancy(clip, side=finer, extent=float(box), misses=misses)
    points, normals = _surface(filled, float(box))
    spacing = 2 * float(box) / finer
    generator = torch.Generator().manual_seed(seed)
    if len(points) > count:
        keep = torch.randperm(len(points), generator=generator)[:count].sort().values
        points, normals = points[keep], normals[keep]
    colors = _view_colors(clip, points, normals, spacing)
    jitter = (torch.rand(points.shape, generator=generator) - 0.5) * spacing
    return SurfacePoints(positions=points + jitter, normals=normals, colors=colors, spacing=spacing)
