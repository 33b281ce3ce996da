"""docs/reference is what the code says, and the site's menu has every page."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
import yaml

from orster_cli.config.schema import Config
from orster_cli.ui.errors import EXIT_CODES
from tools import reference
from tools.error_codes import error_codes

REPOSITORY = Path(__file__).resolve().parents[2]
DOCS = REPOSITORY / "docs"


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return reference.pages()


def test_the_pages_are_those_that_the_code_makes(pages: dict[str, str]) -> None:
    """After a change of a command, an option, a setting or an error: python -m tools.reference"""
    assert list(reference.stale()) == []
    assert {p.name for p in reference.PAGES.glob("*.md")} == set(pages)


def test_a_page_that_was_edited_is_found(
    pages: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference, "PAGES", tmp_path)
    monkeypatch.setattr(reference, "pages", lambda: pages)
    for name, text in pages.items():
        (tmp_path / name).write_text(text.replace("resolution", "revolution", 1))
    assert "commands.md" in set(reference.stale())
    assert reference.main(["--check"]) == 1
    assert reference.main([]) == 0
    assert reference.main(["--check"]) == 0


def test_the_commands_have_their_options_defaults_and_bounds(pages: dict[str, str]) -> None:
    page = pages["commands.md"]
    export = page.split("\n## orster export\n")[1].split("\n## ")[0]
    assert "| `--fps` | float [0.1 to 240] | `12.0` | Frames a second. |" in export
    assert "| `ASSET` | path |" in export
    assert "| `--out`, `-o` | path | required |" in page
    assert "| `--fail-under` | text, repeatable |" in page
    assert "| `--compare` | path, path |" in page
    assert "    orster generate" in page


def test_every_setting_is_there_once_with_its_bounds(pages: dict[str, str]) -> None:
    page = pages["settings.md"]
    assert set(reference.SECTIONS) == {f.name for f in dataclasses.fields(Config)}
    for section in dataclasses.fields(Config):
        part = page.split(f"\n## {section.name}\n")[1].split("\n## ")[0]
        keys = re.findall(r"^\| `(\w+)` \|", part, re.MULTILINE)
        assert keys == [f.name for f in dataclasses.fields(getattr(Config(), section.name))]
    assert "| `resolution` | int [16 to 2048] | `256` | pixels, square |" in page
    assert "text [auto, off]" in page
    assert "| `metrics` | list of text |" in page


def test_every_error_code_has_the_exit_code_of_its_class() -> None:
    codes = {code.name: code for code in error_codes()}
    assert codes["E-PLY-COUNT"].exits == (3,)
    assert codes["E-BLANK"].message == "...: shows nothing: all its pixels have one colour"
    assert codes["E-OUTPUT"].exits == (6,)  # its code is a constant of the module
    assert codes["E-SYSTEM"].exits == codes["E-MEMORY"].exits == (4,)
    # every code that stands anywhere in the package
    package = REPOSITORY / "orster_cli"
    texts = [path.read_text(encoding="utf-8") for path in package.rglob("*.py")]
    named = {c for text in texts for c in re.findall(r'"(E-[A-Z]+(?:-[A-Z]+)*)"', text)}
    assert named - {"E-ORSTER", "E-MATTE"} == set(codes) - {"E-MATTE"}
    assert {e for code in codes.values() for e in code.exits} <= {c for _, c, _ in EXIT_CODES}


def test_the_menu_of_the_site_has_every_page() -> None:
    site = yaml.safe_load((REPOSITORY / "mkdocs.yml").read_text())
    listed: list[str] = []
    todo = [site["nav"]]
    while todo:
        one = todo.pop()
        if isinstance(one, str):
            listed.append(one)
        else:
            todo += one.values() if isinstance(one, dict) else one
    there = {p.relative_to(DOCS).as_posix() for p in DOCS.rglob("*.md")}
    assert sorted(listed) == sorted(there - {"LOG.md"})
