"""A coloured mesh of an object that only pictures of an orbit show: its visual hull, wearing what the views
that see each point best show there. Its points can be moved and rendered again.

T views, H W pixels, V vertices, F triangles.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from orster_cli.core.errors import InputError
from orster_cli.core.types import Cameras, OrbitClip
from orster_cli.geometry.carving import carve, grid_axes, silhouette
from orster_cli.geometry.mesh import Material, Mesh, with_colors
from orster_cli.geometry.nearest_points import nearest_points
from orster_cli.geometry.projection import project, sample_image
from orster_cli.geometry.surface_nets import large_parts, surface_nets, vertex_normals
from orster_cli.io.matting import matte, spread_colors
from orster_cli.mesh_render.render import render_mesh

VIEWS = 32  # more take longer, and make the mesh no more like its pictures
SIDES = 0.1  # least share of the views' directions across the main one: of one side it is a cone
HALF = 0.68  # half the side of the volume in which the object is
COARSE, SPACING = 0.035, 0.009  # world units between grid points that find it, and that carve it
FINER = 2  # the pictures are enlarged as much: between pixels, opacities bend
LEVEL = 0.4  # opacity at the outline: all views must agree on a point, so that each gives a little
REACH = 2.5  # enlarged pixels beyond an outline that values tell apart
SMALL_PART = 0.01  # of the vertices: smaller loose parts are left out
SOLID = 0.95  # opacity from which on a pixel's colour is the object's own
EDGE, CORE = 2, 3  # pixels beside the background that may be mixed, and from there to unmixed ones
FAINT = 0.12  # difference to the background that an unmixed colour has at least
SHARP = 3.0  # power of the cosine by which a view counts: few views, or colours blur
HIDDEN = 0.02  # world units behind the nearest surface from which on a point is not seen
SEEN = 0.03  # weight of all views up to which a vertex takes the colour of `NEIGHBOURS` seen ones
NEIGHBOURS = 8


def hull_mesh(orbit: OrbitClip, *, where: str) -> Mesh:
    """The object in `orbit`, which is static: pictures with opacities, or on a plain background.
    InputError: no object is seen, or it is seen from too few sides."""
    orbit = _thinned(orbit)
    towards = F.normalize(orbit.cameras.positions.double(), dim=-1)
    if float(torch.linalg.eigvalsh(towards.T @ towards / len(towards))[1]) < SIDES:
        raise InputError(f"{where}: it is seen from too few sides to have a surface")
    opacity, frames = _cut_out(orbit, where)
    vertices, triangles = _surface(opacity, orbit.cameras, where)
    normals = vertex_normals(vertices, triangles)
    unlit = Material(unlit=True)
    grey = with_colors(vertices, normals, np.full((len(vertices), 3), 0.5), triangles, unlit)
    own = opacity >= SOLID
    pictures = [
        spread_colors(a, b) if bool(b.any()) else a for a, b in zip(frames, own, strict=True)
    ]
    colors = _colors(grey, torch.stack(pictures), orbit.cameras)
    return with_colors(vertices, normals, colors, triangles, unlit)


def _thinned(orbit: OrbitClip) -> OrbitClip:
    """Every n-th view of `orbit`, so that there are `VIEWS` or a few more."""
    step = max(len(orbit) // VIEWS, 1)
    alpha = None if orbit.alpha is None else orbit.alpha[::step]
    return OrbitClip(
        frames=orbit.frames[::step],
        alpha=alpha,
        cameras=orbit.cameras[::step],
        times=orbit.times[::step],
    )


def _cut_out(orbit: OrbitClip, where: str) -> tuple[Tensor, Tensor]:
    """Opacities [T,H,W] and straight colours [T,3,H,W].

    White that the object encloses is a gap: those between arms and body are many, and shaded objects are
    rarely as white. At edges, where a matte takes for solid what differs clearly from the background,
    opacity is the share of the difference that the nearest unmixed pixel has: blurred edges stay where
    they are."""
    if orbit.alpha is not None:
        return orbit.alpha[:, 0], orbit.frames
    found = matte(orbit.frames, where=where, gaps=True)
    opacity = found.alpha[:, 0]
    differs = (orbit.frames - found.behind).abs().amax(dim=1)
    edge = F.max_pool2d((opacity == 0).float(), 2 * EDGE + 1, stride=1, padding=EDGE) > 0
    around = F.max_pool2d(differs, 2 * EDGE + 1, stride=1, padding=EDGE)
    out = opacity.clone()
    for number, mixed in enumerate(edge):
        full = around[number]
        if not bool(mixed.all()):
            away, (y, x) = distance_transform_edt(mixed.numpy(), return_indices=True)
            unmixed = differs[number][torch.from_numpy(y).long(), torch.from_numpy(x).long()]
            full = torch.where(torch.from_numpy(away) <= CORE, unmixed, full)
        share = (differs[number] / full.clamp_min(FAINT)).clamp(0, 1)
        out[number] = torch.where(mixed & (opacity[number] > 0), share, opacity[number])
    return out, found.frames


def _surface(opacity: Tensor, cameras: Cameras, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Vertices [V,3] and triangles [F,3] of the hull of opacities [T,H,W]."""
    fine = F.interpolate(opacity[:, None], scale_factor=FINER, mode="bicubic")[:, 0]
    outlines = torch.stack([silhouette(one, LEVEL) for one in fine])
    finer = cameras.resized(FINER * cameras.width, FINER * cameras.height)
    axes = grid_axes(np.full(3, -HALF), np.full(3, HALF), COARSE)
    # a point of the coarse grid counts if there may be any of the object around it
    around = COARSE * float(finer.K[0, 0, 0] / finer.positions[0].norm())
    found = np.argwhere(carve(outlines, finer, axes, around) < around)
    if not len(found):
        raise InputError(f"{where}: no object is seen", code="E-BLANK")
    low, high = (
        np.array([float(axis[k]) for axis, k in zip(axes, ends, strict=True)])
        for ends in (found.min(axis=0), found.max(axis=0))
    )
    axes = grid_axes(low - COARSE, high + COARSE, SPACING)
    vertices, triangles = surface_nets(carve(outlines, finer, axes, REACH))
    if not len(triangles):
        raise InputError(f"{where}: no object is seen", code="E-BLANK")
    vertices, triangles = large_parts(vertices, triangles, SMALL_PART)
    return low - COARSE + SPACING * vertices, triangles


