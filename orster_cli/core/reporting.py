"""Progress, messages and warnings of the library, which never prints: it calls a `Reporter`."""

from __future__ import annotations

from typing import Protocol


class Reporter(Protocol):
    """Receives progress and messages. `ui` implements it for a terminal, a pipe and JSON lines."""

    def step(self, stage: str, done: int, total: int, **figures: float | int | str) -> None:
        """`done` of `total` units of `stage` are finished; `figures` are shown with the bar."""

    def info(self, message: str) -> None:
        """A message for the user."""

    def warn(self, message: str) -> None:
        """A warning: an ignored setting, a guess, a repair."""


class Silent:
    """A reporter that prints nothing and collects the warnings, for library use and tests."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def step(self, stage: str, done: int, total: int, **figures: float | int | str) -> None:
        del stage, done, total, figures

    def info(self, message: str) -> None:
        del message

    def warn(self, message: str) -> None:
        self.warnings.append(message)
