"""No command writes over what it reads, or over another kind of artifact, with or without --force.

The inputs here are artifacts of their kind with nothing in them that could be read: a command that opened
one before it looked at its output would fail with another error.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import click
import pytest
import typer

from orster_cli.app import build
from orster_cli.artifacts.manifest import Kind
from orster_cli.artifacts.store import begin
from tests.helpers.cli import orster

Capture = pytest.CaptureFixture[str]

# command line -> the kind that it writes. @NAME is an input: an artifact of the kind before the dash,
# or a file where the name has a dot
WRITES = {
    "prepare-data @objects --captions @clips.csv": "dataset",
    "prepare-data @frog.glb -c @set.toml": "dataset",
    "prepare-data --merge @dataset-1 @dataset-2": "dataset",
    "pretrain @dataset -m @model-1 --vae @model-2 --encoder @model-3 --template @set.toml": "model",
    "pretrain @dataset --role encoder": "model",
    "distill @dataset -m @model-1 --teacher-3d @model-2 --teacher-video @model-3": "model",
    "align @dataset -m @model -c @set.toml": "model",
    "finetune @dataset -m @model": "model",
    "sample-video --image @x.png -m @model": "clip",
    "sample-video --object @dataset#key -c @set.toml": "clip",
    "sample-video --object @clip": "clip",
    "sample-video --object @clip --start @asset": "clip",
    "construct @clip-1 @clip-2 --static-orbit @clip-3 -m @model": "asset",
    "construct @dataset#frog-00:eval": "asset",
    "construct @video.mp4 -c @set.toml": "asset",
    "evaluate @asset --reference @clip": "report",
    "evaluate @dataset#frog-00 --reference @frog.glb#1 -c @set.toml": "report",
    "evaluate @gaussians.ply --reference @dataset": "report",
    "import videomv @t2v.pth --base @model": "model",
    "import modelscope @folder": "model",
    "import i2vgen-xl @folder": "model",
    "import clip @folder": "model",
}
INTO = {  # commands that write several artifacts below a folder, and their names there
    "generate --image @x.png -m @model -c @set.toml": {"clip": "clip", "asset": "asset"},
    "generate --object @clip": {"clip": "clip", "asset": "asset"},
    "generate --object @clip --orbits 2": {"clip": "orbits/clip-180", "asset": "orbits/first"},
    "sample-video --object @clip -m @model --seeds 3-4": {"clip": "seed-0004"},
}
# commands that write files for other programs, which are no artifacts: tests/e2e/test_export.py
FILES = ["export @asset --to glb --mesh @x.glb"]
# starts these commands, each of which checks its own output: tests/e2e/test_run.py
STARTS = ["run construct --over @clip"]
# fetches an artifact into a folder that must not be there: tests/e2e/test_hub.py
FETCHES = ["pull someone/frog"]
KINDS: tuple[Kind, ...] = get_args(Kind)


def artifact(folder: Path, kind: Kind) -> Path:
    draft = begin(folder, kind=kind, command="test", config={"name": folder.name})
    assert draft is not None
    with draft:
        (draft.dir / "work").write_bytes(b"hours of it " + folder.name.encode())
        draft.commit({})
    return folder


def lay_out(line: str, place: Path) -> dict[str, Path]:
    """The inputs that a line names, each in a folder of its own."""
    made = {}
    for word in line.split():
        if not word.startswith("@"):
            continue
        name = word[1:].partition("#")[0]
        path = place / f"in-{name}" / name
        kind = name.partition("-")[0]
        if kind in KINDS:
            artifact(path, kind)  # type: ignore[arg-type]
        elif "." in name:
            path.parent.mkdir(parents=True)
            path.write_text("")
        else:
            path.mkdir(parents=True)
            (path / "frog.glb").write_bytes(b"an object, or weights")
        made[word] = path
    return made


def words_of(line: str, inputs: dict[str, Path]) -> list[str]:
    """The line with its inputs' paths in place."""
    words = []
    for word in line.split():
        mark = f"#{word.partition('#')[2]}" if "#" in word else ""
        words.append(f"{inputs[word]}{mark}" if word in inputs else word)
    return words


