"""A task and its result, and how a process performs one.

A task names a function of this package and its arguments as plain JSON, so that a pipe, submitit and Ray
carry the same thing. The function writes what `--json` writes and returns an exit code, as a command does.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import platform
import resource
import signal
import sys
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib import import_module
from pathlib import Path
from threading import current_thread, main_thread
from typing import IO, Any, Protocol

from orster_cli.core.errors import Preempted
from orster_cli.core.stopping import StopFlag

AGAIN = 75  # the exit code of work that a signal stopped after a checkpoint (docs/exit-codes.md)
BUG = 1
MEMORY = "E-MEMORY"
KEPT = 1 << 16  # characters of what a task writes, from its end
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


@dataclass(frozen=True, kw_only=True)
class Task:
    """`entry`: "package.module:function" of the function to call with `arguments`, which are JSON."""

    id: str
    entry: str
    arguments: Any


@dataclass(frozen=True, kw_only=True)
class Result:
    """How a task ended.

    `code`: its exit code; negative: the signal that killed its process, as `subprocess` gives it.
    `values`: the JSON object on its stdout. `error`, `error_code`, `hint`: what it said on stderr.
    `usage`: seconds, processor seconds and, of the process after the task, memory and open files."""

    id: str
    code: int
    values: dict[str, Any] = field(default_factory=dict)
    error: str = ""
    error_code: str = ""
    hint: str = ""
    usage: dict[str, float] = field(default_factory=dict)
    attempts: int = 1
    process: str = ""

    @property
    def ok(self) -> bool:
        return self.code == 0

    @property
    def made(self) -> bool:
        """Whether anything was done: it was not up to date."""
        return self.ok and self.values.get("status") != "up to date"


class Runner(Protocol):
    """Performs tasks somewhere else."""

    def run(self, tasks: Sequence[Task], stop: StopFlag) -> Generator[Result, None, None]:
        """Yield the result of each task when it ends, in any order.

        With `stop.requested`, running tasks are asked to end at their next checkpoint; those that did not
        finish have no result, or one with the code `AGAIN`. Closing the iterator ends all processes."""


def to_json(value: Task | Result) -> str:
    """One line of JSON."""
    return json.dumps(asdict(value), ensure_ascii=True)


def task_from(values: dict[str, Any]) -> Task:
    return Task(**values)


def result_from(values: dict[str, Any]) -> Result:
    return Result(**values)


def function_of(entry: str) -> Callable[[Any], int]:
    """The function that `entry` names, found by name: the command line is above this package."""
    module, _, name = entry.partition(":")
    found: Callable[[Any], int] = getattr(import_module(module), name)
    return found


def perform(task: Task) -> Result:
    """Call the task's function in this process. What it writes is caught; no error leaves it."""
    out, err = Tail(), Tail()
    began, spent = time.monotonic(), _processor_seconds()
    with _handlers_put_back(), _redirected(out, err):
        try:
            code = function_of(task.entry)(task.arguments)
        except Preempted as stopped:
            code = AGAIN
            err.write(json.dumps({"ok": False, "code": stopped.code, "error": str(stopped)}) + "\n")
        except Exception as error:  # noqa: BLE001 - the functions report their own: this is a bug
            code = BUG
            text = f"{type(error).__name__}: {error}"
            err.write(json.dumps({"ok": False, "code": "E-BUG", "error": text}) + "\n")
    usage = {
        "seconds": round(time.monotonic() - began, 4),
        "processor_seconds": round(_processor_seconds() - spent, 4),
        **process_usage(),
    }
    result = Result(
        id=task.id, code=code, values=_last_object(out.text), usage=usage, process=process_name()
    )
    said = _last_object(err.text) if code else {}
    if "error" not in said:
        last = err.text.strip().splitlines()[-1:] if code else []
        return replace(result, error="".join(last)[-500:])
    texts = {name: str(said.get(key) or "") for name, key in _SAID.items()}
    return replace(result, **texts)  # type: ignore[arg-type]


_SAID = {"error": "error", "error_code": "code", "hint": "hint"}


class Tail(io.TextIOBase):
    """A text stream that keeps the last `KEPT` characters or a little more."""

    encoding = "utf-8"

    def __init__(self) -> None:
        self.text = ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.text += text
        if len(self.text) > 2 * KEPT:
            self.text = self.text[-KEPT:]
        return len(text)


def process_name() -> str:
    """ "node:12345" of this process."""
    return f"{platform.node()}:{os.getpid()}"


def process_usage() -> dict[str, float]:
    """Memory (now and at its peak, bytes) and open files of this process."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    usage = {"peak_bytes": float(peak * (1 if sys.platform == "darwin" else 1024))}
    if (now := resident_bytes(os.getpid())) is not None:
        usage["resident_bytes"] = float(now)
    with contextlib.suppress(OSError):
        usage["open_files"] = float(len(os.listdir("/proc/self/fd")))
    return usage


def resident_bytes(pid: int) -> int | None:
    """Memory that a process holds; None: the system does not say, or the process is gone."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def _processor_seconds() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


@contextlib.contextmanager
def _redirected(out: Tail, err: Tail) -> Iterator[None]:
    before: tuple[IO[str], IO[str]] = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = out, err
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


@contextlib.contextmanager
def _handlers_put_back() -> Iterator[None]:
    """Commands handle signals themselves: afterwards this process does again."""
    if current_thread() is not main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:
                signal.signal(number, handler)


def _last_object(text: str) -> dict[str, Any]:
    """The last line that is a JSON object; {} where there is none."""
    for line in reversed(text.splitlines()):
        with contextlib.suppress(ValueError):
            value = json.loads(line)
            if isinstance(value, dict):
                return value
    return {}
