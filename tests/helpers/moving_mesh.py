"""A mesh file without any symmetry, and an asset of Gaussians on its surface that moves in a known way.

The object stands upright (+Y in the file), off the centre and larger than 1: a textured body, a green head
on top and a yellow hand towards the file's +X and +Z.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from orster_cli.core.types import SH_C0, Gaussians
from orster_cli.export.source_mesh import TO_Z_UP, SourceMesh, open_source_mesh
from orster_cli.geometry.mesh import srgb_to_linear
from orster_cli.splatting.gaussians4d import Gaussians4D
from tests.helpers.assets import moving
from tests.helpers.glb import Glb

# centre and radii in the file's coordinates
BODY = (np.array([3.0, 1.0, -2.0]), np.array([0.9, 1.1, 0.6]))
HEAD = (np.array([3.0, 2.5, -2.0]), np.array([0.45, 0.5, 0.45]))
HAND = (np.array([4.1, 1.3, -1.5]), np.array([0.35, 0.3, 0.3]))
GREEN, YELLOW = np.array([0.1, 0.8, 0.2]), np.array([0.95, 0.85, 0.05])


def ball(
    part: tuple[np.ndarray, np.ndarray], rows: int, columns: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points [V,3] of an ellipsoid, (u, v) [V,2] with v down from the top, and triangles [F,3] whose
    corners run counter-clockwise seen from outside."""
    centre, radii = part
    v, u = np.meshgrid(np.linspace(0, 1, rows + 1), np.linspace(0, 1, columns + 1), indexing="ij")
    polar, around = np.pi * v, 2 * np.pi * u
    unit = [np.sin(polar) * np.cos(around), np.cos(polar), np.sin(polar) * np.sin(around)]
    points = centre + radii * np.stack(unit, axis=-1).reshape(-1, 3)
    corner = (np.arange(rows)[:, None] * (columns + 1) + np.arange(columns)).reshape(-1, 1)
    first = corner + np.array([0, 1, columns + 2])
    second = corner + np.array([0, columns + 2, columns + 1])
    return points, np.stack([u, v], axis=-1).reshape(-1, 2), np.concatenate([first, second])


def body_colors(uv: np.ndarray) -> np.ndarray:
    """[V,3] sRGB: blue above, red below, lighter on one side."""
    light = 0.15 * np.cos(2 * np.pi * uv[:, :1])
    return np.clip([0.2, 0.3, 0.8] + uv[:, 1:] * np.array([0.6, -0.1, -0.6]) + light, 0, 1)


def lopsided_glb(path: Path) -> Path:
    """The file: one texture, vertex colours, no lights, no animation."""
    glb = Glb()
    side = (np.arange(64) + 0.5) / 64
    v, u = np.meshgrid(side, side, indexing="ij")
    image = body_colors(np.stack([u, v], axis=-1).reshape(-1, 2)).reshape(64, 64, 3)
    texture = glb.image((image * 255).round().astype(np.uint8))
    unlit = {"extensions": {"KHR_materials_unlit": {}}}
    glb.root["materials"] = [
        {"pbrMetallicRoughness": {"baseColorTexture": {"index": texture}}, **unlit},
        unlit,
    ]
    glb.root["extensionsUsed"] = ["KHR_materials_unlit"]
    primitives = []
    for part, color in ((BODY, None), (HEAD, GREEN), (HAND, YELLOW)):
        points, uv, triangles = ball(part, 12, 20)
        if color is None:
            more = {"TEXCOORD_0": glb.accessor(uv, "VEC2")}
        else:
            linear = np.tile(srgb_to_linear(color), (len(points), 1))
            more = {"COLOR_0": glb.accessor(linear, "VEC3")}
        normals = (points - part[0]) / part[1] ** 2
        normals /= np.linalg.norm(normals, axis=1, keepdims=True)
        entry = glb.mesh(
            points, triangles.reshape(-1), NORMAL=glb.accessor(normals, "VEC3"), **more
        )
        bounds = {"min": points.min(axis=0).tolist(), "max": points.max(axis=0).tolist()}
        glb.root["accessors"][entry["attributes"]["POSITION"]] |= bounds
        primitives.append({**entry, "material": int(color is not None)})
    glb.root["meshes"] = [{"primitives": primitives, "name": "thing"}]
    return glb.save(path)


def surface_asset(source: SourceMesh, *, amount: float = 0.015) -> Gaussians4D:
    """Opaque Gaussians on the surface at time 0, which move by about 0.05 of the longest side."""
    place = source.normalization
    places, colors, sizes = [], [], []
    for part, color, rows in ((BODY, None, 44), (HEAD, GREEN, 24), (HAND, YELLOW, 18)):
        size = 2.0 * float(part[1].max()) / rows * place.scale  # neighbours overlap
        inside = part[1] - 2.1 * size / place.scale  # they reach the surface
        points, uv, _ = ball((part[0], inside), rows, 2 * rows)
        places.append(points)
        colors.append(body_colors(uv) if color is None else np.tile(color, (len(points), 1)))
        sizes.append(np.full((len(points), 3), size))
    means = torch.from_numpy(
        place.scale * np.concatenate(places) @ TO_Z_UP.T + place.offset
    ).float()
    count = len(means)
    gaussians = Gaussians(
        means=means,
        log_scales=torch.from_numpy(np.log(np.concatenate(sizes))).float(),
        quats=torch.tensor([1.0, 0, 0, 0]).expand(count, 4).clone(),
        opacity_logits=torch.full((count,), 4.0),
        sh=(torch.from_numpy(np.concatenate(colors)).float()[:, None] - 0.5) / SH_C0,
    )
    asset = moving(gaussians, amount=amount)
    with torch.no_grad():
        for _ in range(60):  # the field moves them at time 0 as well
            away = asset.at(0.0).means - means
            found = replace(asset.canonical, means=asset.canonical.means - 0.5 * away)
            asset = replace(asset, canonical=found)
    assert float((asset.at(0.0).means - means).abs().max()) < 1e-3
    return asset


def opened(path: Path) -> SourceMesh:
    """The mesh of `lopsided_glb`, placed as an asset of it would be."""
    return open_source_mesh(lopsided_glb(path))
