"""A mesh from pictures of an orbit looks like them, from all sides, and its parts are as far apart."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from orster_cli.core.errors import InputError
from orster_cli.core.types import Cameras, OrbitClip
from orster_cli.geometry.mesh import Material, Mesh, linear_to_srgb, srgb_to_linear
from orster_cli.geometry.orbit import orbit_azimuths, orbit_cameras
from orster_cli.geometry.surface_nets import surface_nets, vertex_normals
from orster_cli.mesh_render.render import render_mesh
from orster_cli.metrics.psnr import psnr
from orster_cli.sampling.hull_mesh import VIEWS, hull_mesh

RED, BLUE, LIGHT = (0.8, 0.1, 0.1), (0.1, 0.2, 0.8), (0.93, 0.92, 0.9)
CAMERAS = orbit_cameras(orbit_azimuths(16), width=96, height=96)
HALFWAY = orbit_cameras(orbit_azimuths(16, start=11.25), width=96, height=96)


def colored(vertices: np.ndarray, triangles: np.ndarray, colors: np.ndarray) -> Mesh:
    colors = np.concatenate([srgb_to_linear(colors), np.ones((len(vertices), 1))], axis=1)
    return Mesh(
        vertices=vertices,
        normals=vertex_normals(vertices, triangles),
        colors=colors.astype(np.float32),
        uvs=np.zeros((len(vertices), 4), np.float32),
        triangles=triangles.astype(np.int32),
        material_ids=np.zeros(len(triangles), np.int32),
        materials=(Material(unlit=True),),
    )


def two_eggs(front: tuple[float, ...] = RED) -> Mesh:
    """Two upright ellipsoids beside each other along x, `front` before and blue behind."""
    axis = np.linspace(-0.6, 0.6, 49)
    x, y, z = np.meshgrid(axis, axis, axis, indexing="ij")
    values = ((np.abs(x) - 0.3) / 0.17) ** 2 + (y / 0.22) ** 2 + (z / 0.45) ** 2 - 1
    vertices, triangles = surface_nets(values)
    vertices = vertices * (axis[1] - axis[0]) + axis[0]
    return colored(vertices, triangles, np.where(vertices[:, 1:2] < 0, front, BLUE))


def shown(mesh: Mesh, cameras: Cameras) -> OrbitClip:
    """On white."""
    seen = render_mesh(mesh, cameras, supersample=2)
    frames = seen.rgb * seen.alpha + 1 - seen.alpha
    return OrbitClip(frames=frames, cameras=cameras, times=torch.zeros(len(cameras)))


def likeness(mesh: Mesh, orbit: OrbitClip) -> float:
    return float(psnr(shown(mesh, orbit.cameras).frames, orbit.frames).mean())


def box_of(mesh: Mesh) -> Mesh:
    """The box around `mesh`, in its mean colour."""
    inside = np.full((3, 3, 3), 1.0)
    inside[1, 1, 1] = -1.0
    vertices, triangles = surface_nets(inside)
    low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
    ends = np.where(vertices > vertices.mean(axis=0), high, low)
    mean = linear_to_srgb(mesh.colors[:, :3]).mean(axis=0)
    return colored(ends, triangles, np.tile(mean, (len(ends), 1)))


def parts(mesh: Mesh) -> np.ndarray:
    """[V] the number of the part to which each vertex belongs."""
    a, b = mesh.triangles[:, [0, 1]].T.ravel(), np.tile(mesh.triangles[:, 2], 2)
    count = len(mesh.vertices)
    links = coo_matrix((np.ones(len(a)), (a, b)), (count, count))
    number: np.ndarray = connected_components(links, directed=False)[1]
    return number


@pytest.mark.parametrize("front", [RED, LIGHT], ids=["red", "almost white"])
def test_it_looks_like_its_pictures_and_like_the_object_between_them(
    front: tuple[float, ...],
) -> None:
    orbit = shown(two_eggs(front), CAMERAS)
    made = hull_mesh(orbit, where="x")
    assert likeness(made, orbit) > 27
    assert likeness(made, shown(two_eggs(front), HALFWAY)) > 26
    assert likeness(box_of(made), orbit) < 18


def test_colors_are_on_their_sides_and_parts_apart() -> None:
    made = hull_mesh(shown(two_eggs(), CAMERAS), where="x")
    colors = linear_to_srgb(made.colors[:, :3])
    for color, side in ((RED, -1), (BLUE, 1)):
        there = side * made.vertices[:, 1] > 0.05
        assert np.abs(colors[there] - color).max(axis=1).mean() < 0.03
    number = parts(made)
    assert number.max() == 1
    left = made.vertices[:, 0] < 0
    assert (number == number[np.argmin(made.vertices[:, 0])]).tolist() == left.tolist()


def test_what_the_object_encloses_is_open() -> None:
    """A standing ring: no white disc fills it."""
    axis = np.linspace(-0.6, 0.6, 49)
    x, y, z = np.meshgrid(axis, axis, axis, indexing="ij")
    values = (np.hypot(x, z) - 0.36) ** 2 + y**2 - 0.09**2
    vertices, triangles = surface_nets(values)
    vertices = vertices * (axis[1] - axis[0]) + axis[0]
    ring = colored(vertices, triangles, np.tile(BLUE, (len(vertices), 1)))
    made = hull_mesh(shown(ring, CAMERAS), where="x")
    assert float(render_mesh(made, CAMERAS[0]).alpha[0, 0, 42:54, 42:54].max()) == 0
    assert likeness(made, shown(ring, CAMERAS)) > 27


def test_opacities_that_are_given_are_used() -> None:
    seen = render_mesh(two_eggs(), CAMERAS, supersample=2)
    straight = torch.where(seen.alpha > 0, seen.rgb, torch.zeros(()))
    orbit = OrbitClip(frames=straight, alpha=seen.alpha, cameras=CAMERAS, times=torch.zeros(16))
    made = hull_mesh(orbit, where="x")
    assert likeness(made, shown(two_eggs(), CAMERAS)) > 27


def test_many_views_are_thinned_out() -> None:
    many = shown(two_eggs(), orbit_cameras(orbit_azimuths(2 * VIEWS), width=48, height=48))
    few = OrbitClip(frames=many.frames[::2], cameras=many.cameras[::2], times=many.times[::2])
    one, other = hull_mesh(many, where="x"), hull_mesh(few, where="x")
    np.testing.assert_array_equal(one.vertices, other.vertices)
    np.testing.assert_array_equal(one.colors, other.colors)


@pytest.mark.parametrize("alpha", [None, torch.zeros(16, 1, 96, 96)], ids=["white", "clear"])
def test_nothing_is_no_object(alpha: Tensor | None) -> None:
    nothing = OrbitClip(
        frames=torch.ones(16, 3, 96, 96), alpha=alpha, cameras=CAMERAS, times=torch.zeros(16)
    )
    with pytest.raises(InputError, match="a ghost: "):
        hull_mesh(nothing, where="a ghost")