def digest(place: Path) -> dict[str, str]:
    files = (p for p in sorted(place.rglob("*")) if p.is_file())
    return {str(p.relative_to(place)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def refused(capsys: Capture, place: Path, words: list[str], out: Path) -> str:
    """What the command says; nothing below `place` has changed."""
    before = digest(place)
    message = ""
    for force in ([], ["--force"]):
        said = orster(capsys, *words, "-o", out, "--json", *force)
        assert (said.code, said.failure["code"]) == (6, "E-OUTPUT"), (words, out, said.err)
        assert "--force" not in f"{said.failure['error']} {said.failure['hint']}"
        assert "choose another" in said.failure["hint"]
        message = said.failure["error"]
        assert digest(place) == before
    return message


@pytest.mark.parametrize("line", WRITES)
def test_no_input_is_an_output(capsys: Capture, tmp_path: Path, line: str) -> None:
    inputs = lay_out(line, tmp_path)
    words = words_of(line, inputs)
    for number, (word, path) in enumerate(inputs.items()):
        assert "not an input" in refused(capsys, tmp_path, words, path), word
        link = tmp_path / f"link-{number}"
        link.symlink_to(path)
        assert "not an input" in refused(capsys, tmp_path, words, link), word
        if (path / "manifest.json").is_file():
            assert "inside the input" in refused(capsys, tmp_path, words, path / "new"), word
        # an artifact that --force might replace, into which somebody has put the input
        outer = artifact(tmp_path / f"outer-{number}", WRITES[line])  # type: ignore[arg-type]
        inner = outer / "kept" / path.name
        (shutil.copytree if path.is_dir() else shutil.copy)(path, _parent(inner))
        moved = words_of(line, {**inputs, word: inner})
        assert "holds the input" in refused(capsys, tmp_path, moved, outer), word


def _parent(path: Path) -> Path:
    path.parent.mkdir(parents=True)
    return path


@pytest.mark.parametrize("line", INTO)
def test_no_input_is_among_several_outputs(capsys: Capture, tmp_path: Path, line: str) -> None:
    inputs = lay_out(line, tmp_path)
    for number, (word, path) in enumerate(inputs.items()):
        for name in INTO[line].values():
            folder = tmp_path / f"out-{number}-{name}"
            target = folder / name
            (shutil.copytree if path.is_dir() else shutil.copy)(path, _parent(target))
            moved = words_of(line, {**inputs, word: target})
            assert "the input" in refused(capsys, tmp_path, moved, folder), (word, name)
    if "@clip" in inputs:
        message = refused(capsys, tmp_path, words_of(line, inputs), inputs["@clip"])
        assert "found a clip" in message


@pytest.mark.parametrize("line", WRITES)
def test_no_other_kind_is_replaced(capsys: Capture, tmp_path: Path, line: str) -> None:
    words = words_of(line, lay_out(line, tmp_path))
    for kind in KINDS:
        if kind != WRITES[line]:
            out = artifact(tmp_path / f"made-{kind}", kind)
            message = refused(capsys, tmp_path, words, out)
            assert "expected nothing or a" in message
            assert f" {kind}" in message.rpartition("found")[2]


@pytest.mark.parametrize("line", INTO)
def test_no_other_kind_is_replaced_below(capsys: Capture, tmp_path: Path, line: str) -> None:
    words = words_of(line, lay_out(line, tmp_path))
    for kind in KINDS:
        out = artifact(tmp_path / f"made-{kind}", kind)
        assert "expected a folder for" in refused(capsys, tmp_path, words, out)
        for writes, name in INTO[line].items():
            if kind != writes:
                artifact(tmp_path / f"some-{kind}-{name}" / name, kind)
                message = refused(capsys, tmp_path, words, tmp_path / f"some-{kind}-{name}")
                assert "expected nothing or a" in message


def test_init_and_a_captions_file_stay_out_of_artifacts(
    capsys: Capture, tmp_path: Path, creature: Path
) -> None:
    for kind in KINDS:
        made = artifact(tmp_path / kind, kind)
        before = digest(tmp_path)
        write = ["prepare-data", str(creature), "--write-captions", "-o", str(made / "clips.csv")]
        for words in (["init", str(made)], write, [*write, "--force"]):
            said = orster(capsys, *words, "--json")
            assert (said.code, said.failure["code"]) == (6, "E-OUTPUT"), said.err
            assert digest(tmp_path) == before


@pytest.mark.parametrize("out", ["/proc/x", "/proc/x/y", "FILE/x", "FILE"])
def test_an_output_that_cannot_be_made_is_no_bug(
    capsys: Capture, tmp_path: Path, creature: Path, out: str
) -> None:
    (tmp_path / "file").write_text("x")
    place = out.replace("FILE", str(tmp_path / "file"))
    render = ["--frames", "2", "--resolution", "16"]
    for words in (
        ["init", place],
        ["prepare-data", str(creature), *render, "-o", place],
        ["prepare-data", str(creature), "--write-captions", "-o", f"{place}/clips.csv"],
    ):
        said = orster(capsys, *words, "--json")
        assert said.code in (2, 3, 4, 6), (words, said.err)
        assert said.failure["hint"], words


def _with_output(command: click.Command, name: str = "") -> Iterator[str]:
    """Commands that have an option -o."""
    if isinstance(command, click.Group) or hasattr(command, "commands"):
        for inner, entry in command.commands.items():  # type: ignore[attr-defined]
            yield from _with_output(entry, f"{name} {inner}".strip())
    elif any("-o" in parameter.opts for parameter in command.params):
        yield name


def test_every_command_that_writes_is_in_these_tables() -> None:
    names = set(_with_output(typer.main.get_command(build())))
    assert {"construct", "import clip", "evaluate"} <= names
    lines = [*WRITES, *INTO, *FILES, *STARTS, *FETCHES]
    assert {n for n in names if not any(line.startswith(f"{n} ") for line in lines)} == set()


def test_the_digest_sees_a_change(tmp_path: Path) -> None:
    made = artifact(tmp_path / "clip", "clip")
    before = digest(tmp_path)
    (made / "work").write_bytes(b"other")
    assert digest(tmp_path) != before
    os.unlink(made / "work")
    assert len(digest(tmp_path)) == len(before) - 1
