"""Captions as factors: who moves and what it does, each of which is learned on its own."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from orster_cli.config.prepare import PrepareConfig
from orster_cli.core.errors import InputError, LimitError
from orster_cli.core.reporting import Silent
from orster_cli.dataset.captions import (
    Factors,
    compose,
    draw_text,
    factors_of,
    read_captions,
    texts_of,
)
from orster_cli.dataset.prepare import prepare
from orster_cli.dataset.reader import Dataset
from orster_cli.dataset.sources import find_sources
from orster_cli.training.training_data import latent_feed
from tests.helpers.training import CFG, FRAMES, SIDE, source, tiny_vae

INFO = {"key": "fox-00", "who": ["an orange fox", "a fox"], "what": ["jumping", "jumps"]}
EVERY = ["an orange fox jumping", "an orange fox jumps", "a fox jumping", "a fox jumps"]


def test_the_columns_make_captions(tmp_path: Path) -> None:
    path = tmp_path / "clips.csv"
    path.write_text(
        "file,clip,caption,also,who,what\n"
        "a.glb,0,,,an orange fox| a fox,jumping|jumps|\n"
        "a.glb,1,a fox at rest,a fox,an orange fox,\n"
        "a.glb,2,a cat,,,\n"
    )
    rows = read_captions(path)
    assert rows["a.glb", 0].text == "an orange fox jumping"
    assert rows["a.glb", 0].who == ("an orange fox", "a fox")
    assert rows["a.glb", 0].what == ("jumping", "jumps")
    assert (rows["a.glb", 1].text, rows["a.glb", 1].who) == ("a fox at rest", ("an orange fox",))
    assert rows["a.glb", 2].who == rows["a.glb", 2].what == ()


def test_too_many_or_too_long_alternatives_name_the_line(tmp_path: Path) -> None:
    path = tmp_path / "clips.csv"
    many = "|".join(f"fox {k}" for k in range(11))
    path.write_text(f"file,clip,who,what\na,0,{many},{many}\n")
    with pytest.raises(LimitError, match=r"line 2: more than 100 captions of who and what"):
        read_captions(path)
    path.write_text("file,clip,who\na,0," + "x" * 2001 + "\n")
    with pytest.raises(InputError, match="at most 2000 characters"):
        read_captions(path)


def test_every_combination_is_a_caption_once() -> None:
    assert compose("a fox", "jumping") == "a fox jumping"
    assert (compose("a fox", ""), compose("", "jumping")) == ("a fox", "jumping")
    assert factors_of(INFO) == Factors(who=tuple(INFO["who"]), what=tuple(INFO["what"]))
    assert texts_of(INFO) == EVERY
    assert texts_of({**INFO, "caption": EVERY[2], "also": ["a jump"]}) == [
        EVERY[2], "a jump", EVERY[0], EVERY[1], EVERY[3],
    ]  # fmt: skip
    assert factors_of({"key": "x", "caption": "a fox", "also": ["fox"]}) is None
    assert texts_of({"key": "x", "what": ["jumping"]}) == ["jumping"]


def test_without_drops_each_combination_is_drawn_and_nothing_else() -> None:
    drawn = Counter(draw_text(INFO, 0, step) for step in range(400))
    assert set(drawn) == set(EVERY)
    assert min(drawn.values()) > 60
    assert [draw_text(INFO, 0, s) for s in range(9)] == [draw_text(INFO, 0, s) for s in range(9)]
    assert [draw_text(INFO, 0, s) for s in range(9)] != [draw_text(INFO, 1, s) for s in range(9)]


def test_each_factor_is_dropped_with_its_own_probability() -> None:
    steps = 4000
    drawn = [draw_text(INFO, 0, s, drop_who=0.2, drop_what=0.5) for s in range(steps)]
    without_who = sum("fox" not in text for text in drawn) / steps
    without_what = sum("jump" not in text for text in drawn) / steps
    assert without_who == pytest.approx(0.2, abs=0.03)
    assert without_what == pytest.approx(0.5, abs=0.03)
    assert drawn.count("") / steps == pytest.approx(0.1, abs=0.02)  # independent of each other
    assert {"a fox", "jumping", ""} < set(drawn)
    assert draw_text(INFO, 0, 3, drop_who=1, drop_what=1) == ""
    plain = {"key": "x", "caption": "a cat"}
    assert draw_text(plain, 0, 0, drop_who=1, drop_what=1) == "a cat"  # it has no factors to drop


@pytest.fixture
def composed(creature: Path, tmp_path: Path) -> Path:
    """A dataset of two clips with captions of factors."""
    captions = tmp_path / "clips.csv"
    captions.write_text(
        "file,clip,who,what\n"
        f"{creature.name},0,a teal creature|a creature,walking\n"
        f"{creature.name},1,a teal creature|a creature,waving|waves\n"
    )
    cfg = PrepareConfig(frames=FRAMES, resolution=SIDE, supersample=1, curate=False)
    out, scratch = tmp_path / "dataset", tmp_path / "scratch"
    out.mkdir()
    scratch.mkdir()
    rows = read_captions(captions)
    prepare(find_sources([creature]), rows, out, scratch, cfg, workers=1, reporter=Silent())
    return out


def test_a_dataset_carries_factors_into_training(composed: Path) -> None:
    data = Dataset.read(composed)
    key = data.keys()[1]
    assert (
        data.info(key)["who"] == data.sample_json(key)["who"] == ["a teal creature", "a creature"]
    )
    assert data.info(key)["what"] == ["waving", "waves"]
    assert data.clip(key).prompt == "a teal creature waving"
    assert data.texts()[data.keys()[0]] == ["a teal creature walking", "a creature walking"]

    def texts(**drops: float) -> set[str]:
        cfg = replace(CFG.pretrain, **drops)
        feed = latent_feed(cfg, source(composed), tiny_vae(), "dynamic", FRAMES, SIDE)
        return {text for step in range(40) for text in feed.batch(step, [0, 1]).captions}  # type: ignore[union-attr]

    every = {text for one in data.texts().values() for text in one}
    assert texts(drop_who=0.0, drop_what=0.0) == every
    assert texts(drop_who=1.0, drop_what=0.0) == {"walking", "waving", "waves"}
    assert texts(drop_who=0.0, drop_what=1.0) == {"a teal creature", "a creature"}


@pytest.mark.parametrize("name", ["who", "what"])
def test_factors_of_an_index_are_lists_of_texts(composed: Path, name: str) -> None:
    path = composed / "index.json"
    for wrong, says in ((["a", 3], "expected a list of texts"), ("a", "expected list")):
        index = json.loads(path.read_text())
        index["samples"][0][name] = wrong
        path.write_text(json.dumps(index))
        with pytest.raises(InputError, match=f"{name}: {says}"):
            Dataset.read(composed)
