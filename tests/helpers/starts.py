"""Processes of their own that start at once: forks of one that has imported what commands need.

An interpreter that imports torch takes seconds of processor time before its first line of
work. The tests that kill a command, or run several processes of one, are about what it does then.
tests/e2e/test_installed.py starts real interpreters. A process has one such server, which imports only
what it was told before it started: so every test that forks does it by `start`.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
PRELOADED = "tests.helpers.preloaded"
_context = multiprocessing.get_context("forkserver")
_started: list[BaseProcess] = []


def start(
    talk: Path, work: Callable[..., object], *args: Any, env: Mapping[str, str] | None = None
) -> BaseProcess:
    """Run `work` in a new process: it exits with the number that `work` returns, and stdout and
    stderr go to the file `talk`."""
    _context.set_forkserver_preload([PRELOADED])
    old = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(REPOSITORY)  # for the server, the first time
    try:
        process = _context.Process(target=_work, args=(talk, dict(env or {}), work, args))
        process.start()
        _started.append(process)
    finally:
        if old is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = old
    return process


def start_orster(
    talk: Path, *words: str | Path, env: Mapping[str, str] | None = None
) -> BaseProcess:
    """Run a command line as `orster` does."""
    return start(talk, run_orster, [os.fspath(word) for word in words], env=env)


def start_group(
    talk: Path, count: int, work: Callable[..., object], *args: Any
) -> list[BaseProcess]:
    """`count` processes that find each other, as torchrun starts them: by their environment."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    sizes = {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
    return [
        start(talk, work, *args, env={**group, **sizes, "RANK": str(k), "LOCAL_RANK": str(k)})
        for k in range(count)
    ]


def ended(process: BaseProcess, talk: Path, seconds: float = 300) -> int:
    """Its exit code, a negative one for a signal; `talk` must name the file that it wrote to."""
    process.join(seconds)
    assert process.exitcode is not None, f"still running: {talk.read_text()[-2000:]}"
    return process.exitcode


def stop_server() -> None:
    """At a session's end: wait for it, so that its time is counted. What a failed test left running, or
    stopped, would keep it for ever: that is killed."""
    for process in _started:
        if process.is_alive():
            process.kill()
            process.join()
    forkserver._forkserver._stop()  # nothing where none was started


def _work(
    talk: Path, env: dict[str, str], work: Callable[..., object], args: tuple[Any, ...]
) -> None:
    os.environ.update(env)
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a job in the background has it ignored
    with talk.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    assert PRELOADED in sys.modules, f"python -c 'import {PRELOADED}' fails, and starts are slow"
    code = work(*args)
    sys.stdout.flush()
    sys.stderr.flush()
    sys.exit(code if isinstance(code, int) else 0)


def run_orster(words: list[str]) -> int:
    from orster_cli.app import run

    return run(words)
