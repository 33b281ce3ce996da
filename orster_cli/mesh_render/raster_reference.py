"""The z-buffer rasterizer in torch, for any device: the reference of `raster_numba`.

Every triangle enumerates the samples of its bounding box. For each sample, `scatter_reduce(amin)`
selects the least integer key of depth and triangle index, which is exact and independent of order.

Shapes: V vertices, F triangles, P samples (Hs x Ws flattened),
Q candidate pairs of triangle and sample.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from orster_cli.core.types import Cameras
from orster_cli.geometry.mesh import BLEND, CLAMP, MIRROR, OPAQUE, SRGB_LUT, Mesh
from orster_cli.mesh_render.lighting import (
    AMBIENT_GROUND,
    AMBIENT_SKY,
    LIGHT_DIRECTIONS,
    LIGHT_INTENSITIES,
)
from orster_cli.mesh_render.near_plane import project
from orster_cli.mesh_render.pack import (
    BASE,
    CUTOFF,
    DOUBLE_SIDED,
    EMISSIVE,
    EMISSIVE_TEXTURE,
    MAX_LAYERS,
    MODE,
    TEXTURE,
    UNLIT,
    pack_materials,
)
from orster_cli.mesh_render.raster_numba import CLEAR, EDGE_EPS

_CHUNK = 1 << 22  # candidate pairs in memory at a time
_EMPTY = torch.iinfo(torch.int64).max


class _Surface:
    """The mesh and its materials as tensors, for one camera."""

    def __init__(
        self, mesh: Mesh, screen: np.ndarray, inv_z: np.ndarray, device: torch.device
    ) -> None:
        def tensor(array: np.ndarray, dtype: torch.dtype = torch.float64) -> Tensor:
            return torch.as_tensor(np.ascontiguousarray(array)).to(device, dtype)

        packed = pack_materials(mesh.materials)
        self.screen, self.inv_z = tensor(screen), tensor(inv_z)
        self.vertices, self.normals = tensor(mesh.vertices), tensor(mesh.normals)
        self.colors, self.uvs = tensor(mesh.colors), tensor(mesh.uvs)
        self.triangles = tensor(mesh.triangles, torch.int64)
        self.material = tensor(mesh.material_ids, torch.int64)
        self.table = tensor(packed.materials)
        self.texels = tensor(packed.texels, torch.int64)
        self.levels = tensor(packed.levels, torch.int64)
        self.samplers = tensor(packed.samplers, torch.int64)
        self.lut = tensor(SRGB_LUT)
        corners = self.screen[self.triangles]  # [F,3,2]
        self.area = _edge(corners[:, 0], corners[:, 1], corners[:, 2])

    def edges(self, face: Tensor, point: Tensor) -> Tensor:
        """[Q,3] the three edge functions of triangles `face` [Q] at `point` [Q,2]; all are
        positive inside, whatever the winding."""
        corners = self.screen[self.triangles[face]]
        a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
        flipped = (self.area[face] < 0)[:, None]
        b, c = torch.where(flipped, c, b), torch.where(flipped, b, c)
        e = torch.stack([_edge(b, c, point), _edge(c, a, point), _edge(a, b, point)], dim=1)
        return torch.where(flipped, e[:, [0, 2, 1]], e)

    def weights(self, face: Tensor, point: Tensor) -> Tensor:
        """[Q,3] perspective-correct weights of the corners."""
        w = self.edges(face, point) * self.inv_z[self.triangles[face]]
        return w / w.sum(dim=1, keepdim=True)

    def interpolated(self, values: Tensor, face: Tensor, weights: Tensor) -> Tensor:
        """[Q,C] vertex `values` [V,C] at the weights."""
        return (weights[:, :, None] * values[self.triangles[face]]).sum(dim=1)

    def texture(self, face: Tensor, uv: Tensor, column: int, slot: int) -> Tensor:
        """[Q,4] linear texels of the texture in `column` of the material table; ones without a
        texture."""
        tex = self.table[self.material[face], column].long()
        out = torch.ones(len(face), 4, dtype=torch.float64, device=uv.device)
        has = tex >= 0
        if has.any():
            out[has] = self._sampled(face[has], uv[has], tex[has], slot)
        return out

    def _sampled(self, face: Tensor, uv: Tensor, tex: Tensor, slot: int) -> Tensor:
        corners = self.uvs[self.triangles[face]][:, :, slot : slot + 2]
        uv_area = _edge(corners[:, 0], corners[:, 1], corners[:, 2]).abs()
        full = self.levels[tex, 0]
        ratio = uv_area * full[:, 1] * full[:, 2] / self.area[face].abs()
        level = torch.floor(0.5 * torch.log2(ratio.clamp_min(1.0)) + 0.5).long()
        level = torch.minimum(level, self.samplers[tex, 3] - 1)
        first, width, height = self.levels[tex, level].unbind(dim=1)
        size = torch.stack([width, height], dim=1)
        nearest = self.samplers[tex, 2] == 1
        place = uv * size - torch.where(nearest, 0.0, 0.5)[:, None]
        corner = torch.floor(place)
        fraction = torch.where(nearest[:, None], 0.0, place - corner)
        out = torch.zeros(len(face), 4, dtype=torch.float64, device=uv.device)
        for dy in range(2):
            for dx in range(2):
                x = _wrapped(corner[:, 0].long() + dx, width, self.samplers[tex, 0])
                y = _wrapped(corner[:, 1].long() + dy, height, self.samplers[tex, 1])
                texel = self.texels[first + y * width + x]
                colour = torch.cat([self.lut[texel[:, :3]], texel[:, 3:] / 255.0], dim=1)
                wx = fraction[:, 0] if dx else 1 - fraction[:, 0]
                wy = fraction[:, 1] if dy else 1 - fraction[:, 1]
                out += (wx * wy)[:, None] * colour
        return out

    def alpha(self, face: Tensor, weights: Tensor) -> Tensor:
        """[Q] alpha of the material, vertex and texture, before the alpha mode applies."""
        uv = self.interpolated(self.uvs, face, weights)
        texel = self.texture(face, uv[:, :2], TEXTURE, 0)[:, 3]
        vertex = self.interpolated(self.colors[:, 3:], face, weights)[:, 0]
        return self.table[self.material[face], BASE + 3] * vertex * texel


def draw(
    mesh: Mesh,
    K: np.ndarray,
    w2c: np.ndarray,
    cameras: Cameras,
    s: int,
    background: tuple[float, float, float],
    device: torch.device,
) -> tuple[Tensor, Tensor, Tensor]:
    """One view of a mesh clipped at the near plane: rgb [3,H,W], alpha [H,W], depth [H,W]."""
    surface = _Surface(mesh, *project(mesh.vertices, K, w2c, s), device)
    camera = torch.from_numpy(-w2c[:3, :3].T @ w2c[:3, 3]).to(device)
    width, height = cameras.width, cameras.height
    shape = (height * s, width * s)
    layers = torch.zeros(shape[0] * shape[1], 5, dtype=torch.float64, device=device)

    mode = surface.table[surface.material, MODE]
    opaque = _nearest(surface, shape, torch.nonzero(mode != BLEND)[:, 0], None, None)
    transparent = torch.nonzero(mode == BLEND)[:, 0]
    last = torch.full_like(opaque, -1)
    for _ in range(MAX_LAYERS if len(transparent) else 0):
        found = _nearest(surface, shape, transparent, last, opaque)
        if bool((found == _EMPTY).all()):
            break
        _shade(surface, shape[1], found, camera, layers)
        last = found
    _shade(surface, shape[1], opaque, camera, layers)

    pixels = layers.view(height, s, width, s, 5).sum(dim=(1, 3))
    total = pixels[..., 3]
    hit = total > 0
    colour = torch.tensor(background, dtype=torch.float64, device=device)
    safe = torch.where(hit, total, 1.0)[..., None]
    rgb = torch.where(hit[..., None], pixels[..., :3] / safe, colour)
    depth = torch.where(hit, pixels[..., 4] / safe[..., 0], 0.0)
    alpha = (total / (s * s)).clamp_max(1.0)
    return rgb.permute(2, 0, 1).float(), alpha.float(), depth.float()


def _nearest(
    surface: _Surface,
    shape: tuple[int, int],
    faces: Tensor,
    after: Tensor | None,
    before: Tensor | None,
) -> Tensor:
    """[P] the least key (depth bits << 32 | triangle) of each sample among `faces`, greater than
    `after` [P] and less than `before` [P]; _EMPTY for samples without one."""
    height, width = shape
    best = torch.full((height * width,), _EMPTY, dtype=torch.int64, device=faces.device)
    corners = surface.screen[surface.triangles[faces]]
    depth_ok = (surface.inv_z[surface.triangles[faces]] > 0).all(dim=1)
    double_sided = surface.table[surface.material[faces], DOUBLE_SIDED] == 1
    front = double_sided | (surface.area[faces] < 0)  # counter-clockwise, where y runs up
    area = surface.area[faces].abs()
    limit = torch.tensor([width - 1.0, height - 1.0], dtype=torch.float64, device=faces.device)
    low = torch.ceil(corners.amin(dim=1)).clamp_min(0.0)
    high = torch.minimum(torch.floor(corners.amax(dim=1)), limit)
    span = high - low + 1
    keep = depth_ok & front & (area > 1e-12) & (area < 1e30) & (span > 0).all(dim=1)
    faces, low, span = faces[keep], low[keep].long(), span[keep].long()
    count = span[:, 0] * span[:, 1]
    start, total = 0, torch.cumsum(count, dim=0)
    while start < len(faces):
        done = int(total[start - 1]) if start else 0
        end = int(torch.searchsorted(total, done + _CHUNK, right=True))
        end = max(end, start + 1)
        part = slice(start, end)
        _compete(surface, width, faces[part], low[part], span[part], best, after, before)
        start = end
    return best


def _compete(
    surface: _Surface,
    width: int,
    faces: Tensor,
    low: Tensor,
    span: Tensor,
    best: Tensor,
    after: Tensor | None,
    before: Tensor | None,
) -> None:
    """Update the least keys `best` [P] with the samples of some triangles."""
    count = span[:, 0] * span[:, 1]
    which = torch.repeat_interleave(torch.arange(len(faces), device=faces.device), count)
    first = torch.cumsum(count, dim=0) - count
    rank = torch.arange(len(which), device=faces.device) - first[which]
    x = low[which, 0] + rank % span[which, 0]
    y = low[which, 1] + rank // span[which, 0]
    face = faces[which]
    point = torch.stack([x, y], dim=1).double()
    e = surface.edges(face, point)
    inside = (e >= -EDGE_EPS).all(dim=1)
    face, e, sample, point = face[inside], e[inside], (y * width + x)[inside], point[inside]
    inv_z = (e * surface.inv_z[surface.triangles[face]]).sum(dim=1) / surface.area[face].abs()
    z = (1.0 / inv_z).float()
    key = (z.view(torch.int32).long() << 32) | face
    keep = inv_z > 0
    if after is not None and before is not None:
        keep &= (key > after[sample]) & (key < before[sample])
    row = surface.table[surface.material[face]]
    tested = row[:, MODE] != OPAQUE
    if bool((tested & keep).any()):
        cutoff = torch.where(row[:, MODE] == BLEND, CLEAR, row[:, CUTOFF])
        alpha = surface.alpha(face, surface.weights(face, point))
        keep &= ~tested | (alpha >= cutoff)
    best.scatter_reduce_(0, sample[keep], key[keep], "amin")


def _shade(surface: _Surface, width: int, keys: Tensor, camera: Tensor, layers: Tensor) -> None:
    """Composite the samples named by `keys` [P] behind those already in `layers` [P,5]."""
    sample = torch.nonzero(keys != _EMPTY)[:, 0]
    if len(sample) == 0:
        return
    face = keys[sample] & 0xFFFFFFFF
    depth = (keys[sample] >> 32).to(torch.int32).view(torch.float32).double()
    point = torch.stack([sample % width, sample // width], dim=1).double()
    weights = surface.weights(face, point)
    material = surface.table[surface.material[face]]
    uv = surface.interpolated(surface.uvs, face, weights)
    base = surface.interpolated(surface.colors, face, weights) * material[:, BASE : BASE + 4]
    base = base * surface.texture(face, uv[:, :2], TEXTURE, 0)
    alpha = torch.where(material[:, MODE] == BLEND, base[:, 3], 1.0)

    corners = surface.vertices[surface.triangles[face]]
    own = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    away = ((camera - corners[:, 0]) * own).sum(dim=1) < 0
    own = torch.where(away[:, None], -own, own)
    normal = surface.interpolated(surface.normals, face, weights)
    normal = torch.where((normal.square().sum(dim=1) < 1e-12)[:, None], own, normal)
    normal = torch.where(((normal * own).sum(dim=1) < 0)[:, None], -normal, normal)
    normal = normal / normal.square().sum(dim=1, keepdim=True).clamp_min(1e-300).sqrt()
    lit = base[:, :3] * _light(normal)[:, None]
    lit = (
        lit
        + material[:, EMISSIVE : EMISSIVE + 3]
        * (surface.texture(face, uv[:, 2:], EMISSIVE_TEXTURE, 2)[:, :3])
    )
    colour = _encode(torch.where(material[:, UNLIT, None] == 1, base[:, :3], lit))

    weight = alpha * (1 - layers[sample, 3])
    layers[sample, :3] += weight[:, None] * colour
    layers[sample, 3] += weight
    layers[sample, 4] += weight * depth


def _edge(a: Tensor, b: Tensor, p: Tensor) -> Tensor:
    """[Q] twice the signed area of (a, b, p), each [Q,2]."""
    return (b[:, 0] - a[:, 0]) * (p[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (p[:, 0] - a[:, 0])


def _wrapped(i: Tensor, n: Tensor, mode: Tensor) -> Tensor:
    """[Q] texel indices `i` wrapped into 0..n-1."""
    clamped = torch.minimum(i.clamp_min(0), n - 1)
    repeated = torch.remainder(i, n)
    mirrored = torch.remainder(i, 2 * n)
    mirrored = torch.where(mirrored < n, mirrored, 2 * n - 1 - mirrored)
    return torch.where(mode == CLAMP, clamped, torch.where(mode == MIRROR, mirrored, repeated))


def _light(normal: Tensor) -> Tensor:
    """[Q] irradiance of white surfaces with unit normals [Q,3]."""
    directions = torch.from_numpy(LIGHT_DIRECTIONS).to(normal)
    intensities = torch.from_numpy(LIGHT_INTENSITIES).to(normal)
    ambient = AMBIENT_GROUND + (AMBIENT_SKY - AMBIENT_GROUND) * (0.5 + 0.5 * normal[:, 2])
    return ambient + ((normal @ directions.T).clamp_min(0.0) * intensities).sum(dim=1)


def _encode(value: Tensor) -> Tensor:
    """Linear light to sRGB."""
    value = value.clamp(0.0, 1.0)
    return torch.where(value <= 0.0031308, value * 12.92, 1.055 * value ** (1 / 2.4) - 0.055)
