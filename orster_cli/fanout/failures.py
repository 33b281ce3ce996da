"""What failed: a table for the reader and `failures.json` for programs."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orster_cli.core.atomic import write_bytes
from orster_cli.core.names import printable
from orster_cli.fanout.tasks import Result

FAILURES = "failures.json"
HEADER = ["failed", "error", "exit", "tries"]
SHOWN = 20  # rows of the table
ERROR_MAX = 90  # characters of an error in the table


def failure_rows(failed: Sequence[Result]) -> list[list[str]]:
    """Rows of the table under `HEADER`; the first `SHOWN`."""
    return [[one.id, _short(one.error), str(one.code), str(one.attempts)] for one in failed[:SHOWN]]


def write_failures(
    path: Path, failed: Sequence[Result], words: Mapping[str, Sequence[str]]
) -> None:
    """Write `failures.json`, or remove it where nothing failed. `words`: the command line of each id, to
    run it alone."""
    if not failed:
        path.unlink(missing_ok=True)
        return
    rows: list[dict[str, Any]] = [
        {
            "id": one.id,
            "exit": one.code,
            "code": one.error_code,
            "error": one.error,
            "hint": one.hint,
            "tries": one.attempts,
            "process": one.process,
            "command": f"orster {shlex.join(words[one.id])}" if one.id in words else "",
        }
        for one in failed
    ]
    write_bytes(path, (json.dumps({"failed": rows}, indent=1) + "\n").encode())


def _short(text: str) -> str:
    line = " ".join(printable(text).split())
    return line if len(line) <= ERROR_MAX else line[: ERROR_MAX - 3] + "..."
