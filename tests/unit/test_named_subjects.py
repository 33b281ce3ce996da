"""Which of the known objects a text names, and what it has that do."""

from __future__ import annotations

import pytest

from orster_cli.diffusion.rest_regressor import load_rest
from orster_cli.diffusion.starts import Start, quiet_start, start_of
from orster_cli.diffusion.subjects import doing_of, named_alike, subject_of
from orster_cli.inputs.models import SHIPPED_OBJECT
from tests.helpers.rigs import RIGS, STARTS, SUBJECTS


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        ("a frog jumping", "a green frog"),
        ("the mech jumps", "a green mech piloted by a frog"),
        ("a zombie walking on two legs", "a blocky green zombie in purple shorts"),
        ("two headless zombies dancing", "a headless zombie with bare ribs"),
        ("a man with a pistol running", "a man in a black suit holding a pistol"),
        ("a walking robot", "a gray robot walking on two legs"),
        ("two men running", "a man in a black suit holding a pistol"),
        ("robot", "a gray robot walking on two legs"),
        ("a person waving", "a man in a black suit holding a pistol"),
    ],
)
def test_a_text_names_the_subject_that_its_noun_and_its_words_fit_best(
    text: str, phrase: str
) -> None:
    found = subject_of(text, SUBJECTS)
    assert found is not None
    assert found.phrase == phrase


def test_what_a_text_may_mean_as_well_is_told_and_what_it_does_not_name_is_none() -> None:
    found = subject_of("a zombie dancing", SUBJECTS)
    assert found is not None
    assert found.others == ("a headless zombie with bare ribs",)
    for text in ("a teapot dancing", "a green teapot", "walking", "", "two legs"):
        assert subject_of(text, SUBJECTS) is None
    assert subject_of("a frog", ()) is None


@pytest.mark.parametrize(
    ("text", "subject", "phrase"),
    [
        ("a frog jumping", 0, "jumping"),
        ("a frog that jumps", 0, "jumping"),
        ("a jumping frog", 0, "jumping"),
        ("the frog is jumping and lands on the ground", 0, "jumping and landing"),
        ("a frog jumps over something", 0, "jumping"),
        ("a frog walking without jumping", 0, None),
        ("a mech jumping", 1, "jumping"),
        ("a zombie dying slowly", 2, "falling over"),
        ("a zombie that died", 2, "falling over"),
        ("a zombie falls over during a fight", 2, "falling over"),
        ("a zombie falling asleep", 2, None),
        ("a man running", 5, "running and shooting"),
        ("a man running and shooting and falling over", 5, "running and shooting"),
        ("a man falling over and then running and shooting", 5, "falling over"),
        ("a man shooting", 5, "running and shooting"),
        ("a man running a shop", 5, None),
        ("a gray robot walking on two legs jumping", 4, "jumping"),
        ("a man with a pistol", 5, None),
        ("a zombie jumping", 2, None),
        ("a frog", 0, None),
        ("a man over there", 5, None),
    ],
)
def test_what_a_text_has_its_subject_do_is_what_its_rig_does(
    text: str, subject: int, phrase: str | None
) -> None:
    number = start_of(doing_of(text, SUBJECTS[subject]), STARTS, RIGS[subject])
    assert (None if number is None else STARTS[number].phrases[0]) == phrase
    assert number is None or STARTS[number].rig == RIGS[subject]


def test_every_object_of_the_shipped_model_and_all_that_its_rig_does_is_found_by_its_own_words() -> (
    None
):
    config = load_rest(SHIPPED_OBJECT / "rest", empty=True).config
    missed = []
    for phrases, rig in zip(config.subjects, config.rigs, strict=True):
        known = [start for start in config.starts if start.rig == rig]
        for start in known:
            text = f"{phrases[0]} {start.phrases[0]}"
            found = subject_of(text, config.subjects)
            assert found is not None
            assert found.phrase == phrases[0], text
            begun = config.start_of(text, phrases[0])
            if begun is None or config.starts[begun] is not start:
                missed.append(text)
    every = sum(sum(start.rig == rig for start in config.starts) for rig in config.rigs)
    assert len(missed) < 0.02 * every, missed


def test_subjects_that_are_called_as_a_text_calls_its_own_are_told() -> None:
    subjects = (("a black bull", "a bull"), ("a black and white cow",), ("a frog",))
    same, alike, other = named_alike("a black bull walking", subjects)
    assert (same, other) == (1.0, 0.0)
    assert 0 < alike < 0.5  # "bull" is the rarer word
    assert named_alike("a zebra walking", subjects) == [0.0, 0.0, 0.0]
    assert named_alike("a zebra walking", (*subjects, ("a robot walking on two legs",)))[-1] == 0


def test_where_a_text_says_nothing_the_quietest_that_an_object_was_seen_doing_is_taken() -> None:
    assert quiet_start(STARTS, 2) is None
    phrases = ("walking fast", "standing up", "walking", "standing still", "walking forward")
    starts = [Start(0, (phrase,)) for phrase in phrases]
    assert quiet_start(starts, 0) == 3
    assert quiet_start(starts, 0, done=(0, 1, 2)) == 2  # who sits does not stand up
    assert quiet_start(starts, 0, done=(0, 4)) == 4  # forward is as usual
