"""The renderer against areas, depths and colours computed by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from orster_cli.core.types import Cameras
from orster_cli.geometry.mesh import BLEND, CLAMP, MASK, Material, Mesh, Texture, mip_levels
from orster_cli.geometry.orbit import orbit_cameras
from orster_cli.mesh_render.render import render_mesh

SIZE = 64


def square(
    y: float = 0.0, half: float = 0.5, material: Material | None = None, colour: float = 1.0
) -> Mesh:
    """A square in the plane `y`, facing the camera at -Y; texture u to the right, v down."""
    corners = np.array([[-1, 0, -1], [1, 0, -1], [1, 0, 1], [-1, 0, 1]], float) * half
    corners[:, 1] = y
    uvs = np.array([[0, 1], [1, 1], [1, 0], [0, 0]], np.float32)
    return Mesh(
        vertices=corners,
        normals=np.tile([0.0, -1.0, 0.0], (4, 1)),
        colors=np.array([[colour] * 3 + [1]] * 4, np.float32),
        uvs=np.concatenate([uvs, uvs], axis=1),
        triangles=np.array([[0, 1, 2], [0, 2, 3]], np.int32),
        material_ids=np.zeros(2, np.int32),
        materials=(material or Material(unlit=True),),
    )


def joined(*meshes: Mesh) -> Mesh:
    offsets = np.cumsum([0] + [len(m.vertices) for m in meshes])
    return Mesh(
        vertices=np.concatenate([m.vertices for m in meshes]),
        normals=np.concatenate([m.normals for m in meshes]),
        colors=np.concatenate([m.colors for m in meshes]),
        uvs=np.concatenate([m.uvs for m in meshes]),
        triangles=np.concatenate(
            [m.triangles + o for m, o in zip(meshes, offsets, strict=False)]
        ).astype(np.int32),
        material_ids=np.repeat(np.arange(len(meshes), dtype=np.int32), 2),
        materials=tuple(m.materials[0] for m in meshes),
    )


def camera(focal: float = 64.0) -> Cameras:
    """At (0, -2, 0) looking along +Y."""
    front = orbit_cameras(torch.zeros(1), width=SIZE, height=SIZE)
    K = torch.tensor([[focal, 0, SIZE / 2], [0, focal, SIZE / 2], [0, 0, 1]])[None]
    return dataclasses.replace(front, K=K)


@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_coverage_and_depth_are_exact(backend: str) -> None:
    # focal 65 at distance 2: half a side is 16.25 pixels; a quarter of the border pixels is covered
    render = render_mesh(square(), camera(65.0), backend=backend)
    alpha = render.alpha[0, 0]
    assert alpha[16:48, 16:48].min() == 1
    assert alpha[15, 16:48].tolist() == pytest.approx([0.25] * 32)
    assert alpha[16:48, 48].tolist() == pytest.approx([0.25] * 32)
    assert alpha[15, 15] == pytest.approx(0.0625)
    assert alpha[:15].max() == 0
    assert alpha.sum() == pytest.approx(32.5**2)
    assert render.depth[0, 0][alpha > 0].unique().tolist() == [2.0]
    assert render.depth[0, 0][alpha == 0].max() == 0
    assert (render.rgb[0, :, 0, 0] == 1).all()


def test_depth_is_perspective_correct_on_a_slope() -> None:
    mesh = square(half=0.5)
    tilted = mesh.vertices.copy()
    tilted[:, 1] = tilted[:, 0]  # the right side lies farther away: y = x
    depth = render_mesh(dataclasses.replace(mesh, vertices=tilted), camera(), supersample=1).depth
    # the ray of pixel centre px is x = (px - 32)/64 z, and z = 2 + x: z = 2 / (1 - (px - 32)/64)
    for column in (24, 31, 40):
        slope = (column + 0.5 - 32) / 64
        assert depth[0, 0, 32, column] == pytest.approx(2 / (1 - slope), rel=1e-5)


def test_the_nearer_surface_hides_the_farther_one_in_any_order() -> None:
    red = square(-0.2, 0.2, Material(base_color=(1, 0, 0, 1), unlit=True))
    blue = square(0.2, 0.4, Material(base_color=(0, 0, 1, 1), unlit=True))
    for mesh in (joined(red, blue), joined(blue, red)):
        rgb = render_mesh(mesh, camera()).rgb[0]
        assert rgb[:, 32, 32].tolist() == [1, 0, 0]
        assert rgb[:, 32, 21].tolist() == [0, 0, 1]


def test_the_light_on_a_grey_wall() -> None:
    # linear 0.5 facing -Y. Ambient in the middle: 0.38. Key light: 0.42 cos 45 cos 35 = 0.24328;
    # the second is behind; the third: 0.22 cos 20 cos 75 = 0.05351. sRGB of 0.33839: 0.6167
    for upside_down in (1.0, -1.0):  # both sides of a surface are lit alike
        mesh = square(material=Material(), colour=0.5)
        mesh = dataclasses.replace(mesh, normals=mesh.normals * upside_down)
        rgb = render_mesh(mesh, camera()).rgb[0, :, 32, 32]
        assert rgb.tolist() == pytest.approx([0.6167] * 3, abs=2e-4)


def test_colours_are_converted_from_linear_light() -> None:
    rgb = render_mesh(square(colour=0.2140), camera()).rgb[0, :, 32, 32]
    assert rgb.tolist() == pytest.approx([0.5] * 3, abs=1e-3)  # sRGB 0.5 is 0.2140 linear


def test_emission_is_added() -> None:
    material = Material(base_color=(0, 0, 0, 1), emissive=(0.2140, 0, 0))
    rgb = render_mesh(square(material=material), camera()).rgb[0, :, 32, 32]
    assert rgb.tolist() == pytest.approx([0.5, 0, 0], abs=1e-3)


def test_transparent_layers_are_composited_in_depth_order() -> None:
    layers = [
        square(0.1, 0.4, Material(base_color=(0, 0, 1, 0.5), alpha_mode=BLEND, unlit=True)),
        square(-0.1, 0.4, Material(base_color=(1, 0, 0, 0.25), alpha_mode=BLEND, unlit=True)),
    ]
    for order in (layers, layers[::-1]):
        render = render_mesh(joined(*order), camera())
        # red first: 0.25 red, then 0.5 of the remaining 0.75 blue
        assert render.alpha[0, 0, 32, 32] == pytest.approx(0.625)
        straight = [0.25 / 0.625, 0, 0.375 / 0.625]
        assert render.rgb[0, :, 32, 32].tolist() == pytest.approx(straight, abs=1e-6)
        depth = (0.25 * 1.9 + 0.375 * 2.1) / 0.625
        assert render.depth[0, 0, 32, 32] == pytest.approx(depth, abs=1e-6)


def test_transparent_behind_opaque_is_not_seen() -> None:
    glass = square(0.1, 0.4, Material(base_color=(0, 0, 1, 0.5), alpha_mode=BLEND, unlit=True))
    wall = square(0.0, 0.4, Material(base_color=(0, 1, 0, 1), unlit=True))
    render = render_mesh(joined(glass, wall), camera())
    assert render.rgb[0, :, 32, 32].tolist() == [0, 1, 0]


def test_opaque_ignores_alpha_and_mask_cuts_by_it() -> None:
    image = np.full((4, 4, 4), 255, np.uint8)
    image[:, :2, 3] = 0  # the left half of the texture is clear
    texture = Texture((image,), CLAMP, CLAMP, nearest=True)
    opaque = render_mesh(square(material=Material(texture=texture, unlit=True)), camera())
    assert opaque.alpha.sum() == 32 * 32
    cut = Material(texture=texture, unlit=True, alpha_mode=MASK)
    masked = render_mesh(square(material=cut), camera())
    assert masked.alpha[0, 0, :, :32].max() == 0
    assert masked.alpha.sum() == 16 * 32


def test_textures_stand_upright() -> None:
    image = np.zeros((2, 2, 4), np.uint8)
    image[..., 3] = 255
    image[0, 0] = (255, 0, 0, 255)  # top left of the image
    image[1, 1] = (0, 255, 0, 255)  # bottom right
    material = Material(texture=Texture((image,), nearest=True), unlit=True)
    rgb = render_mesh(square(material=material), camera()).rgb[0]
    assert rgb[:, 20, 20].tolist() == [1, 0, 0]
    assert rgb[:, 44, 44].tolist() == [0, 1, 0]
    assert rgb[:, 20, 44].tolist() == [0, 0, 0]


def test_a_fine_texture_is_averaged_in_linear_light() -> None:
    checker = np.indices((512, 512)).sum(axis=0) % 2 * 255
    image = np.dstack([checker] * 3 + [np.full_like(checker, 255)]).astype(np.uint8)
    material = Material(texture=Texture(mip_levels(image)), unlit=True)
    rgb = render_mesh(square(material=material), camera(), supersample=2).rgb[0]
    inner = rgb[:, 20:44, 20:44]
    assert inner.mean() == pytest.approx(0.7354, abs=0.01)  # half of white's light
    assert inner.std() < 0.02  # no moire


def test_a_triangle_through_the_camera_is_cut_at_the_near_plane() -> None:
    floor = square(half=5.0)
    flat = floor.vertices.copy()
    flat[:, 1], flat[:, 2] = floor.vertices[:, 2], -0.5  # the plane z = -0.5, from y = -5 to 5
    mesh = dataclasses.replace(floor, vertices=flat)
    for backend in ("numba", "torch"):
        render = render_mesh(mesh, camera(), backend=backend, supersample=1)
        # below the horizon, pixel row py sees depth z with 0.5 = (py - 32) / 64 z
        for row in (40, 60):
            z = 0.5 * 64 / (row + 0.5 - 32)
            assert render.depth[0, 0, row, 32] == pytest.approx(z, rel=1e-5)
        assert render.alpha[0, 0, :32].max() == 0


def test_what_is_behind_or_beside_the_camera_is_not_drawn() -> None:
    behind = render_mesh(square(y=-5.0), camera())
    assert behind.alpha.max() == 0
    aside = square()
    aside = dataclasses.replace(aside, vertices=aside.vertices + np.array([50.0, 0, 0]))
    assert render_mesh(aside, camera()).alpha.max() == 0


def test_adjacent_triangles_leave_no_crack() -> None:
    rng = np.random.default_rng(0)
    n = 24
    x, z = np.meshgrid(np.linspace(-0.4, 0.4, n), np.linspace(-0.4, 0.4, n))
    inner = (slice(1, -1), slice(1, -1))
    x[inner] += rng.uniform(-0.012, 0.012, (n - 2, n - 2))
    z[inner] += rng.uniform(-0.012, 0.012, (n - 2, n - 2))
    i, j = np.meshgrid(np.arange(n - 1), np.arange(n - 1), indexing="ij")
    a = (i * n + j).reshape(-1)
    faces = np.concatenate([np.stack([a, a + 1, a + n], 1), np.stack([a + 1, a + n + 1, a + n], 1)])
    count = n * n
    mesh = Mesh(
        vertices=np.stack([x.ravel(), 0 * x.ravel(), z.ravel()], axis=1),
        normals=np.tile([0.0, -1, 0], (count, 1)),
        colors=np.ones((count, 4), np.float32),
        uvs=np.zeros((count, 4), np.float32),
        triangles=faces.astype(np.int32),
        material_ids=np.zeros(len(faces), np.int32),
    )
    alpha = render_mesh(mesh, camera(65.3)).alpha[0, 0]
    assert alpha[20:44, 20:44].min() == 1


def test_arguments_are_checked() -> None:
    with pytest.raises(ValueError, match="backend"):
        render_mesh(square(), camera(), backend="opengl")
    with pytest.raises(ValueError, match="supersample"):
        render_mesh(square(), camera(), supersample=0)
