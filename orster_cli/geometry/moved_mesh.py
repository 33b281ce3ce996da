"""A mesh whose vertices are moved. V vertices, U different places of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from orster_cli.geometry.mesh import Mesh

WELD = 1e-5  # shares of the longest side within which vertices are at one place


@dataclass(frozen=True, eq=False)
class Welded:
    """A `mesh` by its places: where several vertices are at one, as at the seams of a texture, they move
    together."""

    mesh: Mesh

    @cached_property
    def _found(self) -> tuple[np.ndarray, np.ndarray]:
        """The first vertex [U] at each place, and the place [V] of each vertex."""
        vertices = self.mesh.vertices
        step = WELD * max(float(np.ptp(vertices, axis=0).max()), 1e-12)
        cells = np.round((vertices - vertices.min(axis=0)) / step).astype(np.int64)
        _, first, place = np.unique(cells, axis=0, return_index=True, return_inverse=True)
        return first, place.reshape(-1)

    @property
    def numbers(self) -> np.ndarray:
        """[V] the place of each vertex."""
        return self._found[1]

    @property
    def places(self) -> np.ndarray:
        """[U,3] in world units."""
        found: np.ndarray = self.mesh.vertices[self._found[0]]
        return found

    @cached_property
    def normals(self) -> np.ndarray:
        """[U,3] the unit mean of the normals at each place."""
        place = self.numbers
        total = np.zeros((len(self._found[0]), 3))
        np.add.at(total, place, self.mesh.normals)
        return _unit(total)

    def moved(self, places: np.ndarray) -> Mesh:
        """The mesh with its places at `places` [U,3], its normals turned as the surface around them is."""
        place = self.numbers
        vertices = places[place]
        before, after = self._at_rest, self._facing(places)
        normals = _turned(self.mesh.normals, before[place], after[place])
        return replace(self.mesh, vertices=vertices, normals=normals)

    @cached_property
    def _at_rest(self) -> np.ndarray:
        return self._facing(self.places)

    def _facing(self, places: np.ndarray) -> np.ndarray:
        """[U,3] unit normals of the triangles around each place, by their area; 0 where there is none."""
        corners = self.numbers[self.mesh.triangles]
        a, b, c = places[corners].swapaxes(0, 1)
        area = np.cross(b - a, c - a)
        total = np.zeros_like(places)
        for corner in corners.T:
            np.add.at(total, corner, area)
        return _unit(total)


def _unit(vectors: np.ndarray) -> np.ndarray:
    found: np.ndarray = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return found


def _turned(vectors: np.ndarray, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """`vectors` [V,3] by the least rotations that bring unit vectors `before` to `after` (Rodrigues)."""
    axis = np.cross(before, after)
    cosine = (before * after).sum(axis=1, keepdims=True)
    along = (axis * vectors).sum(axis=1, keepdims=True) * axis / np.maximum(1 + cosine, 1e-6)
    turned = cosine * vectors + np.cross(axis, vectors) + along
    known = (np.abs(cosine) > 0).ravel() & (cosine > -0.99).ravel()
    return _unit(np.where(known[:, None], turned, vectors))
