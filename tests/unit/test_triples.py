"""Normalization in the frame, and the videos of one animation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from orster_cli.config.prepare import PrepareConfig
from orster_cli.core.errors import InputError
from orster_cli.core.reporting import Silent
from orster_cli.dataset.curation import touches_border
from orster_cli.dataset.views import normalize_object, render_views, view_cameras
from orster_cli.export.source_mesh import open_source_mesh
from orster_cli.geometry.mesh import points_on_surface
from orster_cli.geometry.orbit import orbit_azimuths, orbit_cameras
from orster_cli.gltf.load import load_gltf
from orster_cli.gltf.normalization import MAX_CLIP_SIDE, normalize_clip
from orster_cli.sampling.objects import open_object
from tests.helpers.glb import Glb

SMALL = PrepareConfig(frames=5, resolution=32, supersample=2, eval_views=3, eval_times=(0.0, 0.75))
CORNERS = np.array([[x, y, z] for x in (0, 2) for y in (0, 1) for z in (0, 0.5)], float)


def _cloud(tmp_path: Path, points: np.ndarray, path: str = "", values: object = None) -> Path:
    """An object whose triangles touch all `points`; optionally node 0 is animated."""
    glb = Glb()
    glb.mesh(points, indices=[i for k in range(len(points) - 2) for i in (k, k + 1, k + 2)])
    if path:
        glb.animate(0, path, [0, 1], values)
    return glb.save(tmp_path / "cloud.glb")


def test_longest_side_at_the_start_is_one_and_the_clip_is_centred(tmp_path: Path) -> None:
    scene = load_gltf(_cloud(tmp_path, CORNERS * [1, 0.2, 1]))
    placement = normalize_clip(scene, None, np.array([0.0]), elevation=None)
    assert placement.reason == "unit"
    assert placement.scale == pytest.approx(0.5)
    # file box (0..2, 0..0.2, 0..0.5) is (0..2, -0.5..0, 0..0.2) in the world
    assert placement.offset == pytest.approx([-0.5, 0.125, -0.05])


def test_a_clip_that_spreads_out_is_made_smaller(tmp_path: Path) -> None:
    scene = load_gltf(
        _cloud(tmp_path, CORNERS, "translation", [[0, 0, 0], [2, 0, 0]])
    )  # spans 4 in x over the clip, 2 at the start
    placement = normalize_clip(scene, 0, np.array([0.0, 0.5, 1.0]), elevation=None)
    assert placement.reason == "clip box"
    assert placement.scale == pytest.approx(MAX_CLIP_SIDE / 4)


def test_nothing_leaves_the_frame_from_any_side(tmp_path: Path) -> None:
    box = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
    scene = load_gltf(_cloud(tmp_path, box))
    for elevation in (0.0, 35.0):
        cfg = PrepareConfig(
            frames=16, resolution=64, supersample=2, elevation=elevation, azimuth_jitter=True
        )
        placed = normalize_object(scene, None, cfg)
        assert placed.normalization.reason == "frame"
        if elevation == 0:  # a corner seen sideways: t R / (r sqrt(1 + t^2)), with r = sqrt 2,
            # R = 2, t = 0.96 tan 19.8 deg; the top, t R / (1 + t r), would allow 0.4643
            assert placed.normalization.scale == pytest.approx(0.4620, abs=2e-4)
        views = render_views(scene, None, cfg, key="cube")
        assert touches_border(views["dynamic"]) is None
        assert views["dynamic"].alpha is not None
        reached = views["dynamic"].alpha[:, 0].amax(dim=(0, 1)).nonzero()
        assert reached.min() <= 6  # and the frame is well used


def test_views_of_the_creature(creature: Path) -> None:
    views = render_views(load_gltf(creature), 1, SMALL, prompt="a hop")
    assert list(views) == ["dynamic", "static", "front", "eval"]
    assert views["dynamic"].times.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert views["static"].times.tolist() == [0] * 5
    assert views["eval"].times.tolist() == [0, 0, 0, 0.75, 0.75, 0.75]
    assert views["dynamic"].frames.shape == (5, 3, 32, 32)
    assert views["dynamic"].prompt == "a hop"
    # the videos meet where camera and time agree
    same = [("dynamic", 0, "static", 0), ("dynamic", 0, "front", 0), ("dynamic", 0, "eval", 0)]
    for a, i, b, j in same:
        assert torch.equal(views[a].frames[i], views[b].frames[j])
    assert not torch.equal(views["front"].frames[2], views["front"].frames[0])  # it moves
    assert torch.equal(views["static"].cameras.w2c, views["dynamic"].cameras.w2c)
    assert views["front"].cameras.positions[3].tolist() == pytest.approx([0, -2, 0], abs=1e-6)
    assert views["dynamic"].cameras.positions[1].tolist() == pytest.approx(
        [2 * np.sin(np.radians(72)), -2 * np.cos(np.radians(72)), 0], abs=1e-5
    )


def test_rendering_is_deterministic(creature: Path) -> None:
    first, again = (render_views(load_gltf(creature), 0, SMALL) for _ in range(2))
    assert all(torch.equal(first[name].frames, again[name].frames) for name in first)


def test_azimuth_jitter_depends_on_seed_and_key_alone() -> None:
    def start(seed: int, key: str) -> list[float]:
        cfg = PrepareConfig(azimuth_jitter=True, seed=seed)
        views = view_cameras(cfg, key)
        assert views["front"][0].positions[0, 0].abs() < 1e-6
        return [round(v, 4) for v in views["dynamic"][0].positions[0].tolist()]

    assert start(0, "a") == start(0, "a")
    assert start(0, "a") != start(0, "b")
    assert start(0, "a") != start(1, "a")


def test_a_clip_that_does_not_exist(creature: Path) -> None:
    with pytest.raises(InputError, match="clip 2: the file has 2 animations"):
        normalize_object(load_gltf(creature), 2, SMALL)


def test_the_committed_creature_is_what_the_script_makes(creature: Path, tmp_path: Path) -> None:
    import importlib.util

    spec = importlib.util.spec_from_file_location("make", creature.with_name("make_creature.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made = tmp_path / "made.glb"
    made.write_bytes(module.creature())
    assert creature.stat().st_size < 300_000
    ours, kept = load_gltf(made), load_gltf(creature)
    assert [clip.name for clip in kept.clips] == ["walk", "hop"]
    texture, kept_texture = ours.materials[0].texture, kept.materials[0].texture
    assert texture is not None
    assert kept_texture is not None
    assert np.array_equal(texture.levels[0], kept_texture.levels[0])
    for k, clip in enumerate(kept.clips):
        start, middle, end = (kept.evaluate(k, clip.start + u * clip.duration) for u in (0, 0.4, 1))
        assert start.vertices == pytest.approx(end.vertices, abs=1e-5)  # it loops
        assert np.abs(start.vertices - middle.vertices).max() > 0.1  # it moves
        remade = ours.evaluate(k, clip.start + 0.4 * clip.duration)
        assert np.array_equal(remade.triangles, middle.triangles)
        assert remade.vertices == pytest.approx(middle.vertices, abs=1e-4)


def test_an_object_without_size_at_the_start_is_placed_by_its_whole_clip(tmp_path: Path) -> None:
    """It grows from nothing: the clip's box counts, and as a condition it stands in its rest pose."""
    glb = Glb()
    primitive = glb.mesh(CORNERS, [0, 1, 2, 0, 2, 3, 4, 5, 6, 4, 6, 7])
    glb.root["materials"], primitive["material"] = [{"doubleSided": True}], 0
    glb.animate(0, "scale", [0, 1], [[0, 0, 0], [4, 4, 4]])
    path = glb.save(tmp_path / "a.glb")
    normalized = normalize_object(load_gltf(path), 0, SMALL)
    box = np.ptp(normalized.mesh(1.0).vertices, axis=0)
    assert 0.5 < float(box.max()) <= 1.0001
    said = Silent()
    cameras = orbit_cameras(orbit_azimuths(4), width=32, height=32)
    orbit = open_object(path, reporter=said)(cameras)
    assert float((orbit.frames.amin(dim=1) < 0.97).float().mean()) > 0.05
    assert said.warnings == [
        "a.glb: it has no size at its animation's start: its rest pose is shown"
    ]
    glb.root["nodes"][0]["scale"] = [0, 0, 0]
    with pytest.raises(InputError, match="nor in its rest pose"):
        open_object(glb.save(tmp_path / "b.glb"))(cameras)


