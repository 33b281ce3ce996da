"""docs/paper.md against the code: what it points to exists, and every equation is there."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from orster_cli.config.schema import Config

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = (REPOSITORY / "docs" / "paper.md").read_text(encoding="utf-8")
POINTERS = sorted(set(re.findall(r"`([\w/]+\.py):(\w+)`", PAGE)))


def numbers(text: str) -> set[int]:
    """{1, 2, 16} of "1-2, 16"."""
    found: set[int] = set()
    for first, last in re.findall(r"(\d+)(?:-(\d+))?", text):
        found |= set(range(int(first), int(last or first) + 1))
    return found


@pytest.mark.parametrize(("path", "name"), POINTERS)
def test_what_the_page_points_to_is_there(path: str, name: str) -> None:
    roots = (REPOSITORY / "orster_cli", REPOSITORY / "tests")
    texts = [(root / path).read_text(encoding="utf-8") for root in roots if (root / path).is_file()]
    assert texts, path
    assert re.search(rf"^\s*(def|class) {name}\b|^{name} = ", texts[0], re.MULTILINE)


def test_each_equation_has_a_row_and_its_number_above_a_function() -> None:
    rows = re.findall(r"^\| ([\d, ]+) \|", PAGE, re.MULTILINE)
    assert set().union(*(numbers(row) for row in rows)) == set(range(1, 19))
    above: set[int] = set()
    for path in (REPOSITORY / "orster_cli").rglob("*.py"):
        for said in re.findall(
            r"# (?:L_ldm.*, )?Eq\. ([\d, and-]+)", path.read_text(encoding="utf-8")
        ):
            above |= numbers(said)
    assert above >= set(range(1, 19)), sorted(set(range(1, 19)) - above)


@pytest.mark.parametrize("line", re.findall(r"^\| w/o [^|]+\| `([^`]+)` \|", PAGE, re.MULTILINE))
def test_each_switch_is_a_setting_whose_value_is_allowed(line: str) -> None:
    place, value = line.split(" = ")
    section, name = place.split(".")
    current = getattr(getattr(Config(), section), name)
    given = tomllib.loads(f"value = {value}")["value"]
    assert type(current)(given) != current
