"""The command line in this process: exit code, stdout and stderr."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from orster_cli.app import run


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str

    @property
    def data(self) -> dict[str, Any]:
        """The one JSON object on stdout."""
        values: dict[str, Any] = json.loads(self.out)
        return values

    @property
    def failure(self) -> dict[str, Any]:
        """The JSON object on stderr that says why it failed."""
        values: dict[str, Any] = json.loads(self.err.splitlines()[-1])
        return values


def orster(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> Said:
    """Run one command line as `orster` does; signal handlers are put back."""
    capsys.readouterr()
    code = _run(arguments)
    said = capsys.readouterr()
    return Said(code, said.out, said.err)


def quiet(*arguments: str | Path) -> None:
    """Run one command line that must succeed, in a fixture: what it says is not kept."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        code = _run(arguments)
    assert code == 0, f"{arguments}: {said.getvalue()}"


def _run(arguments: Sequence[str | Path]) -> int:
    handlers = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)}
    try:
        return run([os.fspath(a) for a in arguments])
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
