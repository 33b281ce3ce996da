"""The mesh that an asset came from, placed where the asset is.

An asset made from a mesh file lives in normalised coordinates (docs/conventions.md): the file's +Y up is
turned to +Z up, then one scale and one offset. V vertices of all drawn primitives, in the file's own order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from orster_cli.config.prepare import PrepareConfig
from orster_cli.core.errors import InputError
from orster_cli.core.names import counted
from orster_cli.dataset.views import clip_seconds, normalize_object, normalize_pose
from orster_cli.geometry.conventions import GLTF_TO_WORLD
from orster_cli.geometry.mesh import Mesh, points_on_surface
from orster_cli.gltf.container import read_gltf
from orster_cli.gltf.document import GltfDocument
from orster_cli.gltf.load import read_scene
from orster_cli.gltf.normalization import Normalization, has_size, seen_clip
from orster_cli.gltf.scene import Instance, Scene

FAR = 100.0  # times the object's size from an origin: float32 places are coarse
SURFACE = 8000  # points of the mesh that are held against the asset
TO_Z_UP = GLTF_TO_WORLD[:3, :3].numpy()


@dataclass(frozen=True, eq=False)
class SourceMesh:
    """A mesh file at the pose from which an asset starts: the beginning of animation `clip`, or the rest
    pose where it is None. `scene` has the file's own vertices."""

    document: GltfDocument
    scene: Scene
    clip: int | None
    normalization: Normalization

    @property
    def path(self) -> Path:
        return self.scene.path

    @property
    def seconds(self) -> float:
        """The moment of the pose, in seconds of the animation."""
        return clip_seconds(self.scene, self.clip, 0.0)

    @cached_property
    def mesh(self) -> Mesh:
        """The pose in the asset's coordinates."""
        mesh = self.scene.evaluate(self.clip, self.seconds)
        return mesh.transformed(self.normalization.scale, self.normalization.offset)

    @cached_property
    def pose(self) -> tuple[np.ndarray, dict[int, np.ndarray]]:
        """[N,4,4] matrices of the file's nodes in the pose, +Y up, and the morph weights by node."""
        return self.scene.pose(self.clip, self.seconds)

    @cached_property
    def origin(self) -> np.ndarray:
        """[3] around what the mesh is to be written, in the file's units and axes: the file's own origin,
        or the centre of a mesh so far from it that float32 places would be coarse."""
        found = self.to_file(self.mesh.vertices - self.normalization.offset)
        centre = (found.min(axis=0) + found.max(axis=0)) / 2
        return centre if self.is_far(found) else np.zeros(3)

    def is_far(self, points: np.ndarray) -> bool:
        """Whether some of `points` [V,3] are `FAR` times the object's size from the origin, in the file's
        units."""
        size = np.ptp(self.mesh.vertices, axis=0).max() / self.normalization.scale
        return bool(np.abs(points).max() > FAR * size)

    def places(self, points: np.ndarray) -> np.ndarray:
        """[...,3] points in the asset's coordinates, in the file's units and axes, around `origin`."""
        return self.to_file(points - self.normalization.offset) - self.origin

    def to_file(self, displacements: np.ndarray) -> np.ndarray:
        """[...,3] displacements in the asset's coordinates, in the file's units and axes."""
        return displacements / self.normalization.scale @ TO_Z_UP

    @cached_property
    def slices(self) -> dict[Instance, slice]:
        """The vertices of each instance of `scene`."""
        return _slices(
            self.scene.instances, [len(i.primitive.positions) for i in self.scene.instances]
        )

    @cached_property
    def _faces(self) -> dict[Instance, slice]:
        """The triangles of each instance of `scene`."""
        return _slices(
            self.scene.instances, [len(i.primitive.triangles) for i in self.scene.instances]
        )

    def triangles_of(self, instance: Instance) -> np.ndarray:
        """[F,3] the triangles of an instance of `scene` in the pose, by its own vertices."""
        found: np.ndarray = self.mesh.triangles[self._faces[instance]] - self.slices[instance].start
        return found


def _slices(instances: Sequence[Instance], counts: list[int]) -> dict[Instance, slice]:
    """Where the `counts` of each instance are, one after another."""
    ends = np.cumsum(counts).tolist()
    parts = [slice(a, b) for a, b in zip([0, *ends[:-1]], ends, strict=True)]
    return dict(zip(instances, parts, strict=True))


def open_source_mesh(
    path: Path,
    *,
    clip: int | None = None,
    frames: int = 24,
    like: Sequence[np.ndarray] = (),
    placement: Normalization | None = None,
) -> SourceMesh:
    """The mesh of `path`, where `placement` puts it. None: normalised as `prepare-data` does by default
    for clips of `frames` moments, or by the pose alone as `sample-video --object` does: whichever fits
    one of `like` better, places [N,3] of the asset's Gaussians (none: the first). `clip`: the
    animation that the asset shows; None: the first, if the file has any. Where the object has no size at
    the start of it, the mesh is that of the rest pose, and the scene warns of that.

    InputError: not a readable glTF file, or no such animation."""
    document = read_gltf(path)
    scene = read_scene(document, unweld=False)
    if clip is not None and not 0 <= clip < len(scene.clips):
        raise InputError(f"{path}: no animation {clip}, the file has {len(scene.clips)}")
    if clip is None and scene.clips:
        clip = 0
    cfg, asked, places = PrepareConfig(frames=max(frames, 2)), clip, () if placement else like
    placement = placement or normalize_object(scene, clip, cfg).normalization
    clip = seen_clip(scene, clip, placement.scale)
    found = SourceMesh(document, scene, clip, placement)
    if places:
        pose = SourceMesh(document, scene, clip, normalize_pose(scene, clip, cfg).normalization)
        found = min(found, pose, key=lambda one: min(_misfit(one, points) for points in places))
    return _warned(found, asked)


def _warned(source: SourceMesh, asked: int | None) -> SourceMesh:
    """The same, whose scene warns of what has no size at the start of the animation `asked` for."""
    warnings = list(source.scene.warnings)
    if source.clip != asked:
        warnings.append("it has no size at its animation's start: its rest pose is exported")
    boxes = [np.ptp(source.mesh.vertices[part], axis=0) for part in source.slices.values()]
    unseen = sum(not has_size(box, 1.0) for box in boxes)
    if unseen:
        warnings.append(f"{counted(unseen, 'part')} without size at the start: never seen")
    return replace(source, scene=replace(source.scene, warnings=tuple(warnings)))


def _misfit(source: SourceMesh, places: np.ndarray) -> float:
    """How far the surface of the mesh is from `places` [N,3]. Boxes would not tell: the box of a pose with
    thin limbs hardly has a point at its sides."""
    surface = points_on_surface(source.mesh, SURFACE).at(source.mesh.vertices)
    return _apart(places, surface) + _apart(surface, places)


def _apart(points: np.ndarray, others: np.ndarray) -> float:
    """Mean distance of `points` to the nearest of `others`, but for the tenth that is furthest away."""
    near = np.sort(cKDTree(others).query(points)[0])
    return float(near[: max(int(0.9 * len(near)), 1)].mean())
