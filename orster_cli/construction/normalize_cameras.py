"""Brings the cameras of a file to our conventions: the object at the origin, its longest side about 1.

T frames, H W pixels. The object's place is where the lines through the middles of its silhouettes meet; its
size is that of the visual hull there.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from orster_cli.construction.hull import occupancy, voxel_centres
from orster_cli.core.errors import InputError
from orster_cli.core.frames import resize, resize_straight
from orster_cli.core.types import OrbitClip
from orster_cli.geometry.similarity import Similarity, nearest_point
from orster_cli.io.matting import matte

SIDE, VOXELS = 96, 48  # pixels of the longer side; voxels a side
MARGIN = 1.25  # of the largest silhouette, so that the first hull is not cut
FEW, MANY = 0.25, 0.6  # misses of the hull that gives the size, and of that of the whole motion
LONGEST = 1.25  # side of the box of the whole motion
# a hull of at least this side, and the two up to this far from the origin, stay as they are
LEAST_SIDE, MOST_REACH, MOST_REACH_EVER = 0.6, 0.62, 0.72


def find_similarity(clip: OrbitClip) -> Similarity | None:
    """How `clip`, whose cameras came from a file, is brought to our conventions. None: it follows them, or
    its cameras or silhouettes do not tell where the object is. InputError: it is behind all cameras."""
    small = _small(clip)
    if small is None:
        return None
    center, reach = _rough(small)
    if center is None or not reach > 0:
        return None
    box, whole = None, None
    for misses in (FEW, MANY):
        found = _hull_box(small, center, reach, misses)
        if found is None:
            return None
        box, whole = (found, whole) if box is None else (box, found)
    assert box is not None
    assert whole is not None
    longest, all_of_it = float((box[1] - box[0]).max()), float((whole[1] - whole[0]).max())
    near = float(box.abs().max()) <= MOST_REACH and float(whole.abs().max()) <= MOST_REACH_EVER
    if longest >= LEAST_SIDE and near:
        return None
    x, y, z = ((box[0] + box[1]) / 2).tolist()
    return Similarity(scale=min(1 / longest, LONGEST / all_of_it), center=(x, y, z))


def _small(clip: OrbitClip) -> OrbitClip | None:
    """The clip at `SIDE` pixels with alpha; None: it has none and no plain background."""
    longer = max(clip.cameras.width, clip.cameras.height)
    width, height = (
        max(1, round(s * min(1.0, SIDE / longer)))
        for s in (clip.cameras.width, clip.cameras.height)
    )
    cameras = clip.cameras.resized(width, height)
    if clip.alpha is not None:
        rgb, alpha = resize_straight(clip.frames, clip.alpha, height, width)
        return replace(clip, frames=rgb, alpha=alpha, cameras=cameras)
    frames = resize(clip.frames, height, width)
    try:
        found = matte(frames, where="frames")
    except InputError:
        return None
    return replace(clip, frames=found.frames, alpha=found.alpha, cameras=cameras)


def _rough(clip: OrbitClip) -> tuple[Tensor | None, float]:
    """The middle of the object [3] and half the side of a cube around it, from the boxes of its
    silhouettes."""
    assert clip.alpha is not None
    middles, sides = [], []
    for mask in clip.alpha[:, 0] > 0.5:
        rows, columns = mask.any(dim=1).nonzero()[:, 0], mask.any(dim=0).nonzero()[:, 0]
        if not len(rows):
            middles.append([float("nan")] * 2)
            sides.append(0.0)
            continue
        left, right = int(columns[0]), int(columns[-1]) + 1
        top, bottom = int(rows[0]), int(rows[-1]) + 1
        middles.append([(left + right) / 2, (top + bottom) / 2])
        sides.append(float(max(right - left, bottom - top)))
    pixels, extent = torch.tensor(middles, dtype=torch.float64), torch.tensor(sides).double()
    seen = extent > 0
    if int(seen.sum()) < 2:
        return None, 0.0
    K, c2w = clip.cameras.K.double(), clip.cameras.c2w.double()
    focal = K.diagonal(dim1=1, dim2=2)[:, :2]
    rays = torch.cat([(pixels - K[:, :2, 2]) / focal, torch.ones(len(pixels), 1).double()], dim=1)
    directions = torch.nn.functional.normalize((c2w[:, :3, :3] @ rays[:, :, None])[:, :, 0], dim=1)
    origins = c2w[:, :3, 3]
    center = nearest_point(origins[seen], directions[seen])
    if center is None:
        return None, 0.0
    depth = ((center - origins) * c2w[:, :3, 2]).sum(dim=1)
    if bool((depth[seen] < 0).all()):
        raise InputError(
            f"the object is behind all {int(seen.sum())} cameras",
            code="E-CAMERA-AXES",
            hint="transform_matrix is camera-to-world with x right, y up, z backward (OpenGL, Blender): "
            "change the sign of its second and third column if yours has y down, z forward (OpenCV)",
        )
    if not bool((depth[seen] > 0).all()):  # behind a camera
        return None, 0.0
    return center, MARGIN / 2 * float((extent * depth / focal.amin(dim=1))[seen].max())


def _hull_box(clip: OrbitClip, center: Tensor, reach: float, misses: float) -> Tensor | None:
    """[2,3] the corners of the box of the hull in their world, found twice, the second time in a grid that
    fits it. None: no common volume."""
    middle = center
    for _ in range(2):
        x, y, z = middle.tolist()
        moved = Similarity(center=(x, y, z)).cameras(clip.cameras)
        filled = occupancy(
            replace(clip, cameras=moved),
            side=VOXELS,
            extent=reach,
            misses=int(misses * len(clip)),
        )
        points = voxel_centres(VOXELS, reach)[filled.flatten()].double()
        if len(points) < 8:
            return None
        half = reach / VOXELS
        box = torch.stack([points.amin(dim=0) - half, points.amax(dim=0) + half]) + middle
        middle, reach = box.mean(dim=0), 0.55 * float((box[1] - box[0]).max())
    return box
