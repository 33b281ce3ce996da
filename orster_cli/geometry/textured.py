"""A dense surface as a light one: fewer triangles, and its colours in a picture.

V vertices, F triangles, P places on the surface, S texels a side.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.ndimage import distance_transform_edt

from orster_cli.core.jit import kernel
from orster_cli.geometry.mesh import CLAMP, Material, Mesh, Texture, mip_levels
from orster_cli.geometry.surface_nets import vertex_normals

PADDING = 2  # texels between the parts of a picture


def simplified(
    vertices: np.ndarray, triangles: np.ndarray, most: int
) -> tuple[np.ndarray, np.ndarray]:
    """The surface of `vertices` [V,3] and `triangles` [F,3] with about `most` triangles, those that change
    it least (quadrics, Garland and Heckbert 1997); as it is, if it has no more."""
    if len(triangles) <= most:
        return vertices, triangles
    import fast_simplification  # of few commands: a bare machine does the others without it

    places, corners = fast_simplification.simplify(
        vertices.astype(np.float32), triangles.astype(np.int32), target_count=most
    )
    return places.astype(np.float64), corners.astype(triangles.dtype)


def textured(
    vertices: np.ndarray,
    triangles: np.ndarray,
    colors_at: Callable[[np.ndarray], np.ndarray],
    *,
    side: int,
) -> Mesh:
    """The surface of `vertices` [V,3] and `triangles` [F,3], unwrapped, with a texture of `side` texels:
    the sRGB colours [P,3] in [0,1] that `colors_at` has at places [P,3]. Vertices at seams are several."""
    normals = vertex_normals(vertices, triangles)
    source, corners, places = _unwrapped(vertices, triangles, side)
    owner = np.full((side, side), -1, np.int32)
    shares = np.zeros((side, side, 3))
    _cover(side * places[corners], owner, shares)
    covered = owner >= 0
    own = vertices[source][corners[owner[covered]]]
    image = np.full((side, side, 4), 255, np.uint8)
    colors = colors_at((own * shares[covered][:, :, None]).sum(axis=1))
    image[covered, :3] = np.round(255 * colors.clip(0, 1))
    # what lies between parts is as the nearest texel, since blurred levels of the picture mix them
    nearest = distance_transform_edt(~covered, return_distances=False, return_indices=True)
    levels = mip_levels(image[tuple(nearest)])
    uvs = np.zeros((len(source), 4), np.float32)
    uvs[:, :2] = places
    return Mesh(
        vertices=vertices[source],
        normals=normals[source],
        colors=np.ones((len(source), 4), np.float32),
        uvs=uvs,
        triangles=corners,
        material_ids=np.zeros(len(corners), np.int32),
        materials=(Material(texture=Texture(levels, CLAMP, CLAMP)),),
    )


def _unwrapped(
    vertices: np.ndarray, triangles: np.ndarray, side: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The vertex that each of W new ones is [W], triangles [F,3] of the new ones, and their places [W,2]
    in a square picture, in [0,1]."""
    import xatlas  # as above

    atlas = xatlas.Atlas()
    atlas.add_mesh(vertices.astype(np.float32), triangles.astype(np.uint32))
    packed = xatlas.PackOptions()
    packed.resolution, packed.padding, packed.bilinear = side, PADDING, True
    atlas.generate(pack_options=packed)
    source, corners, places = atlas[0]
    return source, corners.astype(np.int32), places.astype(np.float64)


def warm_kernels() -> None:
    """Run every kernel once."""
    _cover(np.zeros((1, 3, 2)), np.zeros((1, 1), np.int32), np.zeros((1, 1, 3)))


@kernel
def _cover(corners: np.ndarray, owner: np.ndarray, shares: np.ndarray) -> None:
    """Into `owner` [S,S] the triangle of `corners` [F,3,2], in texels, that covers the middle of each
    texel, and into `shares` [S,S,3] the barycentric shares of its corners there."""
    side = len(owner)
    for face in range(len(corners)):
        ax, ay = corners[face, 0]
        bx, by = corners[face, 1]
        cx, cy = corners[face, 2]
        area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
        if area == 0.0:
            continue
        left, right = max(int(min(ax, bx, cx)), 0), min(int(max(ax, bx, cx)) + 1, side)
        above, below = max(int(min(ay, by, cy)), 0), min(int(max(ay, by, cy)) + 1, side)
        for row in range(above, below):
            for column in range(left, right):
                x, y = column + 0.5, row + 0.5
                first = ((bx - x) * (cy - y) - (cx - x) * (by - y)) / area
                second = ((cx - x) * (ay - y) - (ax - x) * (cy - y)) / area
                third = 1.0 - first - second
                if first >= 0.0 and second >= 0.0 and third >= 0.0:
                    owner[row, column] = face
                    shares[row, column, 0] = first
                    shares[row, column, 1] = second
                    shares[row, column, 2] = third