def _colors(mesh: Mesh, pictures: Tensor, cameras: Cameras) -> np.ndarray:
    """[V,3] sRGB colours of the vertices of `mesh` from `pictures` [T,3,H,W] that have colours beyond the
    outlines, too."""
    depths = F.max_pool2d(render_mesh(mesh, cameras, supersample=1).depth, 3, stride=1, padding=1)
    points, normals = (torch.from_numpy(one).float() for one in (mesh.vertices, mesh.normals))
    total, weight = torch.zeros(len(points), 3), torch.full((len(points), 1), 1e-12)
    for view, picture in enumerate(pictures):
        place, depth = project(points, cameras, view)
        shown = sample_image(torch.cat([picture, depths[view]]), place)
        faces = (F.normalize(cameras.positions[view] - points, dim=-1) * normals).sum(dim=-1)
        counts = (faces.clamp_min(0) ** SHARP * (depth <= shown[:, 3] + HIDDEN))[:, None]
        total += counts * shown[:, :3]
        weight += counts
    colors, seen = (total / weight).numpy(), weight[:, 0].numpy() > SEEN
    if bool(seen.any()) and not bool(seen.all()):
        _, near = nearest_points(mesh.vertices[seen], mesh.vertices[~seen], NEIGHBOURS)
        colors[~seen] = colors[seen][near].mean(axis=1)
    return np.clip(colors, 0, 1)
