"""Runs mutants in forked processes with a limit on memory, a clock, and a watch on what they touch.

A mutant follows from (kind, seed, number) alone. What is wrong is a *finding*: an untyped error, a result
that is not right, more than 10 s, more than 1 GiB, a file or a descriptor left, a connection, a program or
a pickle, or a process that dies.
"""

from __future__ import annotations

import gc
import json
import os
import random
import resource
import shutil
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from orster_cli.core.errors import OrsterError
from orster_cli.core.limits import GiB
from orster_cli.ui.errors import explain
from tools.fuzz.inputs import Files, Kind

SECONDS = 10.0  # a mutant may take
MEMORY = 1 * GiB  # beyond what the process has before it reads
BATCH = 500  # mutants of one process
SILENCE = 60.0  # seconds after which a process that does not listen to its clock is killed
_FORBIDDEN = ("socket.connect", "socket.getaddrinfo", "os.system", "pickle.find_class", "exec_")


class TooSlow(BaseException):
    """Raised by the clock: no reader catches it."""


def batch(
    kind: Kind, bases: list[Files], seed: int, first: int, count: int, place: Path
) -> dict[str, Any]:
    """Run mutants `first` .. `first + count` in processes of their own; what came of them.

    A process that dies is a finding of the mutant it was at; another one goes on behind it."""
    result: dict[str, Any] = {"outcomes": Counter(), "codes": Counter(), "findings": [], "mib": 0}
    at, started = first, time.monotonic()
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    while at < first + count:
        died = _in_child(kind, bases, seed, at, first + count - at, place)
        said = json.loads((place / "said.json").read_text())
        for name in ("outcomes", "codes"):
            result[name].update(said[name])
        result["findings"] += said["findings"]
        result["mib"] = max(result["mib"], said["mib"])
        if died is None:
            break
        number = said["next"]
        finding = {"number": number, "kind": "crash", "error": died, "where": "", "base": ""}
        result["findings"].append(finding)
        result["outcomes"]["crash"] += 1
        at = number + 1
    shutil.rmtree(place)
    about = {"part": kind.name, "seed": seed, "first": first, "count": count}
    return about | result | {"seconds": round(time.monotonic() - started, 1)}


def _in_child(
    kind: Kind, bases: list[Files], seed: int, first: int, count: int, place: Path
) -> str | None:
    """Run the mutants in a forked process. None: it ended well; else how it died."""
    progress = place / "said.json"
    progress.write_text(json.dumps(_said(Counter(), Counter(), [], 0, first)))
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            _work(kind, bases, seed, range(first, first + count), place)
            code = 0
        except BaseException:  # noqa: BLE001 - the edge of the process
            traceback.print_exc()
        finally:
            os._exit(code)
    seen, since = progress.stat().st_mtime_ns, time.monotonic()
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            return None if code == 0 else f"exit {code}" if code > 0 else f"signal {-code}"
        time.sleep(0.02)
        if (now := progress.stat().st_mtime_ns) != seen:
            seen, since = now, time.monotonic()
        elif time.monotonic() - since > SILENCE:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return f"no answer for {SILENCE:.0f} s"


def _said(
    outcomes: Counter[str], codes: Counter[str], findings: list[Any], mib: int, following: int
) -> dict[str, Any]:
    names = {"outcomes": outcomes, "codes": codes, "findings": findings}
    return {**names, "mib": mib, "next": following}


