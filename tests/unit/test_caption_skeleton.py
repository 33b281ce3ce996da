"""Captions to start from, the example file, and what a stage that learns texts asks of a dataset."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from orster_cli.core.errors import InputError
from orster_cli.core.reporting import Silent
from orster_cli.dataset.caption_rows import match_rows
from orster_cli.dataset.caption_skeleton import Row, caption_of, csv_text, skeleton
from orster_cli.dataset.captioned import captioned
from orster_cli.dataset.captions import read_captions
from orster_cli.dataset.reader import Dataset
from orster_cli.dataset.sources import find_sources
from orster_cli.gltf.load import load_gltf
from tests.helpers.cli import orster

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize(
    ("file", "clip", "caption"),
    [
        ("horse_brown.glb", "AnimalArmature|Gallop", "horse brown gallop"),
        ("critter_frog.glb", "FrogArmature|Frog_Jump", "critter frog jump"),
        ("animal_bull.glb", "AnimalArmature|Idle_HitReact_Left", "animal bull idle hit react left"),
        ("BlueTang.GLB", "Armature|Armature|swimFAST.001", "blue tang swim fast"),
        ("robot-v2.gltf", "Walk 2", "robot v2 walk 2"),
        ("brainstem.glb", "", "brainstem"),
        ("tube.glb", "Anim_0_Armature", "tube"),
        ("man.glb", "Armature|mixamo.com|Layer0", "man"),
        ("GLTFMan.glb", "x|", "gltf man x"),
        ("лиса.glb", "Бег", "лиса бег"),
        ("___.glb", "|", ""),
    ],
)
def test_words_of_names(file: str, clip: str, caption: str) -> None:
    assert caption_of(file, clip) == caption


def test_a_row_for_each_clip_as_read_captions_reads_them(creature: Path, tmp_path: Path) -> None:
    for name in ("b, the pet.glb", "sub/a.glb", "sub/b, the pet.glb"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(creature, tmp_path / name)
    (tmp_path / "broken.glb").write_bytes(b"no glTF")
    shutil.copyfile(creature, tmp_path / " c.glb")  # its name is not what a reader of CSV gives
    said = Silent()
    rows = skeleton(find_sources([tmp_path]), said)
    path = tmp_path / "clips.csv"
    path.write_text(csv_text(rows), encoding="utf-8")
    found = read_captions(path)
    assert {key: row.text for key, row in found.items()} == {
        ("b, the pet.glb", 0): "b the pet walk",
        ("b, the pet.glb", 1): "b the pet hop",
        ("a.glb", 0): "a walk",
        ("a.glb", 1): "a hop",
        ("sub/b, the pet.glb", 0): "b the pet walk",
        ("sub/b, the pet.glb", 1): "b the pet hop",
    }
    assert all(row.use and not row.also for row in found.values())
    assert len(said.warnings) == 2
    matched = match_rows(found, find_sources([tmp_path]))  # each row finds its own object
    assert matched.rows.keys() == {
        (name, clip)
        for name in ("b, the pet.glb", "sub/a.glb", "sub/b, the pet.glb")
        for clip in (0, 1)
    }
    assert matched.strangers == []
    assert sum("broken.glb" in text for text in said.warnings) == 1
    assert sum("plain text" in text for text in said.warnings) == 1
    with pytest.raises(InputError, match="expected objects with animations, found none among 1"):
        skeleton(find_sources([tmp_path / "broken.glb"]), said)


def test_longest_and_odd_texts_can_be_read_back(tmp_path: Path) -> None:
    rows = [
        Row(file='a "b",c.glb', clip=0, caption=caption_of("x" * 300 + ".glb", "walk")),
        Row(file="d.glb", clip=1, caption="", use=False),
    ]
    (tmp_path / "clips.csv").write_text(csv_text(rows), encoding="utf-8")
    found = read_captions(tmp_path / "clips.csv")
    assert list(found) == [('a "b",c.glb', 0), ("d.glb", 1)]
    assert len(found['a "b",c.glb', 0].text) == 200
    assert not found["d.glb", 1].use


def test_the_example_has_a_row_for_each_clip_of_the_creature(creature: Path) -> None:
    found = read_captions(EXAMPLES / "clips.csv")
    clips = load_gltf(creature).clips
    assert list(found) == [(creature.name, k) for k in range(len(clips))]
    assert all(row.use and row.text and row.also for row in found.values())
    texts = [text for row in found.values() for text in (row.text, *row.also)]
    assert len(set(texts)) == len(texts)


def test_write_captions(
    creature: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects = tmp_path / "my objects"
    objects.mkdir()
    shutil.copyfile(creature, objects / "frog_green.glb")
    command = ("prepare-data", objects, "--write-captions")
    assert orster(capsys, *command, "--dry-run", "--json").data["status"] == "dry run"
    assert [p.name for p in objects.iterdir()] == ["frog_green.glb"]
    said = orster(capsys, *command)
    path = objects / "clips.csv"
    assert said.code == 0, said.err
    assert f"wrote {path}: 2 rows for 1 object," in said.out
    assert "frog_green.glb 0: frog green walk" in said.out
    assert f"next: edit its captions, then orster prepare-data '{objects}'" in said.out
    with path.open(newline="", encoding="utf-8") as file:
        assert next(csv.reader(file)) == ["file", "clip", "use", "caption", "also"]
    assert len(read_captions(path)) == 2
    path.write_text("mine")
    again = orster(capsys, *command, "--json")
    assert (again.code, again.failure["code"]) == (6, "E-CONFLICT")
    assert path.read_text() == "mine"
    data = orster(capsys, *command, "--force", "--json").data
    assert (data["status"], data["path"], data["rows"]) == ("made", str(path), 2)
    assert len(read_captions(path)) == 2
    other = tmp_path / "deep" / "other.csv"
    assert orster(capsys, *command, "-o", other, "-q").code == 0
    assert other.read_bytes() == path.read_bytes()
    assert orster(capsys, *command, "-o", tmp_path).code == 0  # a folder
    assert (tmp_path / "clips.csv").read_bytes() == path.read_bytes()
    monkeypatch.chdir(objects)
    path.unlink()
    assert orster(capsys, "prepare-data", "frog_green.glb", "--write-captions").code == 0
    assert path.read_bytes() == other.read_bytes()
    assert sorted(p.name for p in objects.iterdir()) == ["clips.csv", "frog_green.glb"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("@a.glb --write-captions --captions x.csv", "not with --captions"),
        ("@a.glb --write-captions --merge", "not with --captions"),
        ("@a.glb --write-captions --shard 1/2", "not with --captions"),
        ("@a.glb @sub/b.glb --write-captions", "several folders"),
        ("@a.glb --write-captions --force -o @a.glb", "the name of a CSV file"),
        ("@a.glb", "no output is given"),
    ],
)
def test_what_write_captions_refuses(
    creature: Path, tmp_path: Path, capsys: Capture, words: str, says: str
) -> None:
    for name in ("a.glb", "sub/b.glb"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(creature, tmp_path / name)
    line = [str(tmp_path / w[1:]) if w[0] == "@" else w for w in words.split()]
    said = orster(capsys, "prepare-data", *line, "--json")
    assert said.code == 2
    assert says in said.failure["error"]
    assert (tmp_path / "a.glb").read_bytes() == creature.read_bytes()
    assert not list(tmp_path.rglob("*.csv"))


def dataset(*captions: str | None, also: Mapping[int, Sequence[str]] | None = None) -> Dataset:
    """A dataset of which only the index is there."""
    entries: dict[str, dict[str, Any]] = {
        f"pet-{k:02d}": {
            "key": f"pet-{k:02d}",
            "caption": text,
            "also": list((also or {}).get(k, ())),
        }
        for k, text in enumerate(captions)
    }
    return Dataset(Path("data"), entries)


def test_a_dataset_without_captions_is_refused_and_the_error_says_what_to_do() -> None:
    for pairs in (True, False):
        with pytest.raises(InputError) as caught:
            captioned(dataset("", None, "  "), Silent(), pairs=pairs, section="align")
        assert caught.value.code == "E-CAPTIONS"
        assert str(caught.value).startswith("data: 3 of 3 clips have no caption")
        hint = str(caught.value.hint)
        assert hint.startswith("orster prepare-data objects/ --write-captions")
        assert "orster prepare-data objects/ --captions objects/clips.csv -o data --force" in hint
        assert ("--set align.text=0 --set align.image=1" in hint) != pairs


def test_clips_without_a_caption_are_counted_and_left_out() -> None:
    some = dataset("a frog", "", None, "a cow", also={2: ["a fox"]})
    for pairs, then in ((True, "are left out"), (False, "with the empty text")):
        said = Silent()
        assert captioned(some, said, pairs=pairs) == ["pet-00", "pet-02", "pet-03"]
        (text,) = said.warnings
        assert text.startswith("data: 1 of 4 clips have no caption")
        assert then in text
    said = Silent()
    assert captioned(dataset("a frog", "a cow"), said, pairs=True) == ["pet-00", "pet-01"]
    assert said.warnings == []


def test_one_text_for_all_is_said_where_pairs_are_told_apart() -> None:
    said = Silent()
    captioned(dataset("a frog", "a frog"), said)
    assert said.warnings == []
    captioned(dataset("a frog", "a frog"), said, pairs=True)
    assert "all captions are the same text" in said.warnings[0]
    captioned(dataset("a frog", "a frog", also={1: ["a toad"]}), said, pairs=True)
    assert len(said.warnings) == 1
