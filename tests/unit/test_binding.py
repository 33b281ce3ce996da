"""The mesh that an asset came from is moved from where the asset is in its pose, whenever that is."""

from __future__ import annotations

import math
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from orster_cli.construction.follow_course import tracked_nodes
from orster_cli.core.errors import LimitError
from orster_cli.core.reporting import Silent
from orster_cli.core.types import Course, Gaussians
from orster_cli.export.animated_mesh import write_animated_mesh
from orster_cli.export.job import ExportJob
from orster_cli.export.mesh_file import read_back_error, write_mesh_glb
from orster_cli.export.mesh_motion import BONE_BYTES, VERTEX_BYTES, skinned, transfer_motion
from orster_cli.export.moments import Moments
from orster_cli.export.options import ExportOptions
from orster_cli.export.source_mesh import SourceMesh, open_source_mesh
from orster_cli.gltf.load import load_gltf
from orster_cli.splatting.gaussians4d import Gaussians4D, Motion, Timeline
from tests.helpers.glb import Glb
from tests.helpers.moving_mesh import ball, opened, surface_asset


class _Raised(Gaussians4D):
    """Held up by more than it moves, at all moments."""

    def at(self, time: float) -> Gaussians:
        moved = super().at(time)
        away = moved.means.new_tensor([0.0, 0.0, 0.15 + 0.1 * time])
        return replace(moved, means=moved.means + away)


def exported(
    source: SourceMesh,
    asset: Gaussians4D,
    folder: Path,
    course: Course | None = None,
    **options: Any,
) -> dict[str, Any]:
    """What is said of the file `out.glb`."""
    job = ExportJob(
        name="thing",
        asset=asset,
        options=ExportOptions(**options),
        reporter=Silent(),
        frames=8,
        mesh=source,
        course=course,
    )
    return write_mesh_glb(job, folder / "out.glb").facts


def test_a_motion_that_is_never_in_the_pose_of_the_mesh_moves_it_from_where_it_lies(
    tmp_path: Path,
) -> None:
    """As that of an object that was given in its bind pose: its Gaussians lie there, unmoved."""
    source = opened(tmp_path / "in.glb")
    asset = surface_asset(source, amount=0.004)
    still = replace(asset, canonical=replace(asset.canonical, means=asset.at(0.0).means))
    raised = _Raised(canonical=still.canonical, motion=still.motion)
    facts = exported(source, raised, tmp_path)
    assert facts["bound_at"] is None
    moved = load_gltf(tmp_path / "out.glb").evaluate(0, 0.0)
    place = source.normalization
    away = moved.transformed(place.scale, place.offset).vertices - source.mesh.vertices
    true = (raised.at(0.0).means - raised.canonical.means).numpy()
    assert float(np.median(away[:, 2])) > 0.12
    np.testing.assert_allclose(away.mean(axis=0), true.mean(axis=0), atol=0.005)


def test_one_that_begins_in_the_pose_of_the_mesh_is_bound_there(tmp_path: Path) -> None:
    source = opened(tmp_path / "in.glb")
    facts = exported(source, surface_asset(source), tmp_path)
    assert facts["bound_at"] == 0.0
    assert facts["psnr_at_binding"] > 20
    assert torch.isfinite(torch.tensor(facts["psnr_at_rest"]))


def test_the_mesh_follows_the_course_of_its_object_where_the_asset_does(tmp_path: Path) -> None:
    """One that leads elsewhere, as of frames that show something else, is not followed."""
    source = opened(tmp_path / "in.glb")
    asset = surface_asset(source)
    rest = asset.at(0.0).means
    places = torch.stack([asset.at(k / 15).means for k in range(16)])
    course = Course(rest=rest[::3], places=places[:, ::3])
    away = torch.tensor([0.3, 0.0, 0.0])
    wrong = Course(rest=course.rest, places=course.places + away)
    assert exported(source, asset, tmp_path, wrong)["moved_by"] == "gaussians"
    assert exported(source, asset, tmp_path)["moved_by"] == "gaussians"
    facts = exported(source, asset, tmp_path, course)
    assert facts["moved_by"] == "course"
    assert facts["vertex_error"] < 1e-4
    scene, place = load_gltf(tmp_path / "out.glb"), source.normalization
    end = scene.clips[0].end
    for share in (0.0, 0.5):
        moved = scene.evaluate(0, share * end).transformed(place.scale, place.offset)
        step = torch.from_numpy(moved.vertices - source.mesh.vertices).mean(dim=0)
        true = (asset.at(share).means - rest).mean(dim=0)
        torch.testing.assert_close(step.float(), true, atol=0.004, rtol=0)


