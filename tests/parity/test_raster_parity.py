"""The compiled renderer against the plain tensors: same samples, same colours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from orster_cli.config.prepare import PrepareConfig
from orster_cli.dataset.views import normalize_object
from orster_cli.geometry.mesh import BLEND, CLAMP, MASK, MIRROR, Material, Mesh, Texture, mip_levels
from orster_cli.geometry.orbit import orbit_azimuths, orbit_cameras
from orster_cli.gltf.load import load_gltf
from orster_cli.mesh_render.render import MeshRender, render_mesh


def _assert_same(a: MeshRender, b: MeshRender) -> None:
    # colours: the compiled kernel reads the sRGB curve from a table
    for name, tolerance in (("rgb", 1e-5), ("alpha", 1e-6), ("depth", 1e-6)):
        difference = (getattr(a, name) - getattr(b, name)).abs().max()
        assert difference < tolerance, f"{name} differs by {difference:.2g}"
    assert a.alpha.max() > 0.5


def _soup(seed: int, triangles: int = 60) -> Mesh:
    """Random triangles of every kind of material, some through the camera."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (16, 8, 4), dtype=np.uint8)
    texture = Texture(mip_levels(image), MIRROR, CLAMP)
    sharp = Texture(mip_levels(image), nearest=True)
    materials = (
        Material(base_color=(0.8, 0.3, 0.2, 1)),
        Material(texture=texture, emissive=(0.1, 0.2, 0), emissive_texture=sharp),
        Material(texture=sharp, alpha_mode=MASK),
        Material(texture=texture, base_color=(1, 1, 1, 0.6), alpha_mode=BLEND),
        Material(unlit=True),
    )
    count = 3 * triangles
    centres = rng.uniform(-0.4, 0.4, (triangles, 1, 3)) * [1, 2.6, 1]
    vertices = (centres + rng.normal(0, 0.15, (triangles, 3, 3))).reshape(-1, 3)
    return Mesh(
        vertices=vertices,
        normals=rng.normal(size=(count, 3)),
        colors=rng.uniform(0, 1, (count, 4)).astype(np.float32),
        uvs=rng.uniform(-2, 2, (count, 4)).astype(np.float32),
        triangles=np.arange(count, dtype=np.int32).reshape(-1, 3),
        material_ids=rng.integers(0, len(materials), triangles).astype(np.int32),
        materials=materials,
    )


@pytest.mark.parametrize("seed", range(6))
def test_random_triangles(seed: int) -> None:
    mesh = _soup(seed)
    cameras = orbit_cameras(
        orbit_azimuths(2, start=seed * 50.0), elevation=seed * 9.0, width=48, height=40
    )
    _assert_same(
        render_mesh(mesh, cameras, backend="numba", supersample=3),
        render_mesh(mesh, cameras, backend="torch", supersample=3),
    )


def test_clear_surfaces_hide_nothing() -> None:
    """Twenty sheets of leaves that are clear here, more than the layers of a sample, before a red one."""
    corners = np.array([[-0.4, 0, -0.4], [0.4, 0, -0.4], [0.4, 0, 0.4], [-0.4, 0, 0.4]])
    count = 21
    places = np.linspace(-0.2, 0.2, count)[:, None, None] * [0.0, 1.0, 0.0]
    sheet = np.array([[0, 1, 2], [0, 2, 3]])
    clear, red = ((1, 1, 1, 0.0), (1, 0, 0, 1.0))
    mesh = Mesh(
        vertices=(corners + places).reshape(-1, 3),
        normals=np.tile([0.0, -1.0, 0.0], (4 * count, 1)),
        colors=np.ones((4 * count, 4), np.float32),
        uvs=np.zeros((4 * count, 4), np.float32),
        triangles=np.concatenate([sheet + 4 * i for i in range(count)]).astype(np.int32),
        material_ids=np.repeat([0] * (count - 1) + [1], 2).astype(np.int32),
        materials=tuple(Material(base_color=c, alpha_mode=BLEND) for c in (clear, red)),
    )
    camera = orbit_cameras(torch.zeros(1), width=24, height=24)
    drawn = [render_mesh(mesh, camera, backend=name, supersample=2) for name in ("numba", "torch")]
    _assert_same(*drawn)
    assert float(drawn[0].alpha.max()) == pytest.approx(1.0)  # the red sheet


def test_the_creature(creature: Path) -> None:
    placed = normalize_object(load_gltf(creature), 0, PrepareConfig())
    cameras = orbit_cameras(torch.tensor([30.0]), elevation=20.0, width=64, height=64)
    mesh = placed.mesh(0.3)
    _assert_same(
        render_mesh(mesh, cameras, backend="numba", supersample=2),
        render_mesh(mesh, cameras, backend="torch", supersample=2),
    )


@pytest.mark.gpu
def test_cuda_draws_the_same(creature: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    cameras = orbit_cameras(orbit_azimuths(3), width=64, height=64)
    mesh = normalize_object(load_gltf(creature), 0, PrepareConfig()).mesh(0.6)
    on_gpu = render_mesh(mesh, cameras, device="cuda")
    assert on_gpu.rgb.is_cuda
    moved = MeshRender(rgb=on_gpu.rgb.cpu(), alpha=on_gpu.alpha.cpu(), depth=on_gpu.depth.cpu())
    _assert_same(render_mesh(mesh, cameras, backend="numba"), moved)
