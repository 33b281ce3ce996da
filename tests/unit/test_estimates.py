"""How long a run will take is said once, when enough is measured, and only where it is worth a line."""

from __future__ import annotations

import pytest

from orster_cli.core.estimates import LEAST_SECONDS, LEAST_STEPS, SKIPPED, Announcement, duration
from tests.helpers.recording import Recorder


def said(each: float, total: int, *, first: int = 0, warm_up: float = 0.0) -> list[tuple[int, str]]:
    """(step, line) of a run whose steps take `each` seconds, the first ones `warm_up` more."""
    clock = [0.0]
    heard = Recorder()
    estimate = Announcement("pretrain", first, total, heard, now=lambda: clock[0])
    found = []
    for step in range(first + 1, total + 1):
        clock[0] += each + (warm_up if step - first <= SKIPPED else 0)
        estimate.after(step)
        found += [(step, line) for line in heard.lines]
        heard.lines.clear()
    return found


@pytest.mark.parametrize(
    ("each", "total", "words"),
    [
        (1.2, 2000, "about 40 min for 1,992 steps, at 1.2 s a step"),
        (0.02, 10_000, "about 3 min for"),
        (30.0, 1000, "about 8 h 20 min for"),
    ],
)
def test_it_is_said_once_and_soon(each: float, total: int, words: str) -> None:
    lines = said(each, total, warm_up=60.0)  # compiling is not taken for the pace
    assert len(lines) == 1
    step, line = lines[0]
    assert words in line
    assert step >= SKIPPED + LEAST_STEPS
    assert (step - SKIPPED) * each <= max(LEAST_SECONDS, LEAST_STEPS * each) + 2 * each


def test_a_short_run_says_nothing() -> None:
    assert said(0.5, 60) == []
    assert said(10.0, 5) == []


def test_a_resumed_run_speaks_of_what_is_left() -> None:
    ((step, line),) = said(1.0, 1000, first=700)
    assert step == 700 + SKIPPED + LEAST_STEPS
    assert "about 5 min for 292 steps" in line


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "1 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (3570, "1 h"),
        (4000, "1 h 7 min"),
        (7801, "2 h 10 min"),
        (86_400 - 1, "1 day"),
        (100 * 3600, "4 days 4 h"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
