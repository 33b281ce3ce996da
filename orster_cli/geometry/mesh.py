"""Triangle meshes with materials in the world frame (+Z up), as the renderer takes them.

V vertices, F triangles. Colours of materials and vertices are linear; texels are sRGB bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

OPAQUE, MASK, BLEND = 0, 1, 2
REPEAT, CLAMP, MIRROR = 0, 1, 2


@dataclass(frozen=True, eq=False)
class Texture:
    """Mip levels [h,w,4] uint8 (sRGB colour, linear alpha), the full size first."""

    levels: tuple[np.ndarray, ...]
    wrap_u: int = REPEAT
    wrap_v: int = REPEAT
    nearest: bool = False


@dataclass(frozen=True, eq=False, kw_only=True)
class Material:
    """Surface properties. Metalness, roughness and normal maps are not rendered. Triangles that are not
    `double_sided` are seen from the side on which their vertices run counter-clockwise."""

    base_color: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
    emissive: tuple[float, float, float] = (0.0, 0.0, 0.0)
    texture: Texture | None = None
    emissive_texture: Texture | None = None
    alpha_mode: int = OPAQUE
    alpha_cutoff: float = 0.5
    unlit: bool = False
    double_sided: bool = True


@dataclass(frozen=True, eq=False, kw_only=True)
class Mesh:
    """A mesh at one time.

    `vertices` [V,3] and unit `normals` [V,3] float64; `colors` [V,4] linear float32; `uvs` [V,4]
    float32: base colour (u, v), emission (u, v), v down from the image's top; `triangles` [F,3]
    and `material_ids` [F] int32. Over time the first two change, and the direction of triangles that
    become mirrored.
    """

    vertices: np.ndarray
    normals: np.ndarray
    colors: np.ndarray
    uvs: np.ndarray
    triangles: np.ndarray
    material_ids: np.ndarray
    materials: tuple[Material, ...] = field(default=(Material(),))

    def transformed(self, scale: float, offset: np.ndarray) -> Mesh:
        """The same mesh with vertices ``scale * v + offset``; `offset` [3], `scale` > 0."""
        return Mesh(
            vertices=self.vertices * scale + offset,
            normals=self.normals,
            colors=self.colors,
            uvs=self.uvs,
            triangles=self.triangles,
            material_ids=self.material_ids,
            materials=self.materials,
        )


@dataclass(frozen=True, eq=False)
class SurfacePoints:
    """P points that stay at their places on a surface while it moves: each has the `corners` [P,3] of its
    triangle, indices of vertices, and barycentric `shares` [P,3] of them."""

    corners: np.ndarray
    shares: np.ndarray

    def at(self, vertices: np.ndarray) -> np.ndarray:
        """[P,3] where they are for the mesh's `vertices` [V,3]."""
        places: np.ndarray = (vertices[self.corners] * self.shares[..., None]).sum(axis=1)
        return places

    def normals(self, mesh: Mesh) -> np.ndarray:
        """[P,3] unit normals there of a `mesh` with these triangles."""
        blended = self.at(mesh.normals)
        size = np.linalg.norm(blended, axis=1, keepdims=True)
        found: np.ndarray = blended / np.maximum(size, 1e-6)
        return found


def points_on_surface(mesh: Mesh, count: int) -> SurfacePoints:
    """`count` points drawn evenly by area, the same ones for equal meshes."""
    draw = np.random.default_rng(0)
    a, b, c = mesh.vertices[mesh.triangles].swapaxes(0, 1)
    area = np.linalg.norm(np.cross(b - a, c - a), axis=-1)
    total = float(area.sum())
    drawn = draw.choice(len(area), count, p=area / total if total > 0 else None)
    return SurfacePoints(mesh.triangles[drawn], draw.dirichlet((1.0, 1.0, 1.0), count))


def srgb_to_linear(value: np.ndarray) -> np.ndarray:
    """sRGB values in [0,1] to linear light (IEC 61966-2-1)."""
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def with_colors(
    vertices: np.ndarray,
    normals: np.ndarray,
    colors: np.ndarray,
    triangles: np.ndarray,
    material: Material,
) -> Mesh:
    """A mesh of one `material` whose vertices [V,3] have `normals` [V,3] and sRGB `colors` [V,3]."""
    opaque = np.ones((len(vertices), 1))
    return Mesh(
        vertices=vertices,
        normals=normals,
        colors=np.concatenate([srgb_to_linear(colors), opaque], axis=1).astype(np.float32),
        uvs=np.zeros((len(vertices), 4), np.float32),
        triangles=triangles.astype(np.int32),
        material_ids=np.zeros(len(triangles), np.int32),
        materials=(material,),
    )


SRGB_LUT = srgb_to_linear(np.arange(256) / 255.0)  # linear value of each sRGB byte


def linear_to_srgb(value: np.ndarray) -> np.ndarray:
    """Linear light in [0,1] to sRGB values (IEC 61966-2-1)."""
    value = np.clip(value, 0.0, 1.0)
    return np.where(value <= 0.0031308, value * 12.92, 1.055 * value ** (1 / 2.4) - 0.055)


def mip_levels(image: np.ndarray) -> tuple[np.ndarray, ...]:
    """The mip chain of `image` [h,w,4] uint8 down to 1 x 1, averaging 2 x 2 texels in linear light.

    At an odd size the last row or column is dropped, as graphics hardware may do."""
    levels = [np.ascontiguousarray(image)]
    linear = np.concatenate(
        [SRGB_LUT.astype(np.float32)[image[..., :3]], image[..., 3:] / np.float32(255.0)], axis=-1
    )
    while linear.shape[0] > 1 or linear.shape[1] > 1:
        h, w = max(linear.shape[0] // 2, 1), max(linear.shape[1] // 2, 1)
        rows = 2 if linear.shape[0] > 1 else 1
        columns = 2 if linear.shape[1] > 1 else 1
        linear = linear[: h * rows, : w * columns]
        linear = linear.reshape(h, rows, w, columns, 4).mean(axis=(1, 3))
        encoded = linear.copy()
        encoded[..., :3] = linear_to_srgb(linear[..., :3])
        levels.append(np.round(encoded * 255.0).astype(np.uint8))
    return tuple(levels)
