"""Places Gaussians of a file as meshes are placed: +Z up, centred, the longest side 1. N Gaussians."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from orster_cli.core.errors import InputError
from orster_cli.core.names import printable
from orster_cli.core.reporting import Reporter
from orster_cli.core.types import Gaussians
from orster_cli.geometry.axes import flat_colors, turned
from orster_cli.gltf.normalization import MAX_CLIP_SIDE, place_points
from orster_cli.io.ply import read_ply

LEAST_OPACITY = 0.1  # of the Gaussians that an object consists of
FLOATERS = 0.002  # share of them that may lie beyond the box, on each side
SMALLEST, LARGEST = 0.3, 1.2 * MAX_CLIP_SIDE  # sides of an object that is in place
FARTHEST = 0.6 * LARGEST  # from the origin, along an axis


def read_placed(path: Path, up: str, reporter: Reporter) -> Gaussians:
    """The Gaussians of a PLY file in our world, where `up` ("z", "y" or "-y") is the axis of the file that
    points up. What already lies around the origin at our size stays as it is; what is changed is said.

    InputError: as `read_ply`; no Gaussian can be seen."""
    gaussians = read_ply(path, reporter)
    if up != "z":
        gaussians = turned(flat_colors(gaussians), up, back=True)
    placed, change = place(gaussians)
    if placed is None:
        raise InputError(f"{path}: no Gaussian is more opaque than {LEAST_OPACITY:.0%}")
    if change is not None:
        named = {"z": "+Z", "y": "+Y", "-y": "-Y"}[up]
        reporter.warn(
            f"{printable(path.name)}: {change}, as meshes are placed; {named} is up "
            "(--up z, y or -y; most programs write -y)"
        )
    return placed


def place(gaussians: Gaussians) -> tuple[Gaussians | None, str | None]:
    """The Gaussians, moved and scaled where they do not lie around the origin at our size, and what was
    changed in words (None: nothing). (None, None): all are transparent."""
    seen = gaussians.opacity_logits > math.log(LEAST_OPACITY / (1 - LEAST_OPACITY))
    points = gaussians.means[seen].double().cpu().numpy()
    if len(points) == 0:
        return None, None
    low, high = _box(points)
    side = float((high - low).max())
    reach = float(np.maximum(np.abs(low), np.abs(high)).max())
    if reach <= FARTHEST and SMALLEST <= side <= LARGEST:
        return gaussians, None
    inside = points[((points >= low) & (points <= high)).all(axis=1)]
    placement = place_points(inside if len(inside) else points)
    offset = torch.from_numpy(placement.offset)
    means = (gaussians.means.double() * placement.scale + offset.to(gaussians.means.device)).float()
    log_scales = gaussians.log_scales + math.log(placement.scale)
    centre = ", ".join(f"{v:.3g}" for v in (low + high) / 2)
    change = f"its box of side {side:.3g} around ({centre}) is scaled by {placement.scale:.3g} and centred"
    return replace(gaussians, means=means, log_scales=log_scales), change


def _box(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The box [3], [3] of the points without floaters."""
    order = np.sort(points, axis=0)
    out = int(FLOATERS * len(points))
    return order[out], order[len(points) - 1 - out]
