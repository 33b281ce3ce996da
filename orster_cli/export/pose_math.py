"""Matrices, normals and quaternions as glTF wants them."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation


def is_trs(world: np.ndarray) -> bool:
    """Whether a matrix is a rotation and a scale, without shear, and can be inverted."""
    linear = world[:3, :3]
    gram = linear.T @ linear
    size = float(np.abs(np.diag(gram)).max())
    if size <= 0 or float(np.diag(gram).min()) < 1e-12 * size:
        return False
    return bool(np.abs(gram - np.diag(np.diag(gram))).max() < 1e-6 * size)


def trs(world: np.ndarray) -> dict[str, list[float]]:
    """Translation, rotation and scale of a node at `world` [4,4], for which `is_trs` holds. A node that is
    animated may have no matrix (glTF 2.0, 3.5.3)."""
    linear = world[:3, :3]
    scale = np.linalg.norm(linear, axis=0)
    scale[0] = np.copysign(scale[0], np.linalg.det(linear))
    turn = Rotation.from_matrix(linear / scale)
    return {
        "translation": world[:3, 3].tolist(),
        "rotation": turn.as_quat().tolist(),
        "scale": scale.tolist(),
    }


def unit_vectors(vectors: np.ndarray) -> np.ndarray:
    """[V,3] unit vectors; +Y for a zero vector, which glTF does not allow as a normal."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.where(length > 1e-12, vectors / np.maximum(length, 1e-12), (0.0, 1.0, 0.0))


def aligned(quats: np.ndarray) -> np.ndarray:
    """[K,4] quaternions with signs that go the short way from each key to the next."""
    quats = quats.copy()
    for k in range(1, len(quats)):
        if quats[k] @ quats[k - 1] < 0:
            quats[k] = -quats[k]
    return quats
