"""The words of a text choose how strongly things move: for subjects that no training text names, too."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from orster_cli.config.sample import SampleConfig
from orster_cli.core.errors import InputError
from orster_cli.core.reporting import Silent
from orster_cli.dataset.reader import Dataset
from orster_cli.diffusion.known_inputs import KnownInputs, load_known, save_known
from orster_cli.diffusion.known_texts import KNOWN
from orster_cli.diffusion.motion_words import MotionWords
from orster_cli.sampling.sample_clips import Sampler
from orster_cli.training.known_data import known_data
from tests.helpers.training import dataset, merged

SUBJECTS = ("red fox", "green frog", "tall man", "blue fish", "old robot", "small dog")
STRENGTHS = {"waving": 0.01, "walking": 0.02, "falling over": 0.08}
FOUND = MotionWords.of(
    ([f"a {who} {what}", f"the {who} {what}"], strength)
    for who in SUBJECTS
    for what, strength in STRENGTHS.items()
)
assert FOUND is not None


def test_an_action_has_its_strength_whoever_does_it() -> None:
    said = {what: FOUND.strength(f"a purple wizard {what}") for what in STRENGTHS}
    assert said["waving"] < said["walking"] < said["falling over"]
    for what, strength in STRENGTHS.items():
        assert said[what] == pytest.approx(strength, rel=0.5)
    assert FOUND.strength("quietly") is None
    assert FOUND.strength("") is None


def test_clips_without_captions_or_motion_teach_nothing() -> None:
    assert MotionWords.of([([], 0.1), (["a fox"], 0.0), (["a fox"], math.nan)]) is None
    few = MotionWords.of([(["a fox leaping"], 0.1), (["a fox resting"], 0.01)])
    assert few is not None
    assert few.strength("a fox leaping") is None  # two clips say little of any word


def sampler(known: KnownInputs | None, **settings: float) -> Sampler:
    bundle = replace(merged("4d"), known=known)
    device = torch.device("cpu")
    return Sampler(bundle, SampleConfig(**settings), device=device, reporter=Silent())


def test_what_is_set_counts_then_the_words_then_the_model() -> None:
    known = KnownInputs(motion=FOUND)
    text = "a purple wizard falling over"
    assert sampler(known, motion=0.3).motion_of(text) == 0.3
    assert sampler(known, motion=0.0, motion_factor=2.0).motion_of(text) == 0
    assert sampler(known).motion_of(text) == FOUND.strength(text)
    twice = sampler(known, motion_factor=2.0)
    assert twice.motion_of(text) == 2 * FOUND.strength(text)
    own = twice.bundle.facts.motion
    assert own
    for unknown in (None, "", "quietly"):
        assert twice.motion_of(unknown) == 2 * own
    assert sampler(None).motion_of(text) == own
    teacher = sampler(known)
    teacher.bundle.facts = replace(teacher.bundle.facts, role="video")
    assert teacher.words_motion(text) is None  # it is asked for none, and nothing is said of one
    assert sampler(KnownInputs()).motion_of(text) == own


def test_a_model_keeps_the_words_of_its_clips(tmp_path: Path, creature: Path) -> None:
    captions = ("a teal creature walking", "a teal creature waving")
    data = Dataset.read(dataset(creature, tmp_path / "data", captions=captions))
    keys = data.keys() * 3  # each word of three clips or more
    known = known_data(data, keys, merged("4d").encoder, view="dynamic", resolution=16)
    assert known.motion is not None
    assert {"walking", "waving", "creature"} <= set(known.motion.words)
    save_known(known, tmp_path)
    again = load_known(tmp_path)
    assert again is not None
    assert again.motion == known.motion
    later = replace(known, motion=MotionWords(base=-2.0, words={"walking": 1.0}))
    both = known.merged(later).motion
    assert both is not None
    assert both.words["walking"] == 1.0
    assert both.words["waving"] == known.motion.words["waving"]


@pytest.mark.parametrize(
    "value",
    [[], {"base": -3.0}, {"base": None, "words": {}}, {"base": 1e300, "words": {}},
     {"base": -3.0, "words": {"a": "b"}}, {"base": -3.0, "words": {str(i): 0 for i in range(5000)}}],
)  # fmt: skip
def test_what_is_no_such_thing_is_refused(tmp_path: Path, value: object) -> None:
    save_known(KnownInputs(motion=FOUND), tmp_path)
    content = json.loads((tmp_path / KNOWN).read_text())
    (tmp_path / KNOWN).write_text(json.dumps(content | {"motion": value}))
    with pytest.raises(InputError, match=r"known\.json: motion: expected"):
        load_known(tmp_path)
