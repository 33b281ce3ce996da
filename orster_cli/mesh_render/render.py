"""Renders meshes to colour, alpha and depth: anti-aliased, and deterministic across machines.

A z-buffer in software, with `supersample` x `supersample` samples a pixel. Samples are averaged in
display space (sRGB), so that compositing the result on white equals averaging composited samples.

V vertices, T cameras, H W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from orster_cli.core.types import Cameras
from orster_cli.geometry.mesh import BLEND, SRGB_LUT, Mesh, linear_to_srgb
from orster_cli.mesh_render import raster_numba as kernels
from orster_cli.mesh_render.lighting import LIGHT_DIRECTIONS, LIGHT_INTENSITIES
from orster_cli.mesh_render.near_plane import clip_near_plane, project
from orster_cli.mesh_render.pack import MAX_LAYERS, pack_materials

WHITE = (1.0, 1.0, 1.0)
_SRGB_TABLE = linear_to_srgb(np.linspace(0.0, 1.0, 8193)).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class MeshRender:
    """`rgb` [T,3,H,W] straight sRGB colour, the background colour where alpha is 0; `alpha` [T,1,H,W];
    `depth` [T,1,H,W] z along the camera axis, averaged over the covered part of the pixel, 0 in empty
    pixels. All float32."""

    rgb: Tensor
    alpha: Tensor
    depth: Tensor


def render_mesh(
    mesh: Mesh,
    cameras: Cameras,
    *,
    supersample: int = 4,
    background: tuple[float, float, float] = WHITE,
    backend: str = "auto",
    device: torch.device | str = "cpu",
) -> MeshRender:
    """Render `mesh` from each camera.

    `backend` "numba" (CPU), "torch" (any device) or "auto": numba on the CPU, torch elsewhere.
    The result is on `device`."""
    device = torch.device(device)
    if backend == "auto":
        backend = "numba" if device.type == "cpu" else "torch"
    if backend not in ("numba", "torch"):
        raise ValueError(f"render_mesh: backend must be auto, numba or torch, got {backend!r}")
    if not 1 <= supersample <= 8:
        raise ValueError(f"render_mesh: supersample must be in 1..8, got {supersample}")
    if backend == "torch":
        from orster_cli.mesh_render.raster_reference import draw

        frames = [
            draw(clip_near_plane(mesh, w2c), K, w2c, cameras, supersample, background, device)
            for K, w2c in _numpy_cameras(cameras)
        ]
        rgb, alpha, depth = (torch.stack(part) for part in zip(*frames, strict=True))
    else:
        shape = (len(cameras), cameras.height, cameras.width)
        colors = np.empty((shape[0], 3, *shape[1:]), np.float32)
        colors[:] = np.asarray(background, np.float32)[:, None, None]
        alphas, depths = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        for t, (K, w2c) in enumerate(_numpy_cameras(cameras)):
            _draw_numba(mesh, K, w2c, supersample, colors[t], alphas[t], depths[t])
        rgb, alpha, depth = (torch.from_numpy(part).to(device) for part in (colors, alphas, depths))
    return MeshRender(rgb=rgb, alpha=alpha[:, None], depth=depth[:, None])


def _numpy_cameras(cameras: Cameras) -> list[tuple[np.ndarray, np.ndarray]]:
    """(K [3,3], w2c [4,4]) float64 per camera."""
    K = cameras.K.double().cpu().numpy()
    w2c = cameras.w2c.double().cpu().numpy()
    return list(zip(K, w2c, strict=True))


def _draw_numba(
    mesh: Mesh,
    K: np.ndarray,
    w2c: np.ndarray,
    s: int,
    rgb: np.ndarray,
    alpha: np.ndarray,
    depth: np.ndarray,
) -> None:
    """Draw one view into `rgb` [3,H,W], `alpha` [H,W], `depth` [H,W]."""
    mesh = clip_near_plane(mesh, w2c)
    screen, inv_z = project(mesh.vertices, K, w2c, s)
    height, width = alpha.shape
    used = screen[inv_z > 0]
    if len(used) == 0:
        return
    # only the pixels of the object's bounding rectangle are sampled
    x0, y0 = np.clip(np.floor(used.min(axis=0) / s), 0, [width, height]).astype(int)
    x1, y1 = np.clip(np.floor(used.max(axis=0) / s) + 2, 0, [width, height]).astype(int)
    if x1 <= x0 or y1 <= y0:
        return
    screen = screen - np.array([x0 * s, y0 * s])
    shape = ((y1 - y0) * s, (x1 - x0) * s)
    packed = pack_materials(mesh.materials)
    surface = (mesh.triangles, mesh.material_ids, packed.materials, mesh.colors, mesh.uvs)
    textures = (packed.texels, packed.levels, packed.samplers, SRGB_LUT)
    camera = -w2c[:3, :3].T @ w2c[:3, 3]
    layers = np.zeros((*shape, 5), np.float32)

    def empty() -> tuple[np.ndarray, np.ndarray]:
        return np.full(shape, kernels.FAR), np.full(shape, kernels.NO_FACE, np.int32)

    def nearest(
        transparent: bool, last: tuple, limit: tuple
    ) -> tuple[bool, np.ndarray, np.ndarray]:
        z, face = empty()
        found = kernels.nearest_faces(
            screen, inv_z, *surface, *textures, transparent, *last, *limit, z, face
        )
        return found, z, face

    def shade(z: np.ndarray, face: np.ndarray) -> None:
        kernels.shade_layer(
            screen, inv_z, mesh.vertices, mesh.normals, *surface, *textures,
            LIGHT_DIRECTIONS, LIGHT_INTENSITIES, _SRGB_TABLE, camera, z, face, layers,
        )  # fmt: skip

    nothing = (np.zeros((1, 1), np.float32), np.zeros((1, 1), np.int32))
    _, z, face = nearest(False, nothing, nothing)
    if any(m.alpha_mode == BLEND for m in mesh.materials):
        last = (np.zeros(shape, np.float32), np.full(shape, kernels.NO_FACE, np.int32))
        limit = (z, np.where(face == kernels.NO_FACE, np.iinfo(np.int32).max, face))
        for _ in range(MAX_LAYERS):
            found, layer_z, layer_face = nearest(True, last, limit)
            if not found:
                break
            shade(layer_z, layer_face)
            written = layer_face != kernels.NO_FACE
            # samples without a further layer are finished: no depth exceeds infinity
            last = (np.where(written, layer_z, kernels.FAR), layer_face)
    shade(z, face)
    kernels.resolve(layers, s, y0, x0, rgb, alpha, depth)


def warm_kernels() -> None:
    """Run every kernel once: a picture of one triangle."""
    mesh = Mesh(
        vertices=np.array([[-0.5, -0.5, 0.0], [0.5, -0.5, 0.0], [0.0, 0.5, 0.0]]),
        normals=np.array([[0.0, 0.0, 1.0]] * 3),
        colors=np.ones((3, 4), np.float32),
        uvs=np.zeros((3, 4), np.float32),
        triangles=np.array([[0, 1, 2]], np.int32),
        material_ids=np.zeros(1, np.int32),
    )
    w2c = torch.eye(4)[None]
    w2c[:, 2, 3] = 2.0
    K = torch.tensor([[[8.0, 0.0, 4.0], [0.0, 8.0, 4.0], [0.0, 0.0, 1.0]]])
    render_mesh(mesh, Cameras(K=K, w2c=w2c, width=8, height=8), backend="numba")
