"""An object stands where its dataset put it, whatever settings `prepare-data` had."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from orster_cli.artifacts.store import Artifact, begin
from orster_cli.config.prepare import PrepareConfig
from orster_cli.core.reporting import Silent
from orster_cli.dataset.views import normalize_object
from orster_cli.export.source_mesh import open_source_mesh
from orster_cli.gltf.load import load_gltf
from orster_cli.inputs.evaluation import evaluate
from orster_cli.inputs.objects import chosen_object, source_object
from orster_cli.inputs.placement import _normalization, recorded_placement
from orster_cli.inputs.prepare_plan import plan_prepare
from tests.helpers.glb import Glb

HIGH = PrepareConfig(frames=2, resolution=32, supersample=2, elevation=45.0, curate=False)


def box(path: Path) -> Path:
    """A box that the frame of a camera bounds, more so from above; it moves up and down."""
    corners = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
    sides = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    glb = Glb()
    glb.mesh(corners, [i for a, b, c, d in sides for i in (a, b, c, a, c, d)])
    glb.animate(0, "translation", [0.0, 1.0], [[0, 0, 0], [0, 0.2, 0]])
    return glb.save(path)


def dataset_of(mesh: Path, folder: Path) -> Artifact:
    plan = plan_prepare([mesh], HIGH, reporter=Silent())
    draft = begin(folder, kind="dataset", command="prepare-data", config={}, inputs=plan.inputs)
    assert draft is not None
    with draft:
        made = plan.run(draft.dir, draft.scratch, workers=1, reporter=Silent())
        return draft.commit(made.content)


def asset_of(dataset: Artifact, folder: Path) -> Artifact:
    draft = begin(
        folder,
        kind="asset",
        command="construct",
        config={"clips": ["box-00:dynamic"]},
        parents=[dataset.parent()],
    )
    assert draft is not None
    with draft:
        return draft.commit({})


def test_a_mesh_is_exported_where_its_dataset_put_it(tmp_path: Path) -> None:
    mesh = box(tmp_path / "box.glb")
    asset = asset_of(dataset_of(mesh, tmp_path / "data"), tmp_path / "asset")
    wanted = normalize_object(load_gltf(mesh), 0, HIGH).normalization
    assert (
        wanted.scale
        < 0.97 * normalize_object(load_gltf(mesh), 0, PrepareConfig()).normalization.scale
    )
    for found in (source_object(asset), chosen_object(asset, mesh)):
        assert found is not None
        source = open_source_mesh(mesh, clip=found.clip, placement=found.placement)
        assert source.normalization.scale == pytest.approx(wanted.scale)
        assert source.normalization.offset == pytest.approx(wanted.offset)
    other = mesh.rename(tmp_path / "elsewhere.glb")
    other.write_bytes(other.read_bytes() + bytes(4))  # edited: it is placed by its own shape
    assert chosen_object(asset, other, 0).placement is None


def test_a_mesh_is_compared_where_the_dataset_put_it(tmp_path: Path) -> None:
    mesh = box(tmp_path / "box.glb")
    dataset_of(mesh, tmp_path / "data")
    values = evaluate(f"{tmp_path / 'data'}#box-00", reference=mesh)
    assert values["subjects"][0]["mean"]["psnr"] > 40


def test_a_dataset_that_does_not_say_or_says_nonsense(tmp_path: Path) -> None:
    mesh = box(tmp_path / "box.glb")
    folder = dataset_of(mesh, tmp_path / "data").path
    assert recorded_placement(folder, "box-00") is not None
    assert recorded_placement(folder, "box-01") is None
    assert recorded_placement(folder, "box") is None
    assert recorded_placement(tmp_path / "no", "box-00") is None
    for said in (
        None,
        {"scale": 1.0},
        {"scale": 0.0, "offset": [0, 0, 0]},
        {"scale": float("nan"), "offset": [0, 0, 0]},
        {"scale": 1.0, "offset": [0, 0]},
        {"scale": 1.0, "offset": [0, 0, "0"]},
        {"scale": True, "offset": [0, 0, 0]},
    ):
        assert _normalization(said) is None
