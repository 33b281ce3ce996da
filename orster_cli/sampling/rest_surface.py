"""The object at rest that a model makes of a text, as a surface. P places."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from orster_cli.core.errors import InputError
from orster_cli.diffusion.bundle import WholeBundle
from orster_cli.diffusion.rest_regressor import UNIT, RestRegressor, Triplanes
from orster_cli.geometry.mesh import Mesh
from orster_cli.geometry.surface_nets import large_parts, surface_nets
from orster_cli.geometry.textured import simplified, textured
from orster_cli.gltf.normalization import place_points
from orster_cli.gltf.still import still_glb
from orster_cli.sampling.shown import Shown, rendered

COARSE, SPACING = 0.032, 0.008  # world units between grid points that find it, and that make it
# world units by which the distances of solid things are told too thick, less what the grid takes off; and
# how deep they are inside, where sheets are not, whose edges would fray
SKIN, DEEP, WINDOW = 0.0012, 0.008, 3
AT_ONCE = 100_000  # places that are read together
SMALL_PART = 0.002  # of the vertices: smaller loose parts are left out
# 33.68 dB near to the truth, and 33.82 with all 40,000 to 150,000 triangles and a colour at each vertex
TRIANGLES, TEXELS = 10_000, 512


def regressed_object(bundle: WholeBundle, text: str) -> Shown:
    """What shows the object that `bundle.rest` makes of a `text`, placed as a given object is."""

    @cache
    def mesh() -> Mesh:
        assert bundle.rest is not None
        with torch.no_grad():
            planes = bundle.rest(bundle.encoder.text([text]))
            made = surface_mesh(bundle.rest, planes, where=text)
        placed = place_points(made.vertices)
        return made.transformed(placed.scale, placed.offset)

    return Shown(lambda cameras: rendered(mesh(), cameras), mesh)


def as_file(mesh: Mesh) -> bytes:
    """A regressed `mesh` as a `.glb`."""
    texture = mesh.materials[0].texture
    assert texture is not None
    seen = mesh.uvs[:, :2], texture.levels[0][..., :3]
    return still_glb(mesh.vertices, mesh.normals, mesh.triangles, texture=seen, lit=True)


@torch.no_grad()
def surface_mesh(rest: RestRegressor, made: Triplanes, *, where: str) -> Mesh:
    """The surface of the one object that is `made`. InputError: it has none."""
    low, high = made.low[0].cpu(), made.high[0].cpu()
    coarse = _grid(low, high, COARSE)
    found = _read(rest, made, coarse.view(-1, 3))[:, 0].view(coarse.shape[:3])
    fine = _grid(low, high, SPACING)
    values = F.interpolate(found[None, None], fine.shape[:3], mode="trilinear", align_corners=True)[
        0, 0
    ]
    near = values.abs() < COARSE / UNIT
    values[near] = _read(rest, made, fine[near])[:, 0]
    around = -F.max_pool3d(-values[None, None], WINDOW, stride=1, padding=WINDOW // 2)[0, 0]
    values = values + (SKIN / UNIT) * (around < -DEEP / UNIT)
    for axis in range(3):  # closed at the border of the box
        values.select(axis, 0).clamp_(min=SPACING)
        values.select(axis, -1).clamp_(min=SPACING)
    if not bool((values < 0).any()):
        raise InputError(f"{where}: the model makes no surface of it")
    vertices, triangles = surface_nets(values.double().numpy())
    vertices, triangles = large_parts(vertices, triangles, SMALL_PART)
    vertices = fine[0, 0, 0].numpy() + (fine[1, 1, 1] - fine[0, 0, 0]).numpy() * vertices

    def colors(places: np.ndarray) -> np.ndarray:
        read: np.ndarray = _read(rest, made, torch.from_numpy(places).float())[:, 1:].numpy()
        return read

    vertices, triangles = simplified(vertices, triangles, TRIANGLES)
    return textured(vertices, triangles, colors, side=TEXELS)


def _grid(low: Tensor, high: Tensor, spacing: float) -> Tensor:
    """[X,Y,Z,3] points about `spacing` apart, from corner to corner of a box."""
    lines = [
        torch.linspace(start, end, max(round((end - start) / spacing), 1) + 1)
        for start, end in zip(low.tolist(), high.tolist(), strict=True)
    ]
    return torch.stack(torch.meshgrid(*lines, indexing="ij"), dim=-1)


def _read(rest: RestRegressor, made: Triplanes, places: Tensor) -> Tensor:
    """[P,4] distances from the surface and colours at `places` [P,3]."""
    out = []
    for some in places.to(made.planes.device).split(AT_ONCE):
        far, colors = rest.at(made, some[None])
        out.append(torch.cat([far[0, :, None], colors[0]], dim=-1).cpu())
    return torch.cat(out)
