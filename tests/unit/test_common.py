"""What the stage commands share: resolve, plan, draft, signals, and what they say at the end."""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer

from orster_cli import app as application
from orster_cli.artifacts.store import open_artifact
from orster_cli.commands.stage import Stage, listen
from orster_cli.core.errors import InputError, Preempted
from orster_cli.core.stopping import StopFlag
from orster_cli.inputs.files import input_file
from orster_cli.ui.options import DryRunOption, ForceOption, JsonOption, OutOption, SetOption
from orster_cli.ui.out import Out
from tests.helpers.cli import Said, orster
from tests.helpers.streams import Pipe

Capture = pytest.CaptureFixture[str]


def copy(
    source: Annotated[Path, typer.Argument()],
    out: OutOption,
    seed: int | None = None,
    kill: bool = False,
    assignments: SetOption = None,
    force: ForceOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """A stage as its author writes it: copies a file, and counts its runs in the scratch folder."""
    stage = Stage.open(
        "construct",
        command="copy",
        kind="clip",
        reads=[source],
        out=out,
        flags={"construct.seed": seed},
        config=None,
        template=None,
        assignments=assignments,
        force=force,
        dry_run=dry_run,
        as_json=as_json,
        quiet=False,
    )
    draft = stage.plan(inputs=[input_file(source)], seeds={"copy": 3}, extra={"view": "front"})
    if draft is None:
        return
    with draft:
        marks = draft.scratch / "runs"
        marks.write_text((marks.read_text() if marks.exists() else "") + "x")
        if kill:
            os.kill(os.getpid(), signal.SIGUSR1)
        if stage.stop.requested:
            raise Preempted("stopped after run 1", hint="run the same command again")
        (draft.dir / "copy").write_bytes(source.read_bytes())
        artifact = draft.commit({"runs": len(marks.read_text()), "resumed": draft.resumed})
    stage.done(artifact, summary="copied", next_step="orster show", values={"runs": 1})


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file to copy; the command is registered like every other."""
    monkeypatch.setattr("orster_cli.commands.show.show", copy)
    monkeypatch.setattr(application, "COMMANDS", {"copy": ("show", "show")})
    path = tmp_path / "in.bin"
    path.write_bytes(b"orster")
    return path


def tree(folder: Path) -> dict[str, int]:
    return {str(p): p.stat().st_mtime_ns for p in folder.rglob("*")}


def test_a_dry_run_says_the_plan_and_touches_nothing(
    source: Path, tmp_path: Path, capsys: Capture
) -> None:
    before = tree(tmp_path)
    said = orster(capsys, "copy", source, "-o", tmp_path / "out", "-n", "--seed", "7")
    assert said.code == 0
    digest = hashlib.sha256(b"orster").hexdigest()
    lines = said.out.splitlines()
    assert lines[0].startswith(f"would write clip {tmp_path / 'out'} (request ")
    assert lines[1] == f"  from in.bin {digest[:12]} (6 bytes)"
    assert "seed = 7  # command line" in lines
    data = orster(capsys, "copy", source, "-o", tmp_path / "out", "-n", "--json").data
    assert (data["status"], data["kind"]) == ("dry run", "clip")
    assert data["inputs"] == [{"name": "in.bin", "size": 6, "sha256": digest}]
    assert data["config"]["seed"] == 0
    assert tree(tmp_path) == before


def test_made_up_to_date_conflict_and_forced(source: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "out"

    def run(*more: str) -> Said:
        return orster(capsys, "copy", source, "-o", out, *more)

    made = run("--json").data
    assert (made["status"], made["runs"], made["path"]) == ("made", 1, str(out))
    artifact = open_artifact(out, kind="clip")
    assert artifact.id == made["id"]
    assert artifact.manifest.command == "copy"
    assert artifact.manifest.seeds == {"copy": 3}
    assert artifact.manifest.config["view"] == "front"
    assert artifact.manifest.config["construct"]["seed"] == 0
    again = run("--json")
    assert (again.code, again.data["status"]) == (0, "up to date")
    assert run("--seed", "0").out == f"{out}: up to date\n"  # the default, said aloud
    other = run("--set", "construct.seed=1")
    assert other.code == 6
    assert "--force" in other.err
    source.write_bytes(b"changed")
    assert run().code == 6
    forced = run("--force")
    assert forced.code == 0
    assert forced.out.splitlines()[-1] == "next: orster show"
    assert (out / "copy").read_bytes() == b"changed"


def test_a_signal_ends_with_75_and_the_next_run_goes_on(
    source: Path, tmp_path: Path, capsys: Capture
) -> None:
    out = tmp_path / "out"
    stopped = orster(capsys, "copy", source, "-o", out, "--kill", "--json")
    assert stopped.code == 75
    assert stopped.failure["code"] == "E-PREEMPTED"
    assert '"info": "stopping at the next safe point' in stopped.err
    assert not out.exists()
    assert orster(capsys, "copy", source, "-o", out).code == 0
    assert open_artifact(out).content == {"runs": 2, "resumed": True}


def test_an_unreadable_input_is_the_inputs_fault(
    source: Path, tmp_path: Path, capsys: Capture
) -> None:
    assert orster(capsys, "copy", tmp_path / "absent", "-o", tmp_path / "out").code == 3
    with pytest.raises(InputError, match="Is a directory"):
        input_file(tmp_path)


@pytest.fixture
def handlers() -> Iterator[None]:
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
    kept: dict[int, Any] = {n: signal.getsignal(n) for n in numbers}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
@pytest.mark.usefixtures("handlers")
def test_the_first_signal_asks_the_second_ends(number: signal.Signals) -> None:
    stop, talk = StopFlag(), Pipe()
    listen(stop, Out(stdout=Pipe(), stderr=talk))
    assert not stop.requested
    os.kill(os.getpid(), number)
    assert stop.requested
    assert talk.getvalue() == "stopping at the next safe point (again to stop at once)\n"
    pid = os.fork()
    if pid == 0:
        os.kill(os.getpid(), number)
        os._exit(0)  # not reached: the second one is the system's own
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -number
