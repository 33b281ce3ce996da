"""Which frames of a static object's orbit belong to the cameras of a clip. T frames."""

from __future__ import annotations

import torch

from orster_cli.core.frames import evenly_spaced
from orster_cli.core.reporting import Reporter
from orster_cli.core.types import Cameras, OrbitClip


def matching_sides(of: Cameras, cameras: Cameras) -> torch.Tensor:
    """Indices [T] of those `of` cameras that look from the side of each of `cameras`, or nearly."""
    return _apart(cameras, of).argmin(dim=1)


def _apart(cameras: Cameras, others: Cameras) -> torch.Tensor:
    """[T,S] degrees of azimuth between `cameras` and others."""
    apart = (cameras.azimuths[:, None] - others.azimuths[None]).abs() % 360
    return torch.minimum(apart, 360 - apart)


def matching_frames(
    orbit: OrbitClip, cameras: Cameras, *, where: str, reporter: Reporter
) -> torch.Tensor:
    """Indices [T] of the frames of a static object's `orbit` for each of `cameras`: evenly spaced where
    these go round as the orbit does, else those of the nearest azimuths, with a warning where there are
    none near. InputError: fewer frames than cameras."""
    even = evenly_spaced(len(orbit), len(cameras), where=where)
    apart = _apart(cameras, orbit.cameras)
    step = 360 / len(orbit)
    rows = torch.arange(len(cameras))
    if float(apart[rows, even].max()) < step - 0.1:
        return even
    distance, nearest = apart.min(dim=1)
    if float(distance.max()) > step:
        reporter.warn(
            f"{where}: no frame within {float(distance.max()):.0f} degrees of some of the cameras; the "
            "nearest are used"
        )
    return nearest
