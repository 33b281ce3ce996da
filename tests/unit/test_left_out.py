"""What a text says beside the object that the model makes of it, and the usual way to do a thing."""

from __future__ import annotations

import pytest

from orster_cli.diffusion.starts import Start, start_of
from orster_cli.diffusion.subjects import left_out_of

KNIGHT = ("a cartoon knight in gray armor with a red cape", "a knight")
FOX = ("an orange fox", "a fox")
GALLOPS = ("galloping", "gallops", "running")


@pytest.mark.parametrize(
    ("text", "phrases", "actions", "left"),
    [
        ("a knight walking slowly", KNIGHT, ("walking", "walks"), []),
        ("the knight that walks", KNIGHT, ("walking", "walks"), []),
        ("a knight in gray armor walking", KNIGHT, ("walking",), []),
        ("a knight without a cape walking", KNIGHT, ("walking",), ["cape"]),
        ("a knight without cape walking", KNIGHT, ("walking",), ["cape"]),
        ("two knights walking", KNIGHT, ("walking",), ["two"]),
        ("a red fox running fast", FOX, GALLOPS, ["red"]),
        ("a fox running after a horse", FOX, GALLOPS, ["after", "horse"]),
        ("a fox ran", FOX, GALLOPS, []),
        ("a fox riding a horse", FOX, (), ["horse"]),
        ("a red fox riding", FOX, (), ["red"]),
        ("a fox yodelling", FOX, (), []),
        ("fox", FOX, (), []),
    ],
)
def test_what_is_neither_the_object_nor_what_it_does_is_left_out(
    text: str, phrases: tuple[str, ...], actions: tuple[str, ...], left: list[str]
) -> None:
    assert left_out_of(text, phrases, actions) == left


STARTS = (
    Start(0, ("driving backwards", "drives backwards")),
    Start(0, ("driving forward", "drives forward")),
    Start(0, ("casting a fishing rod",)),
    Start(0, ("turning left",)),
    Start(0, ("turning right",)),
)


@pytest.mark.parametrize(
    ("words", "number"),
    [
        ("driving", 1),
        ("drives", 1),
        ("driving backwards", 0),
        ("driving forward", 1),
        ("turning", None),
        ("fish", None),
        ("fishing", 2),
    ],
)
def test_the_usual_way_is_meant_where_none_is_said_and_a_noun_is_no_action(
    words: str, number: int | None
) -> None:
    assert start_of(words.split(), STARTS, 0) == number