@pytest.mark.parametrize("cycles", [1, 2])
def test_a_course_that_does_not_close_goes_as_its_looping_asset(
    cycles: int, tmp_path: Path
) -> None:
    source = opened(tmp_path / "in.glb")
    asset = surface_asset(source, amount=0.0)
    rest = asset.canonical.means
    moments = torch.linspace(0, 1, 24 * cycles + 1)
    angles = 2 * math.pi * cycles * moments
    far = 0.1 * angles.sin() + 0.03 * (1 - angles.cos()) - 0.06 * moments
    places = rest + far[:, None, None] * torch.tensor([1.0, 0.0, 0.0])
    course = Course(rest=rest[::3], places=places[:, ::3])
    timeline = Timeline(looping=True, cycles=cycles)
    motion = Motion(timeline, tracked_nodes(course, timeline, rest)).requires_grad_(False)
    asset = replace(asset, motion=motion)
    assert exported(source, asset, tmp_path, course)["moved_by"] == "course"
    scene, place = load_gltf(tmp_path / "out.glb"), source.normalization
    end = scene.clips[0].end
    for share in np.linspace(0, 1, 17):
        moved = scene.evaluate(0, share * end).transformed(place.scale, place.offset)
        step = float((moved.vertices - source.mesh.vertices).mean(axis=0)[0])
        true = float((asset.at(share / cycles).means - rest).mean(dim=0)[0])
        assert step == pytest.approx(true, abs=0.004)


def test_bones_are_counted_that_the_file_has(tmp_path: Path) -> None:
    source = opened(tmp_path / "in.glb")
    asset = surface_asset(source, amount=0.0)
    rest = asset.canonical.means
    raised = rest + torch.linspace(0, 0.1, 4)[:, None, None]
    course = Course(rest=rest[::3], places=raised[:, ::3])
    motion = Motion(Timeline(), tracked_nodes(course, Timeline(), rest)).requires_grad_(False)
    facts = exported(source, replace(asset, motion=motion), tmp_path, course, bones=24)
    skin = load_gltf(tmp_path / "out.glb").instances[0].skin
    assert skin is not None
    assert facts["bones"] == len(skin.joints) == 1


def test_a_mesh_whose_motion_would_fill_the_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orster_cli.export.mesh_motion.CLIP_MAX_BYTES", 1_000_000)
    source = opened(tmp_path / "in.glb")
    with pytest.raises(LimitError, match="key frames of a mesh of 819 vertices") as refused:
        exported(source, surface_asset(source), tmp_path)
    assert "--times" in refused.value.hint
    assert not (tmp_path / "out.glb").exists()


@pytest.mark.parametrize("bones", [0, 4])
def test_a_vertex_needs_no_more_memory_than_is_stated(bones: int, tmp_path: Path) -> None:
    points, _, triangles = ball((np.zeros(3), np.ones(3)), 56, 56)
    glb = Glb()
    glb.mesh(points, triangles.reshape(-1), NORMAL=glb.accessor(points, "VEC3"))
    source = open_source_mesh(glb.save(tmp_path / "in.glb"))
    times = tuple(np.linspace(0, 1, 24, endpoint=False).tolist())
    mesh, vertices = source.mesh, len(source.mesh.vertices)
    course = Course(rest=torch.zeros(8, 3), places=torch.rand(9, 8, 3))
    tracemalloc.start()
    moments = Moments(times, np.array(times))
    moved = transfer_motion(course, mesh, moments, bind=None, turns=not bones)
    moved = skinned(moved, mesh, bones) if bones else moved
    assert (moved.motion.rotations is None) == bool(bones)
    (tmp_path / "out.glb").write_bytes(write_animated_mesh(source, moved.motion, name="x")[0])
    read_back_error(tmp_path / "out.glb", source, moved.motion)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.2 * vertices * (len(times) * VERTEX_BYTES + bones * BONE_BYTES)
