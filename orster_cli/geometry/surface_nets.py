"""Surfaces of values on a grid, by surface nets (Gibson 1998): one vertex in each cell that the surface
crosses, one square across each grid edge that it cuts. X Y Z grid points, V vertices, F triangles.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse


def surface_nets(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vertices [V,3] in units of the grid and triangles [F,3] of the surface at which `values` [X,Y,Z] pass
    through 0; positive is outside. Triangles are counter-clockwise seen from outside."""
    inside = values < 0
    shape = np.array(values.shape) - 1
    total, count = np.zeros((*shape, 3)), np.zeros(tuple(shape))
    corners = [(i, j, k) for i in (0, 1) for j in (0, 1) for k in (0, 1)]
    for a in corners:  # the 12 edges of every cell
        for axis in range(3):
            if a[axis]:
                continue
            b = tuple(1 if d == axis else a[d] for d in range(3))
            first, second = _corner(values, a, shape), _corner(values, b, shape)
            crossed = (first < 0) != (second < 0)
            along = np.where(crossed, first / np.where(crossed, first - second, 1.0), 0.0)
            place = np.array(a, float) + along[..., None] * (np.array(b) - np.array(a))
            total += crossed[..., None] * place
            count += crossed
    used = count > 0
    number = np.full(used.shape, -1)
    number[used] = np.arange(int(used.sum()))
    vertices = np.argwhere(used) + total[used] / count[used][:, None]
    squares = []
    for axis in range(3):  # an edge of the grid is cut: its four cells make a square
        u, v = (axis + 1) % 3, (axis + 2) % 3
        start = [slice(None)] * 3
        end = [slice(None)] * 3
        start[axis], end[axis] = slice(None, -1), slice(1, None)
        cut = np.argwhere(inside[tuple(start)] != inside[tuple(end)])
        cut = cut[
            (cut[:, u] > 0) & (cut[:, v] > 0) & (cut[:, u] < shape[u]) & (cut[:, v] < shape[v])
        ]
        around = []
        for du, dv in ((-1, -1), (0, -1), (0, 0), (-1, 0)):
            cell = cut.copy()
            cell[:, u] += du
            cell[:, v] += dv
            around.append(number[tuple(cell.T)])
        square = np.stack(around, axis=1)
        outward = inside[tuple(cut.T)]  # from inside to outside along the axis
        squares.append(np.where(outward[:, None], square, square[:, ::-1]))
    quads = np.concatenate(squares)
    return vertices, np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])


def _corner(values: np.ndarray, corner: tuple[int, ...], shape: np.ndarray) -> np.ndarray:
    x, y, z = corner
    return values[x : x + shape[0], y : y + shape[1], z : z + shape[2]]


def large_parts(
    vertices: np.ndarray, triangles: np.ndarray, share: float
) -> tuple[np.ndarray, np.ndarray]:
    """Without loose parts of less than a `share` of the vertices, and without vertices that no triangle
    uses."""
    count = len(vertices)
    links = scipy.sparse.coo_matrix(
        (
            np.ones(2 * len(triangles)),
            (triangles[:, [0, 1]].T.reshape(-1), np.tile(triangles[:, 2], 2)),
        ),
        (count, count),
    )
    _, part = scipy.sparse.csgraph.connected_components(links, directed=False)
    sizes = np.bincount(part, minlength=part.max() + 1)
    least = min(share * count, sizes.max())  # among small parts alone the largest is none
    kept = (sizes >= least)[part[triangles[:, 0]]]
    triangles = triangles[kept]
    used, renamed = np.unique(triangles, return_inverse=True)
    return vertices[used], renamed.reshape(-1, 3)


def vertex_normals(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """[V,3] unit normals, the mean of the triangles' by area; +Z where they cancel."""
    corners = vertices[triangles]
    faces = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.zeros_like(vertices)
    for c in range(3):
        np.add.at(normals, triangles[:, c], faces)
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    return np.where(length > 1e-14, normals / np.maximum(length, 1e-14), (0.0, 0.0, 1.0))
