"""Normalises an object: one scale and one offset for a whole clip (docs/conventions.md).

The bounding box over all times is centred at the origin. The longest side of the box at the first time is
scaled to 1, or to less where the box over all times would exceed 1.25 or a vertex would leave the frame
of an orbit at the given elevation. Where it has no size at the first time, its box over all times counts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np

from orster_cli.core.errors import InputError
from orster_cli.geometry.mesh import BLEND, OPAQUE, Material, Mesh
from orster_cli.geometry.orbit import FOV_DEG, RADIUS
from orster_cli.gltf.scene import Scene

MAX_CLIP_SIDE = 1.25
MARGIN = 0.02  # empty border on each side, as a share of the frame
_RINGS = 64  # slices of height in which the object's radius is measured
_AZIMUTHS = 72


@dataclass(frozen=True, kw_only=True)
class Normalization:
    """``world = scale * file + offset``; `reason` is the bound that determines the scale: "unit",
    "clip box" or "frame"."""

    scale: float
    offset: np.ndarray
    reason: str


def normalize_clip(
    scene: Scene, clip: int | None, times_s: np.ndarray, elevation: float | None = 0.0
) -> Normalization:
    """The normalisation of animation `clip` over the times `times_s` [T] in seconds, the first of which
    is t = 0. `elevation` in degrees; None omits the bound by the frame.

    InputError: the object has no extent at any time, or its vertices are not finite."""

    def moments() -> Iterable[np.ndarray]:
        return (_drawn_vertices(scene, clip, time) for time in times_s)

    found = _placed(moments, elevation)
    if found is None:
        when = "" if clip is None else f" at any time of clip {clip}"
        raise InputError(f"{scene.path}: the object has no extent{when}")
    return found


def place_course(places: np.ndarray, elevation: float = 0.0) -> Normalization:
    """The normalisation of an object whose points are at `places` [T,N,3] in the +Z-up world. ValueError:
    it has no extent."""
    found = _placed(lambda: places, elevation)
    if found is None:
        raise ValueError("place_course: no extent")
    return found


def _placed(
    moments: Callable[[], Iterable[np.ndarray]], elevation: float | None
) -> Normalization | None:
    """Of the points [N,3] of all `moments`; None: they have no extent."""
    low = np.full(3, np.inf)
    high = np.full(3, -np.inf)
    first = np.zeros(3)
    for k, vertices in enumerate(moments()):
        low, high = np.minimum(low, vertices.min(axis=0)), np.maximum(high, vertices.max(axis=0))
        if k == 0:
            first = high - low
    whole = float((high - low).max())
    if not whole > 1e-12:
        return None
    centre = (low + high) / 2
    start = first.max() if has_size(first, whole) else whole
    bounds = {"unit": 1.0 / start, "clip box": MAX_CLIP_SIDE / whole}
    if elevation is not None:
        bounds["frame"] = _frame_bound(_rings(moments(), centre, low[2], high[2]), elevation)
    reason = min(bounds, key=lambda name: bounds[name])
    scale = float(bounds[reason])
    return Normalization(scale=scale, offset=-scale * centre, reason=reason)


def has_size(box: np.ndarray, whole: float) -> bool:
    """Whether an object of the sides `box` [3] can be seen beside one of side `whole`."""
    return bool(box.max() > 1e-6 * whole)


def seen_clip(scene: Scene, clip: int | None, scale: float) -> int | None:
    """The animation at whose start the object, which `scale` brings to side 1, stands: `clip`, or None, its
    rest pose, where it cannot be seen at the start of `clip`. InputError: nor in its rest pose."""
    if clip is None:
        return None
    for one, seconds in ((clip, scene.clips[clip].start), (None, 0.0)):
        if has_size(np.ptp(_drawn_vertices(scene, one, seconds), axis=0), 1.0 / scale):
            return one
    raise InputError(
        f"{scene.path}: it has no size at its animation's start, nor in its rest pose",
        hint="begin the animation later, or give the object without it",
    )


def place_points(points: np.ndarray, elevation: float = 0.0) -> Normalization:
    """The normalisation of an object that does not move, from its points [N,3] in the +Z-up world."""
    low, high = points.min(axis=0), points.max(axis=0)
    centre = (low + high) / 2
    side = max(float((high - low).max()), 1e-12)
    rings = _rings([points], centre, low[2], high[2])
    bounds = {"unit": 1.0 / side, "frame": _frame_bound(rings, elevation)}
    reason = min(bounds, key=lambda name: bounds[name])
    return Normalization(scale=bounds[reason], offset=-bounds[reason] * centre, reason=reason)


def drawn_part(mesh: Mesh) -> Mesh:
    """The triangles of a `mesh` which can be seen, or all where none can, and their vertices alone."""
    drawn = _drawn(mesh)
    used, corners = np.unique(mesh.triangles[drawn], return_inverse=True)
    return replace(
        mesh,
        vertices=mesh.vertices[used],
        normals=mesh.normals[used],
        colors=mesh.colors[used],
        uvs=mesh.uvs[used],
        triangles=corners.reshape(-1, 3).astype(np.int32),
        material_ids=mesh.material_ids[drawn],
    )


def _drawn(mesh: Mesh) -> np.ndarray:
    """[F] the triangles of a `mesh` which can be seen; all where none can."""
    seen: np.ndarray = np.array([_can_be_seen(one) for one in mesh.materials])[mesh.material_ids]
    return seen if bool(seen.any()) else np.ones_like(seen)


def _can_be_seen(material: Material) -> bool:
    alpha = material.base_color[3]  # colours of vertices and textures only lower it
    if material.alpha_mode == BLEND:
        return alpha > 0
    return material.alpha_mode == OPAQUE or alpha >= material.alpha_cutoff


def _drawn_vertices(scene: Scene, clip: int | None, time: float) -> np.ndarray:
    """[V,3] the vertices that belong to a triangle which can be seen; of all triangles where none can."""
    mesh = scene.evaluate(clip, float(time))
    vertices: np.ndarray = mesh.vertices[np.unique(mesh.triangles[_drawn(mesh)])]
    if not np.isfinite(vertices).all() or np.abs(vertices).max() > 1e12:
        if clip is None:
            raise InputError(
                f"{scene.path}: vertices are not finite",
                hint="the object is damaged; export it anew",
            )
        raise InputError(
            f"{scene.path}: clip {clip} at {time:.3f} s: vertices are not finite",
            hint="the animation or its skin is damaged; skip the clip with use = 0 in --captions",
        )
    return vertices


def _rings(
    moments: Iterable[np.ndarray], centre: np.ndarray, bottom: float, top: float
) -> np.ndarray:
    """[2 R,2] rings (distance from the vertical axis, height) that enclose the points [N,3] of all moments:
    for each of R slices of height its largest distance, at its lower and its upper end."""
    thickness = max((top - bottom) / _RINGS, 1e-12)
    reach = np.full(_RINGS, -1.0)
    for points in moments:
        distance = np.hypot(points[:, 0] - centre[0], points[:, 1] - centre[1])
        slot = np.clip(((points[:, 2] - bottom) / thickness).astype(int), 0, _RINGS - 1)
        np.maximum.at(reach, slot, distance)
    slots = np.flatnonzero(reach >= 0)
    lower = bottom + slots * thickness - centre[2]
    heights = np.concatenate([lower, lower + thickness])
    return np.stack([np.tile(reach[slots], 2), heights], axis=1)


def _frame_bound(rings: np.ndarray, elevation: float) -> float:
    """The largest scale at which rings [R,2] about the vertical axis stay inside the frame.

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
