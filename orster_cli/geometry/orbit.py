"""Camera poses and times of orbital videos.

Conventions (docs/conventions.md): world +Z up, azimuth 0 is the front view with the camera at -Y,
azimuth grows counter-clockwise seen from above, all angles in degrees.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from orster_cli.core.types import Cameras

RADIUS = 2.0
FOV_DEG = 39.6  # 50 mm lens on a 36 mm sensor; 0.6911 rad


def orbit_azimuths(frames: int, *, start: float = 0.0, turns: float = 1.0) -> Tensor:
    """[T] azimuths ``start + 360 turns i / T`` in degrees. A full turn does not repeat the first azimuth.

    Negative `turns` go clockwise; 0 is a static camera."""
    if frames < 1:
        raise ValueError(f"orbit_azimuths: frames must be >= 1, got {frames}")
    return start + 360.0 * turns * torch.arange(frames, dtype=torch.float64) / frames


def clip_times(frames: int) -> Tensor:
    """[T] times ``i / (T - 1)`` in [0, 1]; a single frame is at time 0."""
    return torch.arange(frames, dtype=torch.float64) / max(frames - 1, 1)


def grid_path(
    frames: int,
    azimuths: int,
    *,
    start: int = 0,
    direction: int = 1,
    moment: int | None = None,
) -> list[int]:
    """Indices of the T = `frames` frames of a clip within a grid of (azimuth, time) frames.

    Frame ``a T + i`` of a grid of N `azimuths` is seen from azimuth 360 a / N at moment i. The camera
    begins at azimuth index `start` and goes once round counter-clockwise (`direction` 1), clockwise (-1),
    or stands still (0). Time runs, or stands at the index `moment`.

    ValueError: an index outside the grid, another direction, or N is no multiple of T, so that an orbit of
    equal steps leaves the grid."""
    if frames < 1 or azimuths < 1:
        raise ValueError(f"grid_path: expected a grid, got {azimuths} azimuths, {frames} moments")
    if not 0 <= start < azimuths:
        raise ValueError(f"grid_path: start {start} is not one of {azimuths} azimuths")
    if direction not in (-1, 0, 1):
        raise ValueError(f"grid_path: direction must be -1, 0 or 1, got {direction}")
    if moment is not None and not 0 <= moment < frames:
        raise ValueError(f"grid_path: moment {moment} is not one of {frames}")
    if direction and azimuths % frames:
        raise ValueError(
            f"grid_path: an orbit of {frames} frames is not on a grid of {azimuths} azimuths"
        )
    step = direction * (azimuths // frames)
    return [
        (start + i * step) % azimuths * frames + (i if moment is None else moment)
        for i in range(frames)
    ]


def camera_positions(azimuths: Tensor, elevations: Tensor, radius: float) -> Tensor:
    """[T,3] camera centres for azimuths and elevations [T] in degrees."""
    az, el = torch.deg2rad(azimuths.double()), torch.deg2rad(elevations.double())
    horizontal = radius * torch.cos(el)
    return torch.stack(
        [horizontal * torch.sin(az), -horizontal * torch.cos(az), radius * torch.sin(el)], dim=-1
    )


def look_at(positions: Tensor, target: Tensor | None = None) -> Tensor:
    """[T,4,4] OpenCV world-to-camera matrices that look from `positions` [T,3] at `target` [3]
    (the origin by default) with world +Z up. A camera straight above or below takes +Y as up."""
    positions = positions.double()
    target = torch.zeros(3, dtype=torch.float64) if target is None else target.double()
    forward = torch.nn.functional.normalize(target - positions, dim=-1)
    up = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64).expand_as(forward).clone()
    up[forward[:, 2].abs() > 1 - 1e-9] = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)
    right = torch.nn.functional.normalize(torch.linalg.cross(forward, up), dim=-1)
    down = torch.linalg.cross(forward, right)
    rotation = torch.stack([right, down, forward], dim=1)  # rows: camera axes in the world
    w2c = torch.eye(4, dtype=torch.float64).repeat(len(positions), 1, 1)
    w2c[:, :3, :3] = rotation
    w2c[:, :3, 3] = -(rotation @ positions[:, :, None])[:, :, 0]
    return w2c


def intrinsics(fov_deg: float, width: int, height: int) -> Tensor:
    """[3,3] pixel intrinsics: `fov_deg` is the field of view across the longer side, the principal
    point is the image centre."""
    focal = 0.5 * max(width, height) / math.tan(math.radians(fov_deg) / 2)
    return torch.tensor(
        [[focal, 0.0, width / 2], [0.0, focal, height / 2], [0.0, 0.0, 1.0]], dtype=torch.float64
    )


def orbit_cameras(
    azimuths: Tensor,
    *,
    elevation: float | Tensor = 0.0,
    radius: float = RADIUS,
    fov_deg: float = FOV_DEG,
    width: int,
    height: int,
) -> Cameras:
    """Cameras that look at the origin from `azimuths` [T] (degrees); float32."""
    elevations = torch.as_tensor(elevation, dtype=torch.float64).expand(len(azimuths))
    w2c = look_at(camera_positions(azimuths, elevations, radius))
    K = intrinsics(fov_deg, width, height).repeat(len(azimuths), 1, 1)
    return Cameras(K=K.float(), w2c=w2c.float(), width=width, height=height)


def orbit_of(cameras: Cameras) -> tuple[float, float, float]:
    """Elevation (degrees) and distance of the first camera as seen from the origin, and its field of view
    (degrees) across the longer side; rounded to 1e-4, as float32 holds them."""
    w2c, K = cameras.w2c[0].double(), cameras.K[0].double()
    centre = -w2c[:3, :3].T @ w2c[:3, 3]
    radius = float(centre.norm())
    elevation = math.degrees(math.atan2(float(centre[2]), float(centre[:2].norm())))
    wide = cameras.width >= cameras.height
    side, focal = (cameras.width, K[0, 0]) if wide else (cameras.height, K[1, 1])
    fov = math.degrees(2 * math.atan(side / (2 * float(focal))))
    return round(elevation, 4) + 0.0, round(radius, 4), round(fov, 4)  # + 0.0: no -0.0
