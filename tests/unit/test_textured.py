"""A dense surface as a light one with a texture."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from orster_cli.geometry.mesh import Material, Mesh, with_colors
from orster_cli.geometry.orbit import orbit_azimuths, orbit_cameras
from orster_cli.geometry.surface_nets import surface_nets, vertex_normals
from orster_cli.geometry.textured import simplified, textured
from orster_cli.mesh_render.render import render_mesh

AXES = np.array([0.5, 0.3, 0.2])
CAMERAS = orbit_cameras(orbit_azimuths(4), width=96, height=96)


def stripes(places: np.ndarray) -> np.ndarray:
    """[P,3] sRGB colours of `places` [P,3]: eleven stripes along the long side, narrower than the triangles
    of a light surface."""
    dark = (np.floor(places[:, 0] * 11) % 2 == 0)[:, None]
    return np.where(dark, [0.1, 0.2, 0.6], [0.9, 0.8, 0.3])


@pytest.fixture(scope="module")
def dense() -> tuple[np.ndarray, np.ndarray]:
    line = np.linspace(-0.6, 0.6, 80)
    grid = np.stack(np.meshgrid(line, line, line, indexing="ij"), axis=-1)
    vertices, triangles = surface_nets(np.linalg.norm(grid / AXES, axis=-1) - 1)
    return line[0] + (line[1] - line[0]) * vertices, triangles


def seen(mesh: Mesh) -> torch.Tensor:
    drawn = render_mesh(mesh, CAMERAS, supersample=2)
    return drawn.rgb * drawn.alpha + (1 - drawn.alpha)


def apart(mesh: Mesh, other: Mesh) -> float:
    """PSNR in dB."""
    return float(-10 * (seen(mesh) - seen(other)).square().mean().log10())


def test_a_light_surface_looks_as_the_dense_one_that_it_is_made_from(
    dense: tuple[np.ndarray, np.ndarray],
) -> None:
    vertices, triangles = dense
    whole = textured(vertices, triangles, stripes, side=512)
    few, corners = simplified(vertices, triangles, 500)
    assert len(corners) <= 500 < len(triangles) / 20
    light = textured(few, corners, stripes, side=512)
    near = apart(light, whole)
    assert near > 28
    colored = with_colors(few, vertex_normals(few, corners), stripes(few), corners, Material())
    assert apart(colored, whole) < near - 5  # colours at its vertices have no stripes between
    outwards = (light.normals * light.vertices).sum(axis=1)
    assert float(outwards.min()) > 0
    np.testing.assert_allclose(np.linalg.norm(light.vertices / AXES, axis=1), 1, atol=0.03)


def test_every_texel_has_a_colour_of_the_surface_also_between_its_parts(
    dense: tuple[np.ndarray, np.ndarray],
) -> None:
    vertices, triangles = simplified(*dense, 300)
    made = [
        textured(vertices, triangles, lambda places: np.full((len(places), 3), 0.4), side=64)
        for _ in range(2)
    ]
    texture = made[0].materials[0].texture
    assert texture is not None
    assert {tuple(texel) for level in texture.levels for texel in level.reshape(-1, 4)} == {
        (102, 102, 102, 255)
    }
    assert float(made[0].uvs.min()) >= 0
    assert float(made[0].uvs.max()) <= 1
    for name in ("vertices", "triangles", "uvs", "normals"):  # the same for the same surface
        np.testing.assert_array_equal(getattr(made[0], name), getattr(made[1], name))


def test_what_has_few_triangles_keeps_them(dense: tuple[np.ndarray, np.ndarray]) -> None:
    vertices, triangles = dense
    kept = simplified(vertices, triangles, len(triangles))
    assert kept[0] is vertices
    assert kept[1] is triangles
