"""Cameras to render an asset with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from orster_cli.api.arguments import a_number, an_integer, public, wrong
from orster_cli.core.limits import IMAGE_MAX_SIDE, TRANSFORMS_MAX_FRAMES
from orster_cli.core.types import Cameras
from orster_cli.geometry.orbit import FOV_DEG, RADIUS, orbit_azimuths
from orster_cli.geometry.orbit import orbit_cameras as cameras_at
from orster_cli.inputs.video import OrbitFlags


@public
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
    OrbitFlags(
        elevation=a_number("elevation", elevation),
        radius=a_number("radius", radius),
        fov=a_number("fov", fov),
    ).check()
    for name, value in (("width", width), ("height", height)):
        an_integer(name, value, 1, IMAGE_MAX_SIDE)
    if isinstance(azimuths, int | np.integer):
        angles = orbit_azimuths(an_integer("azimuths", azimuths, 1, TRANSFORMS_MAX_FRAMES))
    else:
        angles = _angles(azimuths)
    return cameras_at(
        angles, elevation=elevation, radius=radius, fov_deg=fov, width=width, height=height
    )


def _angles(azimuths: float | Sequence[float] | Tensor) -> Tensor:
    """Degrees [T], finite."""
    try:
        angles = torch.as_tensor(azimuths, dtype=torch.float64).reshape(-1)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        raise wrong("azimuths", "a number or several", azimuths) from None
    if not 1 <= len(angles) <= TRANSFORMS_MAX_FRAMES or not bool(angles.isfinite().all()):
        raise wrong("azimuths", f"1 to {TRANSFORMS_MAX_FRAMES} finite numbers", azimuths)
    return angles
