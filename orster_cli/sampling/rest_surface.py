"""The object at rest that a model makes of a text, as a surface. P places, C channels, R cells."""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from orster_cli.core.errors import InputError
from orster_cli.diffusion.bundle import WholeBundle
from orster_cli.diffusion.rest_regressor import HALF, UNIT, RestRegressor
from orster_cli.geometry.mesh import Material, Mesh, with_colors
from orster_cli.geometry.surface_nets import large_parts, surface_nets, vertex_normals
from orster_cli.sampling.shown import Shown, rendered

COARSE, SPACING = 0.032, 0.008  # world units between grid points that find it, and that make it
AT_ONCE = 100_000  # places that are read together
SMALL_PART = 0.002  # of the vertices: smaller loose parts are left out


def regressed_object(bundle: WholeBundle, text: str) -> Shown:
    """What shows the object that `bundle.rest` makes of a `text`."""

    @cache
    def mesh() -> Mesh:
        assert bundle.rest is not None
        with torch.no_grad():
            planes = bundle.rest(bundle.encoder.text([text]))
            return surface_mesh(bundle.rest, planes, where=text)

    return Shown(lambda cameras: rendered(mesh(), cameras), mesh)


@torch.no_grad()
def surface_mesh(rest: RestRegressor, planes: Tensor, *, where: str) -> Mesh:
    """The surface of the object of `planes` [1,3,C,R,R]. InputError: it has none."""
    coarse = _grid(COARSE)
    found = _read(rest, planes, _places(coarse))[:, 0].view([len(coarse)] * 3)
    fine = _grid(SPACING)
    size = [len(fine)] * 3
    values = F.interpolate(found[None, None], size, mode="trilinear", align_corners=True)[0, 0]
    near = torch.nonzero(values.abs() < COARSE / UNIT)
    values[tuple(near.T)] = _read(rest, planes, fine[near])[:, 0]
    for axis in range(3):  # closed at the border of the volume
        values.select(axis, 0).clamp_(min=SPACING)
        values.select(axis, -1).clamp_(min=SPACING)
    if not bool((values < 0).any()):
        raise InputError(f"{where}: the model makes no surface of it")
    vertices, triangles = surface_nets(values.double().numpy())
    vertices, triangles = large_parts(vertices, triangles, SMALL_PART)
    vertices = float(fine[0]) + float(fine[1] - fine[0]) * vertices
    colors = _read(rest, planes, torch.from_numpy(vertices).float())[:, 1:].clamp(0, 1).numpy()
    normals = vertex_normals(vertices, triangles)
    return with_colors(vertices, normals, colors, triangles, Material())


def _grid(spacing: float) -> Tensor:
    """Coordinates of grid points along one side of the volume."""
    return torch.linspace(-HALF, HALF, round(2 * HALF / spacing) + 1)


def _places(axis: Tensor) -> Tensor:
    """[P,3] of a grid."""
    return torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1).view(-1, 3)


def _read(rest: RestRegressor, planes: Tensor, places: Tensor) -> Tensor:
    """[P,4] distances from the surface and colours at `places` [P,3]."""
    out = []
    for some in places.to(planes.device).split(AT_ONCE):
        far, colors = rest.at(planes, some[None])
        out.append(torch.cat([far[0, :, None], colors[0]], dim=-1).cpu())
    return torch.cat(out)
