"""The commands that write artifacts, tiny, in forked processes; and the parts that disturb them."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orster_cli.app import run
from orster_cli.artifacts.store import open_artifact
from orster_cli.core.reporting import Silent
from tests.helpers.chain import CHAIN, SETTINGS, make_chain, paths_below

REPOSITORY = Path(__file__).resolve().parents[2]
_CONSTRUCT = " ".join(
    f"--set construct.{name}"
    for name in (
        *("static_steps=8", "coarse_steps=8", "fine_steps=8", "gaussians=200"),
        *("max_gaussians=300", "resolution=32", "plane_resolution=8"),
    )
)
_CPU = f"-c @{SETTINGS} --device cpu"
_LINES = dict(CHAIN)
# command -> its words; one that starts with @ is a path below the yard
COMMANDS = {
    "prepare-data": "prepare-data @creature.glb -o OUT --resolution 16 --frames 4",
    **{
        line.split()[0]: f"{line} -o OUT {_CPU} --set {line.split()[0]}.checkpoint_seconds=0"
        for line in (_LINES[name] for name in ("pretrained", "distilled", "aligned", "model"))
    },
    "sample-video": f"sample-video -m @model --text teal -o OUT {_CPU}",
    "construct": f"construct @dataset#creature-00 -o OUT {_CPU} {_CONSTRUCT}",
    "evaluate": "evaluate @clip -o OUT --reference @dataset#creature-00 --set evaluate.resolution=16 "
    "--set evaluate.frames=4",
}
STAGES = ("pretrain", "distill", "align", "finetune")
# with the model in the package: what a model of four steps samples shows no object
GENERATE = f"generate --text frog -o OUT {_CPU} {_CONSTRUCT} --set sample.steps=4"


@dataclass
class Yard:
    """`root`: the artifacts that commands read, and a reference of what each makes; `work`: all else."""

    root: Path
    work: Path
    seconds: dict[str, float] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)

    def words(self, command: str, out: Path, more: str = "") -> list[str]:
        line = f"{COMMANDS[command]} {more}"
        return [str(out) if w == "OUT" else w for w in paths_below(self.root, line.split())]

    def reference(self, command: str, more: str = "") -> str:
        """The id of what an undisturbed run makes; how long that takes is kept in `seconds`."""
        key = f"{command} {more}"
        if key not in self.ids:
            place = self.fresh("reference")
            started = time.monotonic()
            code, said = finished(self.words(command, place / "out", more), self.work)
            if code:
                raise RuntimeError(f"{command} ends with {code}: {said}")
            self.seconds[key] = time.monotonic() - started
            self.ids[key] = open_artifact(place / "out").id
            files = (path for path in place.rglob("*") if path.is_file())
            self.sizes[key] = sum(path.stat().st_size for path in files)
        return self.ids[key]

    def fresh(self, name: str) -> Path:
        """An empty folder."""
        place = self.work / name
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        return place

    def wrong(self, command: str, place: Path, more: str = "") -> list[str]:
        """Run `command` again after a disturbance in `place`; what is not as it would have been."""
        out, faults = place / "out", []
        if out.exists() and (bad := open_artifact(out).verify(Silent())):
            faults.append(f"half an artifact: {bad[0]}")
        code, said = finished(self.words(command, out, more), self.work)
        if code:
            return [*faults, f"the same command ends with {code}: {said}"]
        artifact = open_artifact(out)
        faults += artifact.verify(Silent())
        if artifact.id != self.reference(command, more):
            faults.append("another id than an undisturbed run")
        left = sorted(path.name for path in place.iterdir() if path.name != "out")
        return faults + [f"left behind: {name}" for name in left]

    def damage(self) -> list[str]:
        """What happened to the artifacts that commands only read."""
        artifacts = [p for p in self.root.iterdir() if (p / "manifest.json").exists()]
        return [line for path in artifacts for line in open_artifact(path).verify(Silent())]


def make_yard(work: Path) -> Yard:
    """The yard below `work`, made where it is missing. Imports all that commands need."""
    import torch

    import tests.helpers.preloaded  # noqa: F401 - so that forks start at once

    torch.set_num_threads(1)
    root = work / "yard"
    yard = Yard(root, work)
    if not (root / "whole").exists():
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir(parents=True)
        code, said = forked(lambda: _fill(root), work)
        if code:
            raise RuntimeError(f"the yard cannot be made: {said}")
    return yard


def _fill(root: Path) -> int:
    from tests.helpers.training import dataset

    creature = REPOSITORY / "examples/creature.glb"
    dataset(creature, root / "made")
    make_chain(root / "made", root)
    shutil.rmtree(root / "made")
    shutil.copy2(creature, root / "creature.glb")
    yard = Yard(root, root)
    code = run(yard.words("sample-video", root / "clip"))
    code = code or run(yard.words("construct", root / "asset"))
    code = code or run(yard.words("evaluate", root / "report"))
    if code == 0:
        (root / "whole").touch()
    return code


def forked(work: Callable[[], object], folder: Path) -> tuple[int, str]:
    """Run `work` in a forked process: its exit code (what it returns), and the end of what it says."""
    talk = folder / "talk.txt"
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            quiet(talk)
            code = int(work() or 0)  # type: ignore[call-overload]
        except BaseException:  # noqa: BLE001 - the edge of the process
            import traceback

            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return code, " ".join(talk.read_text("utf-8", "replace").split())[-300:]


def quiet(talk: Path) -> None:
    """stdout and stderr of this process go to a file."""
    with talk.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)


def finished(words: list[str], folder: Path) -> tuple[int, str]:
    """Exit code and last words of a command line that runs to its end."""
    return forked(lambda: run(words), folder)


def silent(words: list[str], folder: Path) -> Callable[[], object]:
    """`words` as work for tests.helpers.dying."""

    def work() -> object:
        quiet(folder / "talk.txt")
        return run(words)

    return work


@dataclass
class Tally:
    """What came of the trials of one part and command."""

    outcomes: Counter[str] = field(default_factory=Counter)
    findings: list[dict[str, Any]] = field(default_factory=list)

    def add(self, number: int, outcome: str, faults: list[str]) -> None:
        self.outcomes[outcome] += 1
        kinds = [{"number": number, "base": 0, "kind": "lost", "where": ""} for _ in faults]
        self.findings += [
            kind | {"error": fault[:300]} for kind, fault in zip(kinds, faults, strict=True)
        ]


Part = Callable[[Yard, str, range, int, Tally], None]


def trials(part: str) -> Iterator[tuple[str, Part, int]]:
    """The (command, function, whole count) that a part is made of."""
    from tools.fuzz import disturb, repeat

    counts: dict[str, tuple[Part, int, tuple[str, ...]]] = {
        "kills": (disturb.kills, 10_000, tuple(COMMANDS)),
        "moments": (disturb.moments, 100, tuple(COMMANDS)),
        "resume": (disturb.resume, 20, STAGES),
        "full-disk": (disturb.full_disk, 20, tuple(COMMANDS)),
        "read-only": (disturb.read_only, 2, tuple(COMMANDS)),
        "bit-flips": (repeat.bit_flips, 500, ("verify",)),
        "truncations": (repeat.truncations, 200, ("verify",)),
        "repeat": (repeat.generate, 100, ("generate",)),
    }
    function, count, commands = counts[part]
    for command in commands:
        yield command, function, count


PARTS = (
    *("kills", "moments", "resume", "full-disk", "read-only", "bit-flips", "truncations", "repeat"),
)
CHUNK = 20  # trials that are recorded together


def run_part(
    name: str,
    count: int | None,
    seed: int,
    work: Path,
    results: list[dict[str, Any]],
    record: Callable[[Path, dict[str, Any]], None],
) -> None:
    """The trials of part `name` that are not recorded yet, `count` of each command (None: all)."""
    yard = make_yard(work)
    for command, function, whole in trials(name):
        done = [
            r for r in results if (r["part"], r["seed"], r.get("command")) == (name, seed, command)
        ]
        wanted = whole if count is None else min(count, whole)
        if name == "kills":
            from tools.fuzz.disturb import changes_of

            wanted = min(wanted, changes_of(yard, command))
        first = sum(r["count"] for r in done)
        step = wanted if name == "repeat" else CHUNK
        while first < wanted:
            numbers = range(first, min(first + step, wanted))
            tally, started = Tally(), time.monotonic()
            function(yard, command, numbers, seed, tally)
            if damage := yard.damage():
                tally.add(numbers.start, "inputs damaged", damage)
            about = {"part": name, "seed": seed, "command": command, "first": first, "mib": 0}
            took = round(time.monotonic() - started, 1)
            about |= {"count": len(numbers), "codes": {}, "seconds": took}
            record(work, about | {"outcomes": tally.outcomes, "findings": tally.findings})
            first = numbers.stop
