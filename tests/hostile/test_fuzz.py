"""A short part of the fault budget (docs/robustness.md), and that its tool sees what is wrong."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import time
from pathlib import Path

import pytest

from orster_cli.core.errors import InputError
from tools.fuzz import workers
from tools.fuzz.__main__ import KINDS, make_bases, missing
from tools.fuzz.commands import PARTS, trials
from tools.fuzz.inputs import Kind

FEW = {"safetensors": 80, "ply": 60, "gltf": 60, "manifests": 30, "cameras": 30, "captions": 40}
FEW |= {"images": 50, "shards": 40}
SEED = 1  # the budget's own is 0


@pytest.mark.parametrize("name", FEW)
def test_mutants_are_read_rightly_or_refused(name: str, tmp_path: Path) -> None:
    kind = KINDS[name]
    bases = make_bases(kind, tmp_path)
    said = workers.batch(kind, bases, SEED, 0, FEW[name], tmp_path / "batch")
    assert said["findings"] == []
    assert said["outcomes"].keys() <= {"valid", "refused"}
    assert sum(said["outcomes"].values()) == FEW[name]
    assert said["outcomes"]["refused"] > 5  # the mutants are not all harmless


def test_a_mutant_follows_from_its_number(tmp_path: Path) -> None:
    for kind in (KINDS["gltf"], KINDS["safetensors"]):
        bases = make_bases(kind, tmp_path)
        one, again, other = (workers.mutant(kind, bases, 0, k) for k in (7, 7, 8))
        assert one == again
        assert one != other


def _broken(folder: Path) -> None:
    """A reader that fails in another way for each content."""
    word = (folder / "a").read_bytes().decode()
    if word == "untyped":
        raise ZeroDivisionError(word)
    if word == "typed":
        raise InputError(word)
    if word == "wrong":
        raise AssertionError(word)
    if word == "memory":
        bytearray(2**31)
    if word == "left":
        (folder / "b").touch()
    if word == "slow":
        time.sleep(30)
    if word == "crash":
        os.kill(os.getpid(), signal.SIGKILL)
    if word == "open":
        os.open(folder / "a", os.O_RDONLY)
    if word == "pickle":
        pickle.loads(pickle.dumps(Path))
    if word == "touched":
        with pytest.raises(OSError, match=r".*"):
            socket.create_connection(("127.0.0.1", 9), timeout=0.1)


WORDS = (
    "fine",
    "untyped",
    "typed",
    "wrong",
    "memory",
    "left",
    "slow",
    "crash",
    "open",
    "touched",
    "pickle",
    "fine",
)


def test_each_way_to_fail_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "SECONDS", 0.3)
    kind = Kind("broken", "", 0, lambda _: [], lambda files, _: files, _broken)
    bases = [{"a": word.encode()} for word in WORDS]

    def numbered(kind: Kind, bases: list[dict[str, bytes]], seed: int, number: int):  # type: ignore[no-untyped-def]
        return bases[number], number

    monkeypatch.setattr(workers, "mutant", numbered)
    said = workers.batch(kind, bases, 0, 0, len(WORDS), tmp_path / "batch")
    found = {WORDS[one["number"]]: one["kind"] for one in said["findings"]}
    assert found == {
        "untyped": "untyped", "wrong": "wrong", "memory": "memory", "left": "file left", "slow": "slow",
        "crash": "crash", "open": "descriptor left", "touched": "touched", "pickle": "touched",
    }  # fmt: skip
    assert said["outcomes"]["valid"] == 6
    assert said["outcomes"]["refused"] == 1


def test_batches_go_on_where_they_were_stopped() -> None:
    assert list(workers.batches(1200, {})) == [(0, 500), (500, 500), (1000, 200)]
    assert list(workers.batches(1200, {0: 100, 500: 500})) == [(100, 400), (1000, 200)]
    assert list(workers.batches(300, {0: 500})) == []


def test_what_is_left_of_the_budget_is_told() -> None:
    whole = [
        {"part": kind.name, "seed": 0, "count": kind.budget, "seconds": 1.0}
        for kind in KINDS.values()
    ]
    whole += [
        {"part": part, "seed": 0, "command": command, "count": budget, "seconds": 1.0}
        for part in PARTS
        for command, _, budget in trials(part)
    ]
    assert missing(whole, 0) == []
    assert len(missing(whole, 1)) == len(whole) + 1  # nothing of another seed is done
    (most,) = [
        one for one in whole if (one["part"], one.get("command")) == ("moments", "construct")
    ]
    most |= {"count": 40, "seconds": 80.0}
    assert missing(whole, 0) == [
        "moments construct: 60 of 100, about 2 min",
        "1 parts, about 0.0 hours and the kills",
    ]


def test_tests_reach_no_other_machine() -> None:
    with pytest.raises(ConnectionRefusedError, match="a test connects"):
        socket.create_connection(("192.0.2.1", 9), timeout=0.1)  # an address for documentation
