"""Projection to the screen and clipping at the near plane. V vertices."""

from __future__ import annotations

import numpy as np

from orster_cli.geometry.mesh import Mesh

NEAR = 0.01  # depth of the near plane, world units


def project(
    vertices: np.ndarray, K: np.ndarray, w2c: np.ndarray, s: int
) -> tuple[np.ndarray, np.ndarray]:
    """Screen positions [V,2] in samples (integers at sample centres) and 1/z [V], 0 for vertices behind
    the near plane."""
    points = vertices @ w2c[:3, :3].T + w2c[:3, 3]
    z = points[:, 2]
    visible = z >= NEAR * (1 - 1e-9)
    inv_z = np.where(visible, 1.0 / np.where(visible, z, 1.0), 0.0)
    pixels = (points[:, :2] * inv_z[:, None]) * K[[0, 1], [0, 1]] + K[:2, 2]
    return pixels * s - 0.5, inv_z


def clip_near_plane(mesh: Mesh, w2c: np.ndarray) -> Mesh:
    """`mesh` with its triangles clipped at the near plane; `mesh` itself if none crosses it."""
    z = mesh.vertices @ w2c[2, :3] + w2c[2, 3]
    inside = z[mesh.triangles] >= NEAR
    crossing = inside.any(axis=1) & ~inside.all(axis=1)
    if not crossing.any():
        return mesh
    vertices, normals = [mesh.vertices], [mesh.normals]
    colors, uvs = [mesh.colors], [mesh.uvs]
    triangles, ids = [mesh.triangles[inside.all(axis=1)]], [mesh.material_ids[inside.all(axis=1)]]
    count = len(mesh.vertices)
    for f in np.flatnonzero(crossing):
        corners = mesh.triangles[f]
        mix = _clip_weights(z[corners])  # [P,3] corners of the cut polygon
        vertices.append(mix @ mesh.vertices[corners])
        normals.append(mix @ mesh.normals[corners])
        colors.append((mix @ mesh.colors[corners]).astype(np.float32))
        uvs.append((mix @ mesh.uvs[corners]).astype(np.float32))
        fan = [[count, count + k, count + k + 1] for k in range(1, len(mix) - 1)]
        triangles.append(np.array(fan, np.int32))
        ids.append(np.full(len(fan), mesh.material_ids[f], np.int32))
        count += len(mix)
    return Mesh(
        vertices=np.concatenate(vertices),
        normals=np.concatenate(normals),
        colors=np.concatenate(colors),
        uvs=np.concatenate(uvs),
        triangles=np.concatenate(triangles),
        material_ids=np.concatenate(ids),
        materials=mesh.materials,
    )


def _clip_weights(z: np.ndarray) -> np.ndarray:
    """[P,3] barycentric coordinates of the clipped polygon of a triangle with corner depths `z` [3]
    (Sutherland-Hodgman)."""
    corners = np.eye(3)
    polygon = []
    for k in range(3):
        a, b = k, (k + 1) % 3
        if z[a] >= NEAR:
            polygon.append(corners[a])
        if (z[a] >= NEAR) != (z[b] >= NEAR):
            u = (NEAR - z[a]) / (z[b] - z[a])
            polygon.append((1 - u) * corners[a] + u * corners[b])
    return np.array(polygon)
