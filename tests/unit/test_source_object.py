"""The mesh that an asset came from: the right file of a dataset, and the right animation of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from orster_cli.artifacts.store import Artifact, begin, open_artifact
from orster_cli.dataset.sources import find_sources
from orster_cli.inputs.files import input_file
from orster_cli.inputs.objects import SourceObject, animation_of, named_objects, source_object


def asset_of(folder: Path, keys: list[str], files: list[str]) -> Artifact:
    """An asset in `folder` of the clips `keys` of a dataset of `files`, which lie there too."""
    inputs = []
    for name in files:
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(name)
        inputs.append(input_file(path).model_copy(update={"name": name}))
    data = begin(
        folder / "dataset", kind="dataset", command="prepare-data", config={}, inputs=inputs
    )
    assert data is not None
    with data:
        dataset = data.commit({})
    draft = begin(
        folder / "asset",
        kind="asset",
        command="construct",
        config={"clips": keys},
        parents=[dataset.parent()],
    )
    assert draft is not None
    with draft:
        return draft.commit({})


def test_an_asset_of_a_dataset_of_many_objects_gets_its_own(tmp_path: Path) -> None:
    files = ["a rig.glb", "creature.glb", "creature2.glb", "clips.csv"]
    asset = asset_of(tmp_path, ["creature-03:dynamic"], files)
    assert source_object(asset) == SourceObject(tmp_path / "creature.glb", 3)
    (tmp_path / "creature.glb").unlink()
    assert source_object(asset) is None
    assert [one.name for one in named_objects(asset)] == ["creature.glb"]  # what is said to be lost


def test_what_it_was_made_from_may_lie_in_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asset = asset_of(tmp_path, ["b-00:dynamic"], ["a.glb", "b.glb"])
    elsewhere = tmp_path / "some" / "other" / "place" / "asset"
    elsewhere.parent.mkdir(parents=True)
    moved = open_artifact(asset.path.rename(elsewhere))
    assert source_object(moved) is None
    monkeypatch.chdir(tmp_path)
    assert source_object(moved) == SourceObject(Path("b.glb"), 0)


def test_the_first_clip_names_the_object(tmp_path: Path) -> None:
    asset = asset_of(tmp_path, ["b-01:orbit-090", "b-01:dynamic", "a-00"], ["a.glb", "b.glb"])
    assert source_object(asset) == SourceObject(tmp_path / "b.glb", 1)
    assert animation_of(asset, Path("elsewhere/a.glb")) == 0
    assert animation_of(asset, Path("c.glb")) is None


def test_objects_of_one_name_are_told_apart(tmp_path: Path) -> None:
    files = ["x/wolf.glb", "y/wolf.glb"]
    for name in files:
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    key = find_sources([tmp_path])[1].key
    asset = asset_of(tmp_path, [f"{key}-02:dynamic"], files)
    assert source_object(asset) == SourceObject(tmp_path / "y/wolf.glb", 2)
    assert animation_of(asset, Path("wolf.glb")) == 2
