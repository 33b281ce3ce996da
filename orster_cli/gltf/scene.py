"""An animated object, evaluated at any time: node hierarchy, morph targets, skins.

glTF is +Y up with the front towards +Z. The world here is +Z up with the front towards -Y:
(x, y, z) of the file becomes (x, -z, y), a rotation of +90 degrees about X, which preserves handedness
and winding. N nodes, J joints, V vertices, M morph targets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from orster_cli.geometry.conventions import GLTF_TO_WORLD
from orster_cli.geometry.mesh import Material, Mesh
from orster_cli.gltf.keyframes import AnimationClip, sample

_TO_Z_UP = GLTF_TO_WORLD[:3, :3].numpy()


@dataclass(frozen=True, eq=False, kw_only=True)
class Primitive:
    """Triangles with one material in the rest pose. `normals` None means flat shading, with vertices
    not shared between triangles. `joints`/`weights` [V,4k] or None; `target_positions` and
    `target_normals` [M,V,3] displacements or None. `used` [V]: which of the file's vertices these are;
    None: all, in its order."""

    positions: np.ndarray
    normals: np.ndarray | None
    colors: np.ndarray
    uvs: np.ndarray
    triangles: np.ndarray
    material: int
    joints: np.ndarray | None = None
    weights: np.ndarray | None = None
    target_positions: np.ndarray | None = None
    target_normals: np.ndarray | None = None
    used: np.ndarray | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class Skin:
    """`joints` [J] node indices and `inverse_bind` [J,4,4]."""

    joints: np.ndarray
    inverse_bind: np.ndarray


@dataclass(frozen=True, eq=False, kw_only=True)
class Instance:
    """A primitive at a node. A skin, if any, replaces the node's transform. `index`: which primitive of
    the node's mesh it is in the file. `local` [4,4]: of a node that draws its mesh several times
    (EXT_mesh_gpu_instancing), the place of copy `copy` in the node's own coordinates."""

    node: int
    primitive: Primitive
    skin: Skin | None
    index: int = 0
    copy: int = 0
    local: np.ndarray | None = None

    def matrix(self, world: np.ndarray) -> np.ndarray:
        """[4,4] its place, from the matrices [N,4,4] of all nodes."""
        own: np.ndarray = world[self.node]
        return own if self.local is None else own @ self.local


@dataclass(frozen=True, eq=False, kw_only=True)
class Nodes:
    """The node hierarchy in the rest pose: `translation` [N,3], `rotation` [N,4] xyzw, `scale` [N,3],
    `parent` [N] (-1: none), `levels`: node indices by depth, `weights` morph weights by node.
    `matrix` holds local matrices of nodes that are given as a matrix."""

    translation: np.ndarray
    rotation: np.ndarray
    scale: np.ndarray
    parent: np.ndarray
    levels: tuple[np.ndarray, ...]
    weights: dict[int, np.ndarray]
    matrix: dict[int, np.ndarray]


