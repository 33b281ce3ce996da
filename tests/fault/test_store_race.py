"""Two writers at once: one wins, the other ends with exit code 6, and what stands is whole."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

import pytest

from orster_cli.artifacts import lock
from orster_cli.artifacts.folders import make_folder, remove_empty
from orster_cli.artifacts.store import begin, open_artifact
from orster_cli.ui.errors import exit_code
from tests.helpers.artifacts import FILES, damage, write
from tests.helpers.marks import slow

MANY = [pytest.param(12, id="12"), slow(60, id="60")]


def write_one(out: Path, seed: int, start: int | None = None) -> int:
    """Wait for the start, then write; the exit code."""
    if start is not None:
        os.read(start, 1)
    try:
        draft = begin(out, kind="clip", command="construct", config={"seed": seed})
        if draft is not None:
            with draft:
                write(draft.dir, FILES)
                draft.commit({})
    except Exception as error:  # noqa: BLE001 - as at the edge of the command line
        return exit_code(error)
    return 0


def race(out: Path, seeds: tuple[int, int]) -> list[int]:
    """Exit codes of one writer per seed, let loose at the same moment."""
    start, go = os.pipe()
    writers = []
    for seed in seeds:
        pid = os.fork()
        if pid == 0:
            os.close(go)
            os._exit(write_one(out, seed, start))
        writers.append(pid)
    os.close(start)
    os.write(go, b"ab")
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in writers]
    os.close(go)
    return codes


@pytest.mark.parametrize("races", MANY)
def test_writers_of_different_things(races: int, tmp_path: Path) -> None:
    for number in range(races):
        out = tmp_path / f"clip{number}"
        codes = race(out, (1, 2))
        assert sorted(codes) == [0, 6]
        artifact = open_artifact(out)
        assert damage(artifact) == []
        assert artifact.manifest.config == {"seed": 1 if codes[0] == 0 else 2}
    assert len(list(tmp_path.iterdir())) == races  # no lock and no draft stays


@pytest.mark.parametrize("races", MANY)
def test_writers_of_the_same_thing(races: int, tmp_path: Path) -> None:
    ids = set()
    for number in range(races):
        out = tmp_path / f"clip{number}"
        assert sorted(race(out, (1, 1))) in ([0, 0], [0, 6])
        artifact = open_artifact(out)
        assert damage(artifact) == []
        ids.add(artifact.id)
    assert len(ids) == 1
    assert len(list(tmp_path.iterdir())) == races


def test_a_folder_that_vanishes_before_the_lock_lies_in_it_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = []

    def make_and_lose(folder: Path) -> list[Path]:
        made = make_folder(folder)
        if len(gone) < 3:
            remove_empty(made)
            gone.append(made)
        return made

    monkeypatch.setattr(lock, "make_folder", make_and_lose)
    out = tmp_path / "a" / "b" / "clip"
    assert write_one(out, 1) == 0
    assert damage(open_artifact(out)) == []
    assert gone == [[out.parent, out.parent.parent]] * 3


@pytest.mark.slow
def test_a_run_that_ends_without_an_output_takes_no_folder_from_another(tmp_path: Path) -> None:
    """One run after the other makes the folder, fails and removes it; another begins its output there."""
    folder = tmp_path / "a" / "b"
    pid = os.fork()
    if pid == 0:
        while True:  # whatever happens, this process must not go on with the tests
            with contextlib.suppress(BaseException):
                remove_empty(make_folder(folder))
    codes = []
    try:
        for number in range(300):
            draft = begin(folder / f"clip{number}", kind="clip", command="x", config={})
            assert draft is not None
            try:
                with draft:
                    raise KeyError("and fails too")
            except Exception as error:  # noqa: BLE001 - as at the edge of the command line
                codes.append(type(error).__name__)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert codes == ["KeyError"] * 300
