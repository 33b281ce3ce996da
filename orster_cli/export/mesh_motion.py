"""The motion of an asset, or the course of its object, given to the mesh that it came from.

V vertices, W welded points, N Gaussians, K key frames.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from orster_cli.core.errors import LimitError
from orster_cli.core.limits import CLIP_MAX_BYTES
from orster_cli.core.names import counted
from orster_cli.core.types import Course
from orster_cli.export.animated_mesh import MeshMotion
from orster_cli.export.moments import Moments
from orster_cli.export.skinning import fit_skinning
from orster_cli.export.vertex_motion import SOFTNESS, Rigidity, Surface, follow, weld
from orster_cli.geometry.mesh import Mesh
from orster_cli.splatting.gaussians4d import Gaussians4D

# a course is known where Gaussians are fitted: a block zombie that runs is 29.8 dB near to his asset by
# these, 27.3 by what serves Gaussians; a frog that dances 32.4 and 31.2, a dog that gallops 32.6 and 32.7
COURSE_NEIGHBOURS, COURSE_SOFTNESS = 4, 3.0


VERTEX_BYTES, BONE_BYTES = (
    250,
    80,
)  # of memory for a vertex: a key frame, and a bone of a skin, at most


@dataclass(frozen=True, eq=False)
class Transferred:
    """`motion` to write, and `skin_error`: how far the skin's vertices are from the moved ones on average,
    over the mesh's diagonal (0 without a skin)."""

    motion: MeshMotion
    skin_error: float = 0.0


def check_memory(vertices: int, keys: int, bones: int) -> None:
    """LimitError: the motion of so many vertices at so many key frames would fill the memory."""
    if vertices * (keys * VERTEX_BYTES + bones * BONE_BYTES) > CLIP_MAX_BYTES:
        raise LimitError(
            f"glb: {counted(keys, 'key frame')} of a mesh of {vertices:,} vertices take more than "
            f"{CLIP_MAX_BYTES:,} bytes of memory",
            hint="fewer --times, as --times 0:1:12, or a simpler mesh",
        )


def transfer_motion(
    goes: Gaussians4D | Course,
    mesh: Mesh,
    moments: Moments,
    *,
    bind: float | None = 0.0,
    turns: bool = True,
) -> Transferred:
    """The motion of `mesh` at `moments`, as an asset or a course `goes`, every vertex on its own. `bind`:
    the time at which the asset is where the mesh is (None: where nothing moves it). `turns`: whether the
    rotations of normals are wanted, which a skin has of its own."""
    surface = weld(mesh.vertices, mesh.triangles)
    points = mesh.vertices[surface.first]
    if isinstance(goes, Course):
        moved = follow_course(goes, points, surface.edges, moments.times)
    else:
        moved = move_points(goes, points, surface.edges, moments.times, bind=bind)
    motion = MeshMotion(
        positions=moved[:, surface.point_of],
        rotations=_turned(surface, points, moved) if turns else None,
        seconds=moments.seconds,
        closing=moments.closing,
        pose_key=None if bind not in moments.times else moments.times.index(bind),
    )
    return Transferred(motion)


def _turned(surface: Surface, points: np.ndarray, moved: np.ndarray) -> np.ndarray:
    """[K,V,3,3] float32: how `moved` [K,W,3] turns what is around `points` [W,3], for each vertex."""
    rigidity = Rigidity(points, surface.edges)
    turned = np.empty((len(moved), len(surface.point_of), 3, 3), np.float32)
    for rows, now in zip(turned, moved, strict=True):
        rows[:] = rigidity.rotations(now)[surface.point_of]
    return turned


def skinned(moved: Transferred, mesh: Mesh, bones: int) -> Transferred:
    """`moved`, the motion of `mesh`, as that of a skin of so many `bones`."""
    surface = weld(mesh.vertices, mesh.triangles)
    points, true = mesh.vertices[surface.first], moved.motion.positions[:, surface.first]
    skin = fit_skinning(points, true, bones)
    fitted = skin.positions(points)
    size = max(float(np.linalg.norm(np.ptp(points, axis=0))), 1e-12)
    error = float(np.linalg.norm(fitted - true, axis=2).mean()) / size
    spread = surface.point_of
    motion = replace(
        moved.motion,
        positions=fitted[:, spread],
        rotations=None,
        skin=skin,
        points_of=spread,
    )
    return Transferred(motion, error)


@torch.no_grad()
def move_points(
    asset: Gaussians4D,
    points: np.ndarray,
    edges: np.ndarray,
    times: tuple[float, ...],
    *,
    bind: float | None = 0.0,
) -> np.ndarray:
    """[K,W,3] `points` [W,3] of a surface, which are where the asset is at time `bind` (None: where nothing
    moves it), at `times` [K]."""
    bound = asset.canonical if bind is None else asset.at(bind)
    every = [bound, *(asset.at(time) for time in times)]
    means = [one.means.double().cpu().numpy() for one in every]
    opacity = asset.canonical.opacity_logits.sigmoid().double().cpu().numpy()
    return _settled(points, edges, follow(points, np.stack(means), opacity)[1:])


def follow_course(
    course: Course, points: np.ndarray, edges: np.ndarray, times: tuple[float, ...]
) -> np.ndarray:
    """[K,W,3] `points` [W,3] of the surface of a `course`'s object at rest, at `times` [K]."""
    every = [course.rest, *(course.at(time) for time in times)]
    places = np.stack([one.double().cpu().numpy() for one in every])
    moved = follow(points, places, np.ones(len(course.rest)), neighbours=COURSE_NEIGHBOURS)
    return _settled(points, edges, moved[1:], COURSE_SOFTNESS)


def _settled(
    points: np.ndarray, edges: np.ndarray, targets: np.ndarray, softness: float = SOFTNESS
) -> np.ndarray:
    """[K,W,3] near `targets`, as rigid as possible."""
    if not len(edges):
        return targets
    rigidity = Rigidity(points, edges, softness=softness)
    return np.stack([t if (t == points).all() else rigidity.settle(t) for t in targets])
