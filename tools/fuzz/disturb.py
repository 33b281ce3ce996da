"""Kills, full disks and read-only places: afterwards nothing is lost, and the same command goes on."""

from __future__ import annotations

import ctypes
import json
import math
import random
import shutil
import subprocess
import sys
from pathlib import Path

from tests.helpers import dying
from tools.fuzz.commands import Tally, Yard, finished, forked, quiet, silent

_CLONE_NEWNS = 0x00020000
_changes: dict[str, int] = {}


def changes_of(yard: Yard, command: str) -> int:
    """How often `command` changes the file system."""
    if command not in _changes:
        yard.reference(command)
        place, told = yard.fresh("count"), yard.work / "changes.txt"
        words = yard.words(command, place / "out")
        forked(lambda: _counted(words, told), yard.work)
        _changes[command] = int(told.read_text())
    return _changes[command]


def _counted(words: list[str], told: Path) -> int:
    from orster_cli.app import run

    count = 0

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal count
        if event in dying._CHANGES and not (event == "open" and arguments[1] in ("r", "rb")):
            count += 1

    sys.addaudithook(hook)
    code = run(words)
    number = count
    told.write_text(str(number))
    return code


def order(total: int, seed: int) -> list[int]:
    """The changes 1 .. `total` so that any first part of them is spread over all."""
    rng = random.Random(f"kills {seed}")
    numbers = list(range(1, total + 1))
    rng.shuffle(numbers)
    return numbers


def kills(yard: Yard, command: str, numbers: range, seed: int, tally: Tally) -> None:
    """SIGKILL before a change of the file system, each change once."""
    changes = order(changes_of(yard, command), seed)
    for number in numbers:
        place = yard.fresh("killed")
        work = silent(yard.words(command, place / "out"), yard.work)
        outcome = "killed" if dying.killed_at(work, changes[number]) else "ended before"
        tally.add(changes[number], outcome, yard.wrong(command, place))


def moments(yard: Yard, command: str, numbers: range, seed: int, tally: Tally) -> None:
    """SIGKILL at a random moment."""
    yard.reference(command)
    for number in numbers:
        rng = random.Random(f"moments {command} {seed} {number}")
        place = yard.fresh("killed")
        killed = _killed(yard, command, place, rng.random(), "")
        tally.add(number, "killed" if killed else "ended before", yard.wrong(command, place))


def _killed(yard: Yard, command: str, place: Path, share: float, more: str) -> bool:
    """SIGKILL after `share` of the time of a whole run; again, with less, where it has ended by then."""
    work = silent(yard.words(command, place / "out", more), yard.work)
    for _ in range(6):
        moment = share * yard.seconds[f"{command} {more}"]
        if dying.killed_after(work, moment):
            return True
        yard.seconds[f"{command} {more}"] *= 0.8
        shutil.rmtree(place)
        place.mkdir()
    return False


def resume(yard: Yard, command: str, numbers: range, seed: int, tally: Tally) -> None:
    """Three kills at random moments in a row, then to the end: the weights have the same bytes."""
    more = f"--set {command}.steps=12"
    yard.reference(command, more)
    for number in numbers:
        rng = random.Random(f"resume {command} {seed} {number}")
        place, killed = yard.fresh("resumed"), 0
        for _ in range(3):
            killed += _killed(yard, command, place, rng.uniform(0.2, 0.9), more)
        tally.add(number, f"{killed} kills in a row", yard.wrong(command, place, more))


# -- places that refuse ------------------------------------------------------------------------------


def full_disk(yard: Yard, command: str, numbers: range, seed: int, tally: Tally) -> None:
    """A disk of 20 sizes, from 8 KiB to one and a half times what the command leaves."""
    yard.reference(command)
    needs = yard.sizes[f"{command} "]
    ratio = math.log(max(1.5 * needs, 64 * 1024) / 8192)
    sizes = order(20, seed)  # so that any first part of them is spread over all
    for number in numbers:
        size = int(8192 * math.exp(ratio * (sizes[number] - 1) / 19)) // 4096 * 4096
        _in_namespace(yard, command, number, f"size={size}", "size=1g", tally)


def read_only(yard: Yard, command: str, numbers: range, seed: int, tally: Tally) -> None:
    """0: the output's folder cannot be written; 1: the inputs cannot."""
    del seed
    yard.reference(command)
    for number in numbers:
        if number == 0:
            _in_namespace(yard, command, number, "ro", "rw,size=1g", tally)
        else:
            _in_namespace(yard, command, number, None, None, tally)


def _in_namespace(
    yard: Yard, command: str, number: int, first: str | None, then: str | None, tally: Tally
) -> None:
    """Run `command` in a mount of its own with the options `first`, which may refuse it, then with `then`,
    which may not. None: the yard itself is read-only, which hinders no command."""
    place, told = yard.fresh("disk"), yard.work / "told.json"
    told.unlink(missing_ok=True)
    code, said = forked(lambda: _mounted(yard, command, place, first, then, told), yard.work)
    if code or not told.exists():
        tally.add(number, "not run: needs the right to mount", [] if code == 77 else [said])
        return
    value = json.loads(told.read_text())
    tally.add(number, value["outcome"], value["faults"])


def _mounted(
    yard: Yard, command: str, place: Path, first: str | None, then: str | None, told: Path
) -> int:
    quiet(yard.work / "mount.txt")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNS) or subprocess.run(["mount", "--make-rprivate", "/"]).returncode:
        return 77
    faults: list[str] = []
    outcome = "inputs read-only: the same id"
    if first is None:
        subprocess.run(["mount", "--bind", yard.root, yard.root], check=True)
        subprocess.run(["mount", "-o", "remount,bind,ro", yard.root], check=True)
    else:
        subprocess.run(["mount", "-t", "tmpfs", "-o", first, "none", place], check=True)
        code, said = finished(yard.words(command, place / "out"), yard.work)
        outcome = "it fits" if code == 0 else f"refused with exit code {code}"
        if code not in (0, 4):
            faults.append(f"exit code {code}: {said}")
        subprocess.run(["mount", "-o", f"remount,{then}", place], check=True)
    faults += yard.wrong(command, place)
    told.write_text(json.dumps({"outcome": outcome, "faults": faults}))
    return 0
