"""A mesh as flat arrays for the rasterizers: materials in tables, textures in one byte array.

S textures, L mip levels, G materials.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from orster_cli.geometry.mesh import Material, Texture

MAX_LAYERS = 16  # transparent layers per sample; deeper ones are ignored
MAX_LEVELS = 16  # mip levels of a texture: sides up to 2^15

# columns of `Packed.materials`
BASE, EMISSIVE, CUTOFF, MODE, UNLIT, TEXTURE, EMISSIVE_TEXTURE = 0, 4, 7, 8, 9, 10, 11
DOUBLE_SIDED, MATERIAL_COLUMNS = 12, 13


@dataclass(frozen=True, eq=False)
class Packed:
    """`materials` [G,13] float64 (columns named above, -1: no texture); `texels` [*,4] uint8;
    `levels` [S,L,3] int64: first texel, width, height; `samplers` [S,4] int64: wrap u, wrap v,
    nearest, number of levels."""

    materials: np.ndarray
    texels: np.ndarray
    levels: np.ndarray
    samplers: np.ndarray


@lru_cache(maxsize=4)
def pack_materials(materials: tuple[Material, ...]) -> Packed:
    """Flat tables of `materials`; cached for the last four objects, since each renders many frames."""
    textures: list[Texture] = []

    def index(texture: Texture | None) -> int:
        if texture is None:
            return -1
        if texture not in textures:
            textures.append(texture)
        return textures.index(texture)

    table = np.zeros((len(materials), MATERIAL_COLUMNS))
    for row, material in zip(table, materials, strict=True):
        row[BASE : BASE + 4] = material.base_color
        row[EMISSIVE : EMISSIVE + 3] = material.emissive
        row[CUTOFF], row[MODE] = material.alpha_cutoff, material.alpha_mode
        row[UNLIT], row[DOUBLE_SIDED] = material.unlit, material.double_sided
        row[TEXTURE] = index(material.texture)
        row[EMISSIVE_TEXTURE] = index(material.emissive_texture)
    levels = np.zeros((max(len(textures), 1), MAX_LEVELS, 3), np.int64)
    samplers = np.zeros((max(len(textures), 1), 4), np.int64)
    parts: list[np.ndarray] = [np.zeros((1, 4), np.uint8)]
    offset = 1
    for s, texture in enumerate(textures):
        used = texture.levels[:MAX_LEVELS]
        samplers[s] = texture.wrap_u, texture.wrap_v, texture.nearest, len(used)
        for k, level in enumerate(used):
            height, width = level.shape[:2]
            levels[s, k] = offset, width, height
            parts.append(level.reshape(-1, 4))
            offset += width * height
    return Packed(table, np.concatenate(parts), levels, samplers)
