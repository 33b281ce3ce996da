"""Equal assets have equal ids, and carry the licences of the objects that they were made of."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orster_cli.artifacts.manifest import MANIFEST
from orster_cli.artifacts.store import Artifact, open_artifact
from orster_cli.core.reporting import Silent
from orster_cli.inputs.clips import open_clip
from orster_cli.inputs.video import OrbitFlags
from tests.helpers.artifacts import manifest_values, resign
from tests.helpers.cli import orster
from tests.helpers.preparing import relicensed

Capture = pytest.CaptureFixture[str]
FOX, MECH = "a fox by A. Artist, CC-BY 4.0", "CC0 1.0"
SMALL = [
    *("--set", "construct.resolution=32", "--set", "construct.gaussians=300"),
    *("--set", "construct.static_steps=20", "--set", "construct.coarse_steps=10"),
    *("--set", "construct.fine_steps=10", "--set", "construct.plane_resolution=8"),
]


@pytest.fixture(scope="module")
def dataset(creature: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two objects under two licences, two clips of each, and a file that cannot be read."""
    place = tmp_path_factory.mktemp("licences")
    for name in ("objects", "elsewhere"):
        (place / name).mkdir()
        relicensed(creature, place / name / "fox.glb", FOX)
        relicensed(creature, place / name / "mech.glb", MECH)
        (place / name / "broken.glb").write_bytes(b"glTF nonsense that is longer than a header")
    return place / "dataset"


@pytest.fixture
def prepared(dataset: Path, capsys: Capture) -> Path:
    if not dataset.exists():
        prepare(capsys, dataset.parent / "objects", dataset)
    return dataset


def prepare(capsys: Capture, objects: Path, out: Path) -> Artifact:
    made = orster(
        capsys, "prepare-data", objects, "-o", out, "--resolution", "32", "--frames", "6", "--set",
        "prepare.supersample=1",
    )  # fmt: skip
    assert made.code == 0, made.err
    return open_artifact(out)


def construct(capsys: Capture, clip: str, out: Path) -> Artifact:
    made = orster(capsys, "construct", clip, "-o", out, "--device", "cpu", *SMALL)
    assert made.code == 0, made.err
    assert " Gaussians in " in made.out
    return open_artifact(out)


def licences(clip: str) -> list[str]:
    """What a clip that a command opens passes on to what is made from it."""
    (parent,) = open_clip(clip, OrbitFlags(), Silent()).parents
    return list(parent.licences)


def test_equal_datasets_have_equal_ids_wherever_their_objects_lie(
    prepared: Path, tmp_path: Path, capsys: Capture
) -> None:
    first = open_artifact(prepared)
    second = prepare(capsys, prepared.parent / "elsewhere", tmp_path / "again")
    assert first.id == second.id
    assert [drop["source"] for drop in first.content["dropped"]] == ["broken.glb"]
    assert str(prepared.parent) not in (prepared / MANIFEST).read_text()
    assert first.manifest.licences == [MECH, FOX]


def test_equal_assets_have_equal_ids_and_the_licence_of_their_object(
    prepared: Path, tmp_path: Path, capsys: Capture
) -> None:
    one, two = (construct(capsys, f"{prepared}#mech-00", tmp_path / n) for n in ("one", "two"))
    assert one.id == two.id
    assert one.manifest.licences == [MECH]
    assert one.run["seconds"] > 0
    assert "seconds" not in one.content
    assert f"seconds: {one.run['seconds']:.6g} s" in orster(capsys, "show", one.path).out
    report = tmp_path / "report"
    for subject, reference, expected in (
        (str(one.path), f"{prepared}#mech-00", [MECH]),
        (str(one.path), f"{prepared}#fox-00", [MECH, FOX]),
        (str(prepared), str(prepared), [FOX, MECH]),
    ):
        words = ("--reference", reference, "--metrics", "psnr", "-o", report, "--force")
        assert orster(capsys, "evaluate", subject, *words).code == 0
        assert open_artifact(report).manifest.licences == expected


def test_a_merged_dataset_keeps_the_licence_of_each_sample(
    prepared: Path, tmp_path: Path, capsys: Capture
) -> None:
    for name in ("fox", "mech"):
        prepare(capsys, prepared.parent / f"objects/{name}.glb", tmp_path / name)
    merged = tmp_path / "all"
    words = ("--merge", tmp_path / "fox", tmp_path / "mech")
    assert orster(capsys, "prepare-data", *words, "-o", merged).code == 0
    assert open_artifact(merged).manifest.licences == [FOX, MECH]
    assert licences(f"{merged}#fox-00") == licences(f"{merged}#fox-01:static") == [FOX]
    assert licences(f"{merged}#mech-00") == [MECH]


def test_of_a_dataset_that_does_not_tell_them_apart_all_licences_go_on(
    prepared: Path, tmp_path: Path, capsys: Capture
) -> None:
    """As older versions wrote it."""
    older = prepare(capsys, prepared.parent / "objects", tmp_path / "older").path
    index = json.loads((older / "index.json").read_text())
    for sample in index["samples"]:
        del sample["licence"]
    text = json.dumps(index)
    (older / "index.json").write_text(text)
    values = manifest_values(older)
    entry = next(entry for entry in values["files"] if entry["path"] == "index.json")
    entry["size"] = len(text)
    resign(older, values)
    assert licences(f"{older}#mech-00") == [MECH, FOX]
