"""What the workers of `orster run` call: functions of plain JSON that return an exit code."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from orster_cli.ui.errors import OK, explain
from orster_cli.ui.out import Out

COMMAND_LINE = "orster_cli.commands.run_entries:command_line"
SOURCE = "orster_cli.commands.run_entries:source"


def command_line(words: list[str]) -> int:
    """Run one command line of orster; returns its exit code."""
    code: int = import_module("orster_cli.app").run(words)  # by name: it is above the commands
    return code


def source(values: dict[str, Any]) -> int:
    """Render one object of `prepare-data` into the scratch folder of its dataset."""
    from orster_cli.fanout.sources import process_task

    out = Out(as_json=True)
    try:
        process_task(values)
    except Exception as error:  # noqa: BLE001 - as the command line does: every error has an exit code
        failure = explain(error)
        out.error(failure.code, failure.message, failure.hint, failure.exit)
        return failure.exit
    out.result({"status": "made"}, "")
    return OK
