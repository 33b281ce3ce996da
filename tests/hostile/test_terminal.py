"""Texts that would drive a terminal, through everything that repeats what it was given."""

from __future__ import annotations

import json
import os
import unicodedata
from pathlib import Path

import pytest

from orster_cli.core.names import printable, safe_relative_path, slug
from orster_cli.ui.out import Out
from tests.helpers.artifacts import make
from tests.helpers.cli import orster
from tests.helpers.streams import Pipe, Terminal

TEXTS = {
    "markup": "a[/frog]jumping [bold]x[/bold] [link=http://x]y[/link]",
    "colour": "\x1b[31mred\x1b[0m",
    "clear": "\x1b[2J\x1b[H",
    "title": "\x1b]0;owned\x07",
    "link": "\x1b]8;;http://example.org\x1b\\here\x1b]8;;\x1b\\",
    "bell": "ding\x07\x08\x08",
    "eight-bit": "\x9b31mred\x9d0;owned\x9c",
    "right-to-left": "gpj.\u202egnp.exe",
    "nul": "before\x00after",
    "return": "real\rfake",
    "long": "x" * 100_000,
    "emoji": "a 🐸 jumps ✓ é",
    "half": "half \ud83d of a pair",
    "lines": "one\ntwo",
    "flag": "--force",
    "empty": "",
}


def tame(text: str, *, ours: tuple[str, ...] = ()) -> bool:
    """Nothing in `text` drives a terminal, our own sequences aside."""
    for sequence in ours:
        text = text.replace(sequence, "")
    return all(c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co") for c in text)


def test_the_judge_sees_what_is_wild() -> None:
    wild = {"colour", "clear", "title", "link", "bell", "eight-bit", "right-to-left", "nul"}
    assert {name for name, text in TEXTS.items() if not tame(text)} == wild | {"return", "half"}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_printable_keeps_what_is_harmless(text: str) -> None:
    shown = printable(text)
    assert tame(shown)
    assert len(shown) == len(text)
    assert [c for c in shown if c != "\ufffd"] == [c for c in text if tame(c)]


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
@pytest.mark.parametrize("colour", [True, False])
def test_human_talk(text: str, colour: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "" if colour else "1")
    monkeypatch.delenv("TERM", raising=False)
    data, talk = Terminal(), Terminal()
    out = Out(stdout=data, stderr=talk)
    out.info(text)
    out.warn(text)
    out.error("E-X", text, text, 3)
    out.step(text, 1, 2, note=text)
    out.result({}, text)
    assert tame(data.getvalue())
    ours = ("\r\x1b[2K", "\x1b[33m", "\x1b[31m", "\x1b[36m", "\x1b[90m", "\x1b[0m")
    painted = f"{printable(text)}\n\x1b[33mwarning\x1b[0m" if colour else "warning: "
    assert painted in talk.getvalue()
    assert tame(talk.getvalue(), ours=ours)


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_json_loses_nothing_and_is_ascii(text: str) -> None:
    data, talk = Pipe(), Pipe()
    out = Out(as_json=True, stdout=data, stderr=talk)
    out.info(text)
    out.error("E-X", text, text, 3)
    out.result({"text": text}, text)
    assert data.getvalue().isascii()
    assert tame(data.getvalue() + talk.getvalue())
    assert json.loads(data.getvalue())["text"] == text
    said = [json.loads(line) for line in talk.getvalue().splitlines()]
    assert said[0] == {"info": text}
    assert (said[1]["error"], said[1]["hint"]) == (text, text)


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
@pytest.mark.parametrize("mode", [[], ["--json"]])
def test_through_the_commands(
    text: str, mode: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named = text.replace("\x00", "").replace("\n", " ")[:200]
    for words in (
        ["config", "show", "--set", f"construct.recurrence={text}", *mode],
        ["config", "show", "--set", f"construct.{text}=1", *mode],
        ["config", "show", f"--template={text}", *mode],
        ["config", "show", f"--section={text}", *mode],
        ["show", os.fspath(tmp_path / f"x{named}"), *mode],
        ["verify", os.fspath(tmp_path / f"x{named}"), *mode],
    ):
        said = orster(capsys, *words)
        assert said.code in (2, 3), said.err
        assert "E-BUG" not in said.err
        assert tame(said.out + said.err)


@pytest.mark.parametrize("text", [t for n, t in TEXTS.items() if n != "half"])
def test_content_of_an_artifact(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(tmp_path / "clip", content={"prompt": text, "drops": [{"reason": text}]})
    human = orster(capsys, "show", tmp_path / "clip")
    assert human.code == 0
    assert tame(human.out)
    assert orster(capsys, "show", tmp_path / "clip", "--json").data["content"]["prompt"] == text


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_names_made_of_texts(text: str) -> None:
    name = slug(text)
    assert name.isascii()
    assert 0 < len(name) <= 80
    assert safe_relative_path(name, where="test") == name


def test_slug_by_hand() -> None:
    assert slug("Ein Grüner Frosch (1).glb") == "Ein-Gruner-Frosch-1-glb"
    assert slug("../../etc/passwd") == "etc-passwd"
    assert slug("🐸") == "unnamed"


def test_a_file_name_that_is_no_text_gets_into_a_manifest(tmp_path: Path) -> None:
    from orster_cli.inputs.files import input_file

    path = os.fsencode(tmp_path) + b"/bad\xff\x1bname.glb"
    with open(path, "wb") as handle:
        handle.write(b"glTF")
    found = input_file(Path(os.fsdecode(path)))
    assert found.name == "bad\ufffd\ufffdname.glb"
    assert found.size == 4
