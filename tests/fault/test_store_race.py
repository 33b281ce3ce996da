"""Two writers at once: one wins, the other ends with exit code 6, and what stands is whole."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orster_cli.artifacts.store import begin, open_artifact
from orster_cli.ui.errors import exit_code
from tests.helpers.artifacts import FILES, damage, write
from tests.helpers.marks import slow

MANY = [pytest.param(12, id="12"), slow(60, id="60")]


def write_one(out: Path, seed: int, start: int) -> int:
    """Wait for the start, then write; the exit code."""
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
