"""Moves the vertices of a mesh as the Gaussians around them move.

V vertices, W welded vertices (distinct positions), E edges, N Gaussians, K moments. All in the asset's
coordinates. Three steps, each measured on true animations (docs/export.md):

1. A vertex follows its nearest Gaussians at the time of binding, at which asset and mesh agree, not the
   field at its own position: the field is trained where Gaussians are, which need not be on the surface.
2. The mesh is kept as rigid as possible (Sorkine and Alexa 2007), with these positions as a soft target.
3. Each vertex turns by the rotation of its edges, which moves its normal.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse
import scipy.sparse.linalg

from orster_cli.geometry.nearest_points import bell, nearest_points
from orster_cli.geometry.rigid_parts import nearest_rotations

NEIGHBOURS = 8  # Gaussians that a vertex follows
OPAQUE = 0.1  # opacity below which a Gaussian moves nothing
SOFTNESS = 0.3  # weight of the target against one edge, in the rigidity energy
ITERATIONS = 8
WELD = 1e-6  # of the object's size: vertices at this distance are one point of the surface


@dataclass(frozen=True, eq=False)
class Surface:
    """A mesh as points that are connected: `first` [W] the vertex of each point, `point_of` [V] the point
    of each vertex, `edges` [E,2] pairs of points."""

    first: np.ndarray
    point_of: np.ndarray
    edges: np.ndarray


def weld(vertices: np.ndarray, triangles: np.ndarray) -> Surface:
    """The surface of `vertices` [V,3] and `triangles` [F,3]; seams of UVs and normals do not part it."""
    size = float(np.ptp(vertices, axis=0).max()) or 1.0
    cells = np.round(vertices / (size * WELD)).astype(np.int64)
    _, first, point_of = np.unique(cells, axis=0, return_index=True, return_inverse=True)
    point_of = point_of.reshape(-1)
    corners = point_of[triangles]
    pairs = np.concatenate([corners[:, [0, 1]], corners[:, [1, 2]], corners[:, [2, 0]]])
    pairs = np.unique(np.sort(pairs, axis=1), axis=0)
    return Surface(first, point_of, pairs[pairs[:, 0] != pairs[:, 1]])


def follow(
    points: np.ndarray, means: np.ndarray, opacity: np.ndarray, *, neighbours: int = NEIGHBOURS
) -> np.ndarray:
    """[K,W,3] positions of `points` [W,3] as the Gaussians, or points of a course, move: `means` [K,N,3],
    the first moment that of binding, and `opacity` [N] in [0,1].

    A point's displacement is the mean of its neighbours', weighted by opacity and by a bell of the
    distance, whose width is that of the farthest neighbour."""
    solid = np.flatnonzero(opacity > OPAQUE)
    if not len(solid):
        solid = np.arange(len(opacity))
    start = means[0, solid]
    apart, which = nearest_points(start, points, neighbours)
    weights = bell(apart, np.maximum(opacity[solid][which], 1e-6))
    moved = means[:, solid] - start
    return points + np.stack([np.einsum("wk,wkc->wc", weights, one[which]) for one in moved])


class Rigidity:
    """The energy of Sorkine and Alexa on the edges of a surface, uniform weights, with a soft target.

    argmin_x softness sum_w |x_w - target_w|^2 + sum_(i,j) |(x_i - x_j) - R_i (rest_i - rest_j)|^2"""

    def __init__(self, rest: np.ndarray, edges: np.ndarray, *, softness: float = SOFTNESS) -> None:
        self.rest, self.softness = rest, softness
        self.i, self.j = edges.T
        self.sides = rest[self.i] - rest[self.j]
        count = len(rest)
        ones = np.ones(2 * len(edges))
        ends = (np.concatenate([self.i, self.j]), np.concatenate([self.j, self.i]))
        links = scipy.sparse.coo_matrix((ones, ends), (count, count)).tocsr()
        degree = np.asarray(links.sum(axis=1)).reshape(-1)
        laplacian = scipy.sparse.diags(degree + softness) - links
        self._solve = scipy.sparse.linalg.factorized(laplacian.tocsc())
        places, shape = (ends[0], np.tile(np.arange(len(edges)), 2)), (count, len(edges))
        self._gather = scipy.sparse.csr_matrix((ones, places), shape)
        signs = np.concatenate([np.ones(len(edges)), -np.ones(len(edges))])
        self._difference = scipy.sparse.csr_matrix((signs, places), shape)

    def rotations(self, positions: np.ndarray) -> np.ndarray:
        """[W,3,3] the rotation that best turns each point's edges at rest into those at `positions`."""
        now = positions[self.i] - positions[self.j]
        products = (now[:, :, None] * self.sides[:, None, :]).reshape(-1, 9)
        return nearest_rotations((self._gather @ products).reshape(-1, 3, 3))

    def settle(self, target: np.ndarray, *, iterations: int = ITERATIONS) -> np.ndarray:
        """[W,3] the positions of least energy for `target` [W,3], from which the search begins."""
        positions = target
        for _ in range(iterations):
            turned = self.rotations(positions)
            sides = 0.5 * np.einsum("eij,ej->ei", turned[self.i] + turned[self.j], self.sides)
            wanted = self.softness * target + self._difference @ sides
            positions = np.stack([self._solve(wanted[:, c]) for c in range(3)], axis=1)
        return positions