def _work(kind: Kind, bases: list[Files], seed: int, numbers: range, place: Path) -> None:
    own, scratch, said = place / "in", place / "tmp", place / "said.json"
    scratch.mkdir(exist_ok=True)
    os.environ["TMPDIR"] = str(scratch)
    import tempfile

    tempfile.tempdir = None
    touched: list[str] = []
    sys.addaudithook(lambda event, _: touched.append(event) if _forbidden(event) else None)
    signal.signal(signal.SIGALRM, _late)
    _limit_memory()
    outcomes: Counter[str] = Counter()
    codes: Counter[str] = Counter()
    findings: list[dict[str, Any]] = []
    before, descriptors = _memory("VmRSS"), _descriptors()
    for number in numbers:
        # every one, since this one may be the last
        said.write_text(json.dumps(_said(outcomes, codes, findings, 0, number)))
        files, base = mutant(kind, bases, seed, number)
        write(own, files)
        touched.clear()
        outcome, error = _outcome(kind, own)
        if outcome == "refused":
            codes[explain(error).code] += 1  # type: ignore[arg-type]
        elif outcome != "valid":
            findings.append(_finding(number, base, outcome, error))
        error = None  # its trace holds what was open
        left = sorted(
            {p.relative_to(own).as_posix() for p in own.rglob("*") if p.is_file()} - set(files)
        )
        left += [p.name for p in scratch.iterdir()]
        faults = [("file left", name) for name in left[:3]]
        faults += [("touched", event) for event in sorted(set(touched))]
        if _descriptors() > descriptors and gc.collect() >= 0 and _descriptors() > descriptors:
            faults.append(("descriptor left", f"{_descriptors()} after {descriptors}"))
            descriptors = _descriptors()
        outcomes[outcome] += 1
        findings += [_finding(number, base, name, RuntimeError(text)) for name, text in faults]
        shutil.rmtree(own)
        for path in scratch.iterdir():
            path.unlink() if path.is_file() else shutil.rmtree(path)
    mib = max(0, _memory("VmHWM") - before) // 1024
    said.write_text(json.dumps(_said(outcomes, codes, findings, mib, numbers.stop)))


def mutant(kind: Kind, bases: list[Files], seed: int, number: int) -> tuple[Files, int]:
    """The files of mutant `number`, and which of the bases it comes from."""
    rng = random.Random(f"{kind.name} {seed} {number}")
    base = rng.randrange(len(bases))
    return kind.mutant(bases[base], rng), base


def write(folder: Path, files: Files) -> None:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def _outcome(kind: Kind, folder: Path) -> tuple[str, BaseException | None]:
    """valid, refused (a typed error), or what is wrong."""
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        kind.read(folder)
    except TooSlow as error:
        return "slow", error
    except MemoryError as error:
        return "memory", error
    except AssertionError as error:
        return "wrong", error
    except OrsterError as error:
        return ("refused" if len(str(error)) < 2000 else "long message"), error
    except BaseException as error:  # noqa: BLE001 - this is what is looked for
        return ("untyped" if explain(error).bug else "refused"), error
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return "valid", None


def _late(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise TooSlow(f"more than {SECONDS:.0f} s")


def _finding(number: int, base: int, kind: str, error: BaseException | None) -> dict[str, Any]:
    """One line about what is wrong, with the last place of ours in its trace."""
    frames = traceback.extract_tb(error.__traceback__) if error is not None else []
    ours = [f for f in frames if "/orster_cli/" in f.filename] or list(frames)[-1:]
    where = f"{ours[-1].filename.split('/orster_cli/')[-1]}:{ours[-1].lineno}" if ours else ""
    text = f"{type(error).__name__}: {str(error)[:200]}"
    return {"number": number, "base": base, "kind": kind, "error": text, "where": where}


def _memory(name: str) -> int:
    """KiB of this process: VmRSS, VmHWM (its peak) or VmSize."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    return 0


def _forbidden(event: str) -> bool:
    """Whether a reader may not do that. numba keeps the compiled kernels as pickles in its own cache."""
    if event != "pickle.find_class":
        return event in _FORBIDDEN
    frame: FrameType | None = sys._getframe()
    while frame is not None and "/numba/" not in frame.f_code.co_filename:
        frame = frame.f_back
    return frame is None


def _limit_memory() -> None:
    if size := _memory("VmSize"):
        resource.setrlimit(resource.RLIMIT_AS, (size * 1024 + MEMORY, size * 1024 + MEMORY))


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0


def batches(count: int, done: dict[int, int]) -> Iterator[tuple[int, int]]:
    """The (first, count) of batches that make `count` mutants of those that are `done`, by their firsts."""
    at = 0
    while at < count:
        if at in done:
            at += done[at]
            continue
        end = min([at + BATCH, count, *(first for first in done if first > at)])
        yield at, end - at
        at = end
