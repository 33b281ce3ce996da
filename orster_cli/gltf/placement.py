"""The place and size of an object in the frame, one for a whole clip (design: conventions).

The box of all moments is centred at the origin. The longest side of the box at the first moment
becomes 1, or less: the whole clip's box stays within 1.25, and every vertex of every moment stays
in view from every azimuth at the orbit's elevation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from orster_cli.core.errors import InputError
from orster_cli.geometry.orbit import FOV_DEG, RADIUS
from orster_cli.gltf.scene import Scene

MAX_CLIP_SIDE = 1.25
MARGIN = 0.02  # of the frame, kept empty on each side
_RINGS = 64  # heights at which the object's reach is measured
_AZIMUTHS = 72


@dataclass(frozen=True, kw_only=True)
class Placement:
    """``world = scale * file + offset``; `reason` names the bound that set the scale: "unit",
    "clip box" or "frame"."""

    scale: float
    offset: np.ndarray
    reason: str


def place_clip(
    scene: Scene, clip: int | None, times_s: np.ndarray, elevation: float | None = 0.0
) -> Placement:
    """Where to put an object whose animation `clip` is seen at `times_s` [T] seconds, the first of
    them being t = 0. `elevation` in degrees; None does without the bound by the frame.

    Raises InputError for an object without extent or with vertices that are not finite."""
    low = np.full(3, np.inf)
    high = np.full(3, -np.inf)
    first = np.zeros(3)
    for k, time in enumerate(times_s):
        vertices = _drawn_vertices(scene, clip, time)
        low, high = np.minimum(low, vertices.min(axis=0)), np.maximum(high, vertices.max(axis=0))
        if k == 0:
            first = high - low
    if not first.max() > 1e-12:
        raise InputError(f"{scene.path}: the object has no extent at the start of clip {clip}")
    centre = (low + high) / 2
    bounds = {"unit": 1.0 / first.max(), "clip box": MAX_CLIP_SIDE / (high - low).max()}
    if elevation is not None:
        rings = _rings(scene, clip, times_s, centre, low[2], high[2])
        bounds["frame"] = _frame_bound(rings, elevation)
    reason = min(bounds, key=lambda name: bounds[name])
    scale = float(bounds[reason])
    return Placement(scale=scale, offset=-scale * centre, reason=reason)


def _drawn_vertices(scene: Scene, clip: int | None, time: float) -> np.ndarray:
    """[V,3] the vertices that some triangle uses."""
    mesh = scene.evaluate(clip, float(time))
    vertices = mesh.vertices[np.unique(mesh.triangles)]
    if not np.isfinite(vertices).all() or np.abs(vertices).max() > 1e12:
        raise InputError(
            f"{scene.path}: clip {clip} at {time:.3f} s: vertices are not finite",
            hint="the animation or its skin is damaged; skip the clip with use = 0 in --captions",
        )
    return vertices


def _rings(
    scene: Scene,
    clip: int | None,
    times_s: np.ndarray,
    centre: np.ndarray,
    bottom: float,
    top: float,
) -> np.ndarray:
    """[2 R,2] (distance from the vertical axis, height) that enclose all vertices of all moments:
    for each of R slices of height its reach, at its lower and its upper end."""
    thickness = max((top - bottom) / _RINGS, 1e-12)
    reach = np.full(_RINGS, -1.0)
    for time in times_s:
        vertices = _drawn_vertices(scene, clip, time)
        distance = np.hypot(vertices[:, 0] - centre[0], vertices[:, 1] - centre[1])
        slot = np.clip(((vertices[:, 2] - bottom) / thickness).astype(int), 0, _RINGS - 1)
        np.maximum.at(reach, slot, distance)
    slots = np.flatnonzero(reach >= 0)
    lower = bottom + slots * thickness - centre[2]
    heights = np.concatenate([lower, lower + thickness])
    return np.stack([np.tile(reach[slots], 2), heights], axis=1)


def _frame_bound(rings: np.ndarray, elevation: float) -> float:
    """The largest scale at which rings [R,2] about the vertical axis stay in view of the orbit.

    A point (x right, y up, z towards the camera) at scale s is in view when
    s max(|x|, |y|) <= tan(fov / 2) (radius - s z)."""
    tangent = math.tan(math.radians(FOV_DEG) / 2) * (1 - 2 * MARGIN)
    azimuth = np.linspace(0.0, 2 * math.pi, _AZIMUTHS, endpoint=False)
    sin_e, cos_e = math.sin(math.radians(elevation)), math.cos(math.radians(elevation))
    right = rings[:, :1] * np.sin(azimuth)
    towards_axis = rings[:, :1] * np.cos(azimuth)
    up = rings[:, 1:] * cos_e - towards_axis * sin_e
    towards = towards_axis * cos_e + rings[:, 1:] * sin_e
    need = np.maximum(np.abs(right), np.abs(up)) + tangent * towards
    return float(tangent * RADIUS / max(need.max(), 1e-12))
