"""Cameras to render an asset with."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from orster_cli.core.errors import ConfigError
from orster_cli.core.types import Cameras
from orster_cli.geometry.orbit import FOV_DEG, RADIUS, orbit_azimuths
from orster_cli.geometry.orbit import orbit_cameras as cameras_at
from orster_cli.inputs.video import OrbitFlags


def orbit_cameras(
    azimuths: int | float | Sequence[float] | Tensor = 24,
    *,
    elevation: float = 0.0,
    radius: float = RADIUS,
    fov: float = FOV_DEG,
    width: int = 256,
    height: int = 256,
) -> Cameras:
    """Cameras on a circle that look at the origin.

    `azimuths` in degrees: 0 is the front view, counter-clockwise seen from above; an int T is the number
    of cameras of a full turn. `elevation`: degrees above the horizon; `radius`: in object sizes; `fov`:
    field of view across the longer side, degrees; `width`, `height`: pixels. ConfigError: out of bounds."""
    OrbitFlags(elevation=elevation, radius=radius, fov=fov).check()
    count = azimuths if isinstance(azimuths, int) else 1
    for name, value in (("azimuths", count), ("width", width), ("height", height)):
        if value < 1:
            raise ConfigError(f"{name}: expected at least 1, got {value}")
    if isinstance(azimuths, int):
        angles = orbit_azimuths(azimuths)
    else:
        angles = torch.as_tensor(azimuths, dtype=torch.float64).reshape(-1)
    return cameras_at(
        angles, elevation=elevation, radius=radius, fov_deg=fov, width=width, height=height
    )
