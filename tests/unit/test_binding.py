"""The mesh that an asset came from is moved from where the asset is in its pose, whenever that is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from orster_cli.core.reporting import Silent
from orster_cli.core.types import Course, Gaussians
from orster_cli.export.job import ExportJob
from orster_cli.export.mesh_file import write_mesh_glb
from orster_cli.export.options import ExportOptions
from orster_cli.export.source_mesh import SourceMesh
from orster_cli.gltf.load import load_gltf
from orster_cli.splatting.gaussians4d import Gaussians4D
from tests.helpers.moving_mesh import opened, surface_asset


class _Raised(Gaussians4D):
    """Held up by more than it moves, at all moments."""

    def at(self, time: float) -> Gaussians:
        moved = super().at(time)
        away = moved.means.new_tensor([0.0, 0.0, 0.15 + 0.1 * time])
        return replace(moved, means=moved.means + away)


def exported(
    source: SourceMesh, asset: Gaussians4D, folder: Path, course: Course | None = None
) -> dict[str, Any]:
    """What is said of the file `out.glb`."""
    job = ExportJob(
        name="thing",
        asset=asset,
        options=ExportOptions(),
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
