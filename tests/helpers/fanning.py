"""What workers of a fan-out do in tests: small tasks that end in every way. No torch."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from orster_cli.core.errors import Preempted
from orster_cli.fanout.tasks import Task

ENTRY = "tests.helpers.fanning:work"


def task(name: str, place: Path, do: str = "write", **more: Any) -> Task:
    """A task that writes `place`/`name`, or ends in another way first; see `work`."""
    return Task(
        id=name, entry=ENTRY, arguments={"place": str(place), "name": name, "do": do, **more}
    )


def tasks(names: Sequence[str], place: Path) -> list[Task]:
    return [task(name, place) for name in names]


def work(arguments: dict[str, Any]) -> int:
    """Note the try, do as told, and write the number of this process into the file `name`."""
    place, name, do = Path(arguments["place"]), arguments["name"], arguments["do"]
    tries = place / f"{name}.tries"
    with tries.open("a") as file:
        file.write(f"{os.getpid()} {os.environ.get('OMP_NUM_THREADS')}\n")
    first = len(tries.read_text().splitlines()) == 1
    if do == "die" or (do == "die once" and first):
        os.kill(os.getpid(), arguments.get("signal", signal.SIGKILL))
        time.sleep(60)
    if do == "fail":
        line = {"ok": False, "code": "E-INPUT", "error": "no good", "hint": "another", "exit": 3}
        sys.stderr.write(json.dumps(line) + "\n")
        return 3
    if do == "raise":
        raise KeyError("missing")
    if do == "stop once" and first:
        return 75
    if do == "stop":
        return 75
    if do == "grow" and first:
        hold = bytearray(arguments["bytes"])
        for offset in range(0, len(hold), 4096):
            hold[offset] = 1
        time.sleep(60)
    if do == "leak":
        _leaked.append(os.urandom(arguments["bytes"]))
    if do == "wait" or (do == "wait once" and first):
        _wait_for_signal(place / f"{name}.started")
    print("a library prints this")
    os.write(1, b"and this, past Python\n")
    (place / name).write_text(str(os.getpid()))
    sys.stdout.write(json.dumps({"status": arguments.get("status", "made"), "name": name}) + "\n")
    return 0


_leaked: list[bytes] = []


def _wait_for_signal(started: Path) -> None:
    """As a command does: a signal asks it to end, and it ends with 75."""

    def handle(number: int, frame: FrameType | None) -> None:
        raise Preempted("after a checkpoint")

    signal.signal(signal.SIGTERM, handle)
    started.touch()
    time.sleep(120)


SOURCE_ENTRY = "tests.helpers.fanning:source_that_dies_once"


def source_that_dies_once(values: dict[str, Any]) -> int:
    """Render an object of prepare-data; the process of the first try of "pet1" is killed half way."""
    from orster_cli.commands.run_entries import source

    scratch = Path(values["scratch"])
    tried = scratch.parent / f"{values['source']['key']}.tried"
    if values["source"]["key"] == "pet1" and not tried.exists():
        tried.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return source(values)