def test_a_condition_is_placed_by_its_pose_wherever_its_animation_goes(tmp_path: Path) -> None:
    """As a user's object without the animation would be; and its exported mesh lies where it is."""
    glb = Glb()
    primitive = glb.mesh(CORNERS, [0, 1, 2, 0, 2, 3, 4, 5, 6, 4, 6, 7])
    glb.root["materials"], primitive["material"] = [{"doubleSided": True}], 0
    still = glb.save(tmp_path / "still.glb")
    glb.animate(0, "translation", [0, 1], [[0, 0, 0], [8, 0, 0]])
    flying = glb.save(tmp_path / "flying.glb")
    cameras = orbit_cameras(orbit_azimuths(4), width=32, height=32)
    seen, wanted = (open_object(path)(cameras).frames for path in (flying, still))
    assert torch.equal(seen, wanted)
    placed = open_source_mesh(still).mesh.vertices
    found = open_source_mesh(flying, like=[placed]).mesh.vertices
    np.testing.assert_allclose(found, placed, atol=1e-6)
    whole = open_source_mesh(flying).mesh.vertices  # as prepare-data places it
    np.testing.assert_allclose(
        open_source_mesh(flying, like=[whole]).mesh.vertices, whole, atol=1e-6
    )
    assert np.abs(whole - placed).max() > 0.1


