"""Damaged artifacts, and a command a hundred times in one process."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

from orster_cli.artifacts.store import Artifact, open_artifact
from orster_cli.core.errors import OrsterError
from orster_cli.core.reporting import Silent
from orster_cli.ui.errors import explain
from tests.helpers.chain import paths_below
from tools.fuzz.commands import GENERATE, Tally, Yard, forked

ARTIFACTS = ("dataset", "model", "clip", "asset", "report")
GROWTH_KIB = 256  # that a run may add to the memory of the process, in the mean


def bit_flips(yard: Yard, command: str, numbers: range, seed: int, tally: Tally) -> None:
    """One bit of one file of an artifact is another."""

    def flipped(data: bytes, rng: random.Random) -> bytes:
        at = rng.randrange(len(data) * 8)
        out = bytearray(data)
        out[at // 8] ^= 1 << at % 8
        return bytes(out)

    del command
    _damaged(yard, "flip", flipped, numbers, seed, tally)


def truncations(yard: Yard, command: str, numbers: range, seed: int, tally: Tally) -> None:
    """One file of an artifact is cut short."""
    del command

    def cut(data: bytes, rng: random.Random) -> bytes:
        return data[: rng.randrange(len(data) - 1)]  # the last byte may be a newline after JSON

    _damaged(yard, "cut", cut, numbers, seed, tally)


def _damaged(
    yard: Yard,
    what: str,
    change: Callable[[bytes, random.Random], bytes],
    numbers: range,
    seed: int,
    tally: Tally,
) -> None:
    place, told = yard.fresh("damaged"), yard.work / "told.json"

    def work() -> None:
        results = []
        for number in numbers:
            rng = random.Random(f"{what} {seed} {number}")
            kind = ARTIFACTS[number % len(ARTIFACTS)]
            folder = place / kind
            if not folder.exists():
                shutil.copytree(yard.root / kind, folder)
            files = sorted(p for p in folder.rglob("*") if p.is_file() and p.stat().st_size > 1)
            path = rng.choice(files)
            whole = path.read_bytes()
            path.write_bytes(change(whole, rng))
            results.append((number, *_told_of(folder, kind, what)))
            path.write_bytes(whole)
        told.write_text(json.dumps(results))

    code, said = forked(work, yard.work)
    if code:
        tally.add(numbers.start, "not run", [said])
        return
    for number, outcome, faults in json.loads(told.read_text()):
        tally.add(number, outcome, faults)


def _told_of(folder: Path, kind: str, what: str) -> tuple[str, list[str]]:
    """How the damage shows: opening refuses it, or the reader does, or `verify` alone."""
    faults = []
    try:
        artifact = open_artifact(folder)
    except OrsterError:
        return "refused when it is opened", []
    if what == "cut":
        faults.append("a cut file is opened")
    if not artifact.verify(Silent()):
        faults.append("verify finds nothing")
    try:
        _read(artifact, kind)
    except Exception as error:  # noqa: BLE001 - this is what is looked for
        if explain(error).bug:
            faults.append(f"untyped: {type(error).__name__}: {error}")
        return "found by verify and by the reader", faults
    return "found by verify; the reader alone takes it", faults


def _read(artifact: Artifact, kind: str) -> None:
    from orster_cli.construction.asset import load_asset
    from orster_cli.dataset.reader import Dataset
    from orster_cli.diffusion.bundle import load_bundle
    from orster_cli.io.clip_files import read_clip, read_priors
    from orster_cli.report.file import load_report

    if kind == "dataset":
        data = Dataset.read(artifact.path)
        for key in data.keys():  # noqa: SIM118 - it is no dict
            data.clip(key)
    elif kind == "model":
        load_bundle(artifact.path)
    elif kind == "clip":
        read_clip(artifact.path)
        read_priors(artifact.path)
    elif kind == "asset":
        load_asset(artifact.path).at(0.3)
    else:
        load_report(artifact.path)


def generate(yard: Yard, command: str, numbers: range, seed: int, tally: Tally) -> None:
    """`generate` again and again in one process: what grows, and what is left."""
    from orster_cli.app import run

    del command, seed
    place, told, scratch = yard.fresh("again"), yard.work / "told.json", yard.fresh("scratch")

    def work() -> None:
        import tempfile

        os.environ["TMPDIR"] = str(scratch)
        tempfile.tempdir = None
        states = []
        for number in numbers:
            words = [str(place / "out") if w == "OUT" else w for w in GENERATE.split()]
            code = run([*paths_below(yard.root, words), "--seed", str(number % 3)])
            shutil.rmtree(place / "out", ignore_errors=True)
            left = [p.name for p in (*place.iterdir(), *scratch.iterdir())]
            states.append({"code": code, "left": left, **_state()})
            told.write_text(json.dumps(states))
            if code in (75, 130, 143):  # a signal meant this process, which must not go on alone
                break

    code, said = forked(work, yard.work)
    states = json.loads(told.read_text()) if told.exists() else []
    faults = [said] if code else []
    for state in states:
        tally.outcomes[f"exit code {state['code']}"] += 1
    # what torch makes once, such as torchinductor_USER, is there after the first run
    new = {name for state in states for name in state["left"]} - set(states[0]["left"])
    faults += [f"left: {name}" for name in sorted(new)[:3]]
    tally.outcomes.update(f"{name} left once" for name in states[0]["left"])
    settled, last = states[len(states) // 3], states[-1]
    runs = max(1, len(states) - 1 - len(states) // 3)
    growth = (last["kib"] - settled["kib"]) / runs
    tally.outcomes[f"memory grows by {growth:.0f} KiB a run"] += 1
    if growth > GROWTH_KIB:
        faults.append(f"memory grows by {growth:.0f} KiB a run")
    for name in ("descriptors", "threads"):
        if last[name] > settled[name]:
            faults.append(f"{name}: {settled[name]}, then {last[name]}")
    tally.add(numbers.stop, "measured", faults)


def _state() -> dict[str, int]:
    """Memory, open files and threads of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    values = {line.split(":")[0]: line.split()[1] for line in lines if len(line.split()) > 1}
    count = len(os.listdir("/proc/self/fd"))
    return {"kib": int(values["VmRSS"]), "threads": int(values["Threads"]), "descriptors": count}
