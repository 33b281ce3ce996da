"""Which clips the mini family is trained on, which pairs and objects are kept from it, and their words."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest

from orster_cli.dataset.captions import read_captions
from tools.clip_lists import (
    KNOWN_FROM,
    LEFT_TO_TRAIN,
    PROMPTED,
    captions_of,
    lay_out,
    make_list,
    names_of,
    pack_of,
    present,
    rows_of,
    spread,
    words_of,
)
from tools.weights import TEMPLATES

LISTED = TEMPLATES / "weights-mini2.csv"


@pytest.fixture
def rows() -> list[dict[str, str]]:
    return rows_of(LISTED)


def test_the_list_is_what_the_object_folders_give(shared_data: Path) -> None:
    folders = [shared_data / "glb", shared_data / "glb2"]
    assert make_list(folders) == rows_of(LISTED)


def test_held_out_pairs_are_many_spread_and_made_of_known_parts(rows: list[dict[str, str]]) -> None:
    train = [row for row in rows if row["split"] == "train"]
    pairs = [row for row in rows if row["split"] == "pair"]
    assert len(pairs) >= 60
    assert len({pack_of(row["file"]) for row in pairs}) >= 20
    known = Counter(row["file"] for row in train)
    shown = Counter((pack_of(row["file"]), row["what"].split("|")[0]) for row in train)
    trained = {(row["file"], row["what"]) for row in train}
    for row in pairs:
        assert known[row["file"]] >= LEFT_TO_TRAIN
        action = row["what"].split("|")[0]
        assert shown[pack_of(row["file"]), action] >= KNOWN_FROM
        assert (row["file"], row["what"]) not in trained
        assert (row["file"], action) not in PROMPTED


def test_no_object_is_in_training_and_validation(rows: list[dict[str, str]]) -> None:
    files = {
        name: {row["file"] for row in rows if row["split"] == name} for name in ("train", "val")
    }
    assert not files["train"] & files["val"]
    assert len(files["train"]) == 217
    assert len(files["val"]) == 26
    assert all(row["use"] == str(int(row["split"] == "train")) for row in rows)


def test_only_free_and_usable_clips_are_listed(tmp_path: Path) -> None:
    objects = [
        ("frog.glb", "a green frog with a hat", "CC0-1.0", "train"),
        ("owl.glb", "a gray owl", "CC-BY-4.0", "train"),
        ("cat.glb", "a red cat", "CC0-1.0", "val"),
        ("cow.glb", "a cow", "CC0-1.0", "aux"),
    ]
    _table(tmp_path / "objects.csv", ("file", "subject", "licence", "split"), objects)
    clips = [
        (file, clip, use, action)
        for file, *_ in objects
        for clip, use, action in (("0", "1", "walking"), ("1", "0", "walking"))
    ]
    _table(tmp_path / "clips.csv", ("file", "clip", "use", "action"), clips)
    made = make_list([tmp_path])
    assert [(row["file"], row["clip"], row["split"]) for row in made] == [
        ("frog.glb", "0", "train"),
        ("cat.glb", "0", "val"),
    ]
    assert captions_of(made[0])[:2] == [
        "a green frog with a hat walking",
        "a green frog with a hat walks",
    ]
    assert captions_of(made[0])[-1] == "a frog walks"


def test_words_are_those_a_user_would_try() -> None:
    assert names_of("a pink mech piloted by a flamingo")[-1] == "a mech"
    assert names_of("an old wizard in a robe") == [
        "an old wizard in a robe",
        "an old wizard",
        "a wizard",
    ]
    assert names_of("a green tyrannosaurus rex")[-1] == "a tyrannosaurus"
    said = ("running backwards", "dodging", "punching", "flying", "nodding yes", "falling over")
    assert [present(action) for action in said] == [
        "runs backwards", "dodges", "punches", "flies", "nods yes", "falls over",
    ]  # fmt: skip
    assert words_of("galloping") == ["galloping", "gallops", "running", "runs"]
    assert words_of("galloping", {"galloping", "running"}) == ["galloping", "gallops"]


def test_few_clips_of_each_object_show_many_actions(rows: list[dict[str, str]]) -> None:
    train = [row for row in rows if row["split"] == "train"]
    some = spread(train, 4)
    each = Counter(row["file"] for row in some)
    assert all(
        each[file] == min(4, count) for file, count in Counter(r["file"] for r in train).items()
    )
    assert len({row["what"] for row in some}) > 0.9 * len({row["what"] for row in train})


def test_a_laid_out_split_is_read_by_prepare_data(
    tmp_path: Path, rows: list[dict[str, str]]
) -> None:
    glb = tmp_path / "glb"
    glb.mkdir()
    chosen = [row for row in rows if row["file"] == "animal_deer.glb"]
    (glb / "animal_deer.glb").write_bytes(b"")
    lay_out([glb], chosen, tmp_path / "project")
    assert (tmp_path / "project" / "objects" / "animal_deer.glb").is_symlink()
    read = read_captions(tmp_path / "project" / "clips.csv")
    assert len(read) == len(chosen)
    assert all(caption.use for caption in read.values())
    one = read["animal_deer.glb", int(chosen[0]["clip"])]
    assert [one.text, *one.also] == captions_of(chosen[0])


def _table(path: Path, header: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