def test_a_mesh_is_placed_by_its_surface_not_by_where_its_vertices_crowd(tmp_path: Path) -> None:
    """Most vertices are in the body, half of the surface is a wing of one quad."""
    side = np.linspace(-1, 1, 20)
    x, y = (grid.ravel() for grid in np.meshgrid(side, side))
    body = np.stack([x, y, 0 * x], axis=1)
    wing = np.array([[1, -1, 0], [3, -1, 0], [3, 1, 0], [1, 1, 0]])
    corner = np.arange(19)[:, None] * 20 + np.arange(19)
    quads = [corner, corner + 1, corner + 21, corner, corner + 21, corner + 20]
    triangles = [*np.stack(quads, axis=-1).ravel().tolist(), 400, 401, 402, 400, 402, 403]
    glb = Glb()
    glb.mesh(np.concatenate([body, wing]).astype(np.float32), triangles)
    still = open_source_mesh(glb.save(tmp_path / "still.glb")).mesh
    glb.animate(0, "translation", [0, 1], [[0, 0, 0], [-1, 0, 0]])
    asset = points_on_surface(still, 3000).at(still.vertices)  # Gaussians lie where a surface is
    found = open_source_mesh(glb.save(tmp_path / "moving.glb"), like=[asset]).mesh.vertices
    np.testing.assert_allclose(found, still.vertices, atol=1e-6)


def test_a_flat_object_is_placed_by_its_longest_side(tmp_path: Path) -> None:
    flat = CORNERS * [1, 0, 0.5]  # a sheet that lies on the ground
    normalized = normalize_object(load_gltf(_cloud(tmp_path, flat)), None, SMALL)
    assert np.ptp(normalized.mesh(0.0).vertices, axis=0).max() <= 1.0001
    assert np.isfinite(normalized.normalization.scale)
