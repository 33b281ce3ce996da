"""docs/notices.md has every notice of the code, with its cause and what to do."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tools import notices
from tools.notices import Notice

TEXTS = {one.text: one for one in notices.notices()}


def test_the_page_is_that_of_the_code_and_no_cell_is_empty() -> None:
    """After a change of a warning: python -m tools.notices, then write what is missing."""
    before = notices.PAGE.read_text(encoding="utf-8")
    assert notices.page(before) == before
    assert notices.empty(before) == []
    assert len(notices.cells(before)) == len(TEXTS)


def test_a_notice_that_is_new_or_gone_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = notices.notices()
    monkeypatch.setattr(notices, "PAGE", tmp_path / "notices.md")
    monkeypatch.setattr(notices, "notices", lambda: [*found, Notice("new", "warning", "io.x")])
    assert notices.main(["--check"]) == 1
    assert notices.main([]) == 0
    assert notices.main(["--check"]) == 1  # every cell is empty
    text = notices.PAGE.read_text(encoding="utf-8").replace("|  |  |", "| a | b |")
    notices.PAGE.write_text(text, encoding="utf-8")
    assert notices.main(["--check"]) == 0
    monkeypatch.setattr(notices, "notices", lambda: found)
    assert notices.main(["--check"]) == 1  # a row of no notice
    assert notices.main([]) == 0
    assert "| new |" not in notices.PAGE.read_text(encoding="utf-8")
    assert notices.empty(notices.PAGE.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("...: points and lines are not drawn", "warning"),
        ("...: assumed ...", "note"),
        ("going on from step ... of ...", "message"),
        ("a 3D teacher samples objects at rest: no motion will be seen", "warning"),  # of a dict
        ("... of ... opacities are -inf: left out", "warning"),  # put into a list first
        ("the model does not know ...", "warning"),  # returned by a function
        ("...: ... hidden files skipped: ...", "warning"),  # counted
        ("...: its fallback picture is used: ...", "warning"),  # by a function that was passed on
    ],
)
def test_texts_are_found_wherever_they_are_written(text: str, level: str) -> None:
    assert TEXTS[text].level == level


def test_a_text_that_cannot_be_followed_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    tree = ast.parse("def f(reporter, text):\n    reporter.warn(text)\n")
    monkeypatch.setattr(notices, "_trees", lambda: {"io.x": tree})
    with pytest.raises(ValueError, match="f: who writes"):
        notices.notices.__wrapped__()
    monkeypatch.setattr(notices, "WRITTEN_BY", {"io.x:f": ("io.x:g",)})
    with pytest.raises(ValueError, match="no text in"):
        notices.notices.__wrapped__()
    monkeypatch.setattr(notices, "WRITTEN_BY", {"io.x:f": (notices.LISTED,), "io.y:h": ()})
    with pytest.raises(ValueError, match="of no call"):
        notices.notices.__wrapped__()
