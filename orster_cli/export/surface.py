"""A surface made from Gaussians, for assets that came from no mesh: approximate.

The opacity of the Gaussians at time 0 is drawn on a grid, and what they enclose is filled. Surface nets
(Gibson 1998) make the mesh: one vertex in each cell that the surface crosses, one square across each grid
edge that it cuts. Colours are those of the nearest Gaussians. N Gaussians, X Y Z grid points, V vertices.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import binary_closing, binary_erosion, binary_fill_holes, gaussian_filter
from scipy.spatial.transform import Rotation

from orster_cli.core.errors import InputError
from orster_cli.core.types import Gaussians
from orster_cli.export.source_mesh import SourceMesh
from orster_cli.geometry.mesh import srgb_to_linear
from orster_cli.geometry.nearest_points import bell, nearest_points
from orster_cli.geometry.similarity import Similarity
from orster_cli.geometry.surface_nets import large_parts, surface_nets, vertex_normals
from orster_cli.gltf.container import read_gltf
from orster_cli.gltf.load import read_scene
from orster_cli.gltf.normalization import Normalization
from orster_cli.gltf.still import still_glb
from orster_cli.splatting.raster_rules import ALPHA_MAX, ALPHA_MIN

CELLS = 96  # along the longest side
REACH = 3.0  # standard deviations to which a Gaussian is drawn
LEVEL = 0.22  # opacity at the surface: what renders closest to the Gaussians at this grid (docs/export.md)
CLOSING = 2  # cells: gaps of this width do not open the inside
SMOOTHING = 0.6  # cells
SMALL_PART = 0.02  # of the vertices: smaller loose parts are left out
COLOR_NEIGHBOURS = 6


def surface_source(gaussians: Gaussians, path: Path, world: Similarity | None = None) -> SourceMesh:
    """A mesh of `gaussians` (the asset at time 0), written to `path` as a still `.glb`. `world` brings its
    coordinates to the asset's own; None: they are these. InputError: they enclose nothing."""
    world = world or Similarity()
    vertices, triangles = extract_surface(gaussians)
    normals = vertex_normals(vertices, triangles)
    rgb = srgb_to_linear(_colors(gaussians, vertices))
    places = vertices / world.scale + world.center
    path.write_bytes(still_glb(places, normals, triangles, colors=rgb))
    document = read_gltf(path)
    place = Normalization(
        scale=world.scale, offset=-world.scale * np.array(world.center), reason="unit"
    )
    return SourceMesh(document, read_scene(document, unweld=False), None, place)


def extract_surface(gaussians: Gaussians, *, cells: int = CELLS) -> tuple[np.ndarray, np.ndarray]:
    """Vertices [V,3] and triangles [F,3], seen from outside counter-clockwise. InputError."""
    low, high = _box(gaussians)
    step = float((high - low).max()) / cells
    margin = 4 * step
    axes = [np.arange(a - margin, b + margin + step, step) for a, b in zip(low, high, strict=True)]
    values = gaussian_filter(_outside(gaussians, axes, step), SMOOTHING)
    vertices, triangles = surface_nets(values)
    if not len(triangles):
        raise InputError("no surface is found around the Gaussians", code="E-NO-SURFACE")
    origin = np.array([axis[0] for axis in axes])
    return large_parts(vertices * step + origin, triangles, SMALL_PART)


def _outside(gaussians: Gaussians, axes: list[np.ndarray], step: float) -> np.ndarray:
    """[X,Y,Z] `LEVEL` minus how opaque the Gaussians are at each point, 1 - prod(1 - alpha); positive
    outside. What they enclose is inside."""
    clear = np.zeros([len(axis) for axis in axes])  # log of the product
    scales = gaussians.log_scales.double().exp().clamp_min(0.5 * step).cpu().numpy()
    quats = torch.nn.functional.normalize(gaussians.quats.double(), dim=-1).cpu().numpy()
    turns = Rotation.from_quat(quats[:, [1, 2, 3, 0]]).as_matrix()
    opacity = gaussians.opacity_logits.sigmoid().double().cpu().numpy()
    means = gaussians.means.double().cpu().numpy()
    # half the side of the box that holds REACH standard deviations
    sides = REACH * np.sqrt(np.einsum("nij,nj->ni", turns**2, scales**2))
    origin = np.array([axis[0] for axis in axes])
    first = np.maximum(np.ceil((means - sides - origin) / step), 0).astype(int)
    last = np.minimum(np.floor((means + sides - origin) / step), np.array(clear.shape) - 1).astype(
        int
    )
    for n in np.flatnonzero((last >= first).all(axis=1) & (opacity >= ALPHA_MIN)):
        box = tuple(slice(a, b + 1) for a, b in zip(first[n], last[n], strict=True))
        grid = np.meshgrid(*(axes[d][box[d]] - means[n, d] for d in range(3)), indexing="ij")
        local = np.stack(grid, axis=-1) @ turns[n] / scales[n]
        alpha = opacity[n] * np.exp(-0.5 * (local**2).sum(axis=-1))
        clear[box] += np.log1p(-np.minimum(alpha, ALPHA_MAX))
    values = LEVEL - (1.0 - np.exp(clear))
    solid = binary_fill_holes(binary_closing(values < 0, iterations=CLOSING))
    values[binary_erosion(solid, iterations=CLOSING + 1)] = -1.0
    return values


def _box(gaussians: Gaussians) -> tuple[np.ndarray, np.ndarray]:
    """Corners of the box of the Gaussians, without the outermost few."""
    means = gaussians.means.double().cpu().numpy()
    return np.quantile(means, 0.001, axis=0), np.quantile(means, 0.999, axis=0)


def _colors(gaussians: Gaussians, vertices: np.ndarray) -> np.ndarray:
    """[V,3] sRGB in [0,1]: the mean of the nearest Gaussians', weighted by opacity."""
    opacity = gaussians.opacity_logits.sigmoid().double().cpu().numpy()
    colors = gaussians.colors.clamp(0, 1).double().cpu().numpy()
    means = gaussians.means.double().cpu().numpy()
    apart, which = nearest_points(means, vertices, COLOR_NEIGHBOURS)
    return np.einsum("vk,vkc->vc", bell(apart, opacity[which] + 1e-6), colors[which])
