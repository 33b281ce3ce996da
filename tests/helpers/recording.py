"""A reporter that keeps what it is told."""

from __future__ import annotations

from orster_cli.core.reporting import Silent


class Recorder(Silent):
    """`lines`: what is said once, notes among it; `notes`: those alone; `warnings`."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.notes: list[str] = []

    def info(self, message: str) -> None:
        self.lines.append(message)

    def note(self, message: str) -> None:
        self.notes.append(message)
        self.info(message)