@dataclass(frozen=True, eq=False, kw_only=True)
class Scene:
    """An object with its animations. `warnings` lists repairs and unsupported parts; `copyright` is the
    file's own statement."""

    path: Path
    nodes: Nodes
    instances: tuple[Instance, ...]
    materials: tuple[Material, ...]
    clips: tuple[AnimationClip, ...]
    warnings: tuple[str, ...]
    copyright: str = ""

    def evaluate(self, clip: int | None, time_s: float) -> Mesh:
        """The mesh in the +Z-up world, in the file's units, at `time_s` seconds of animation `clip`
        (None: the rest pose)."""
        vertices, normals, mirrored = [], [], []
        with np.errstate(over="ignore", invalid="ignore"):  # damaged files; checked in `placement`
            world, weights = self.pose(clip, time_s)
            for instance in self.instances:
                points, directions, inside_out = _deform(
                    instance, world, weights.get(instance.node)
                )
                vertices.append(points)
                normals.append(directions)
                mirrored.append(inside_out)
        colors, uvs, triangles, material_ids = self._fixed
        return Mesh(
            vertices=np.concatenate(vertices) @ _TO_Z_UP.T,
            normals=np.concatenate(normals) @ _TO_Z_UP.T,
            colors=colors,
            uvs=uvs,
            triangles=self._turned(triangles, mirrored),
            material_ids=material_ids,
            materials=self.materials,
        )

    def _turned(self, triangles: np.ndarray, mirrored: list[bool]) -> np.ndarray:
        """`triangles` with those of mirrored instances the other way round, so that all are seen from
        outside counter-clockwise (3.7.4: the determinant of the node's transform)."""
        if not any(mirrored):
            return triangles
        counts = [len(i.primitive.triangles) for i in self.instances]
        turned = np.repeat(np.array(mirrored), counts)
        return np.where(turned[:, None], triangles[:, [0, 2, 1]], triangles)

    @cached_property
    def _fixed(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The time-independent arrays of all instances: colours, uvs, triangles, material ids."""
        triangles, ids, offset = [], [], 0
        for instance in self.instances:
            primitive = instance.primitive
            triangles.append(primitive.triangles + np.int32(offset))
            ids.append(np.full(len(primitive.triangles), primitive.material, np.int32))
            offset += len(primitive.positions)
        return (
            np.concatenate([i.primitive.colors for i in self.instances]),
            np.concatenate([i.primitive.uvs for i in self.instances]),
            np.concatenate(triangles),
            np.concatenate(ids),
        )

    def pose(self, clip: int | None, time_s: float) -> tuple[np.ndarray, dict[int, np.ndarray]]:
        """World matrices [N,4,4] of all nodes (glTF axes) and the morph weights by node."""
        nodes = self.nodes
        translation, rotation, scale = nodes.translation, nodes.rotation, nodes.scale
        weights = nodes.weights
        channels = () if clip is None else self.clips[clip].channels
        if channels:
            translation, rotation, scale = translation.copy(), rotation.copy(), scale.copy()
            weights = dict(weights)
        for channel in channels:
            value = sample(channel, time_s)
            if channel.path == "translation":
                translation[channel.node] = value
            elif channel.path == "rotation":
                rotation[channel.node] = value
            elif channel.path == "scale":
                scale[channel.node] = value
            else:
                weights[channel.node] = value
        local = compose(translation, rotation, scale)
        for index, matrix in nodes.matrix.items():
            local[index] = matrix
        for level in nodes.levels[1:]:
            local[level] = local[nodes.parent[level]] @ local[level]
        return local, weights


def moving_nodes(nodes: Nodes, instances: Sequence[Instance]) -> set[int]:
    """The nodes whose transforms place what is drawn: the joints of a mesh that has a skin, else its node,
    and all above them."""
    found: set[int] = set()
    for instance in instances:
        skin = instance.skin if instance.primitive.joints is not None else None
        for node in [instance.node] if skin is None else skin.joints.tolist():
            while node != -1 and node not in found:
                found.add(node)
                node = int(nodes.parent[node])
    return found


def compose(translation: np.ndarray, rotation: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """[N,4,4] matrices T R S from [N,3], xyzw unit quaternions [N,4] and [N,3]."""
    x, y, z, w = np.moveaxis(rotation, -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    matrix = np.zeros((len(translation), 4, 4))
    for i in range(3):
        for j in range(3):
            matrix[:, i, j] = rows[i][j] * scale[:, j]
    matrix[:, :3, 3] = translation
    matrix[:, 3, 3] = 1.0
    return matrix


def _deform(
    instance: Instance, world: np.ndarray, morph: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, bool]:
    """Vertices [V,3] and unit normals [V,3] of one instance, glTF axes, and whether it is mirrored."""
    primitive = instance.primitive
    points: np.ndarray = primitive.positions
    normals = primitive.normals
    if morph is not None and primitive.target_positions is not None:
        used = morph[: len(primitive.target_positions)]
        points = points + np.tensordot(used, primitive.target_positions[: len(used)], 1)
        if normals is not None and primitive.target_normals is not None:
            normals = normals + np.tensordot(used, primitive.target_normals[: len(used)], 1)
    if instance.skin is not None and primitive.joints is not None:
        matrix, mirrored = _blended(instance.skin, primitive, world)  # [V,3,4]
        moved = np.einsum("vij,vj->vi", matrix[:, :, :3], points) + matrix[:, :, 3]
    else:
        matrix = instance.matrix(world)[:3][None]  # [1,3,4]
        mirrored = bool(np.linalg.det(matrix[0, :, :3]) < 0)
        moved = points @ matrix[0, :, :3].T + matrix[0, :, 3]
    if normals is None:
        flat = _flat_normals(moved, primitive.triangles)
        return moved, -flat if mirrored else flat, mirrored
    turned = np.einsum("vij,vj->vi", _normal_matrix(matrix[:, :, :3]), normals)
    return moved, _normalised(turned), mirrored


def _blended(skin: Skin, primitive: Primitive, world: np.ndarray) -> tuple[np.ndarray, bool]:
    """[V,3,4] the weighted sum of the joint matrices of each vertex, and whether most of them mirror."""
    assert primitive.joints is not None
    assert primitive.weights is not None
    joints = (world[skin.joints] @ skin.inverse_bind)[:, :3]
    signs = np.sign(np.linalg.det(joints[:, :, :3]))
    joint_matrices = joints.reshape(-1, 12)
    total, balance = np.zeros((len(primitive.positions), 12)), 0.0
    for k in range(primitive.joints.shape[1]):
        weights, chosen = primitive.weights[:, k], primitive.joints[:, k]
        total += weights[:, None] * joint_matrices[chosen]
        balance += float(weights @ signs[chosen]) if (signs < 0).any() else 0.0
    return total.reshape(-1, 3, 4), balance < 0


def _normal_matrix(linear: np.ndarray) -> np.ndarray:
    """[V,3,3] inverse transpose of `linear` [V,3,3] up to a positive factor: the cofactor matrix, also
    defined for singular matrices, times the sign of the determinant."""
    a, b, c = linear[:, 0], linear[:, 1], linear[:, 2]
    cofactors = np.stack([np.cross(b, c), np.cross(c, a), np.cross(a, b)], axis=1)
    sign = np.where(np.einsum("vi,vi->v", a, cofactors[:, 0]) < 0, -1.0, 1.0)
    return cofactors * sign[:, None, None]


def _flat_normals(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """[V,3] the face normal at each vertex; vertices must not be shared between triangles."""
    corners = points[triangles]
    faces = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.zeros_like(points)
    normals[triangles] = _normalised(faces)[:, None]
    return normals


def _normalised(vectors: np.ndarray) -> np.ndarray:
    """Unit vectors [V,3]; a zero vector stays zero."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(length > 0, length, 1.0)
