"""The bones of an exported skin: nodes, poses, inverse matrices and weights of a glTF file.

V vertices, K key frames, B bones. Source: glTF 2.0 specification, 3.7.3 (skins).
"""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from orster_cli.export.skinning import INFLUENCES, Skinning
from orster_cli.export.source_mesh import TO_Z_UP, SourceMesh
from orster_cli.gltf.writing import VERTICES, GlbWriter


class Bones:
    """Writes the skin of `source` into `out`; `points_of` [V]: the row of the weights of each vertex."""

    def __init__(
        self, out: GlbWriter, source: SourceMesh, skin: Skinning, points_of: np.ndarray
    ) -> None:
        self.out, self.source, self.skin, self.points_of = out, source, skin, points_of

    def _pivots(self) -> np.ndarray:
        """[B,3] the middle of what each bone moves, in the asset's coordinates: its joint stands there."""
        weights = self.skin.weights[self.points_of]
        total = np.maximum(weights.sum(axis=0), 1e-12)
        return weights.T @ self.source.mesh.vertices / total[:, None]

    def poses(self) -> tuple[np.ndarray, np.ndarray]:
        """Rotations [K,B,4] xyzw and translations [K,B,3] of the joints, around the source's `origin`."""
        skin, pivots = self.skin, self._pivots()
        now = np.einsum("kbij,bj->kbi", skin.rotations, pivots) + skin.translations
        turns = TO_Z_UP.T @ skin.rotations @ TO_Z_UP
        quats = Rotation.from_matrix(turns.reshape(-1, 3, 3)).as_quat()
        return quats.reshape(*turns.shape[:2], 4), self.source.places(now)

    def nodes(self) -> list[int]:
        """Nodes of a root and of one joint a bone, at the first key."""
        turns, places = self.poses()
        names = range(self.skin.weights.shape[1])
        bones = [
            self.out.add(
                "nodes",
                {
                    "name": f"bone{b}",
                    "rotation": turns[0, b].tolist(),
                    "translation": places[0, b].tolist(),
                },
            )
            for b in names
        ]
        return [self.out.add("nodes", {"name": "bones", "children": bones}), *bones]

    def skin_of(self, world: np.ndarray, joints: list[int]) -> int:
        """A skin with the nodes `joints`, for vertices that `world` [4,4] takes to the file, around the
        source's `origin`."""
        pivots = self.source.places(self._pivots())
        inverse = np.tile(world, (len(pivots), 1, 1))
        inverse[:, :3, 3] -= pivots
        inverse[:, 3] = (0.0, 0.0, 0.0, 1.0)
        columns = inverse.transpose(0, 2, 1).reshape(-1, 16).astype(np.float32)
        return self.out.add(
            "skins",
            {
                "joints": joints[1:],
                "skeleton": joints[0],
                "inverseBindMatrices": self.out.accessor(columns),
            },
        )

    def influences(self, part: slice) -> dict[str, int]:
        """The attributes by which the vertices `part` follow the bones."""
        weights = self.skin.weights[self.points_of[part]]
        if weights.shape[1] < INFLUENCES:
            weights = np.pad(weights, ((0, 0), (0, INFLUENCES - weights.shape[1])))
        joints = np.argsort(-weights, axis=1)[:, :INFLUENCES]
        values = np.take_along_axis(weights, joints, axis=1).astype(np.float32)
        values /= values.sum(axis=1, keepdims=True)
        joints = np.where(values > 0, joints, 0)
        kind = np.uint8 if weights.shape[1] <= 256 else np.uint16
        return {
            "JOINTS_0": self.out.accessor(joints.astype(kind), target=VERTICES),
            "WEIGHTS_0": self.out.accessor(values, target=VERTICES),
        }
