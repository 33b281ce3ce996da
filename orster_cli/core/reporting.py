"""How libraries report progress and messages: they never print, they call a `Reporter`."""

from __future__ import annotations

from typing import Protocol


class Reporter(Protocol):
    """Receives progress and messages. `ui.out` implements it for a terminal, a pipe and JSON lines."""

    def step(self, stage: str, done: int, total: int, **figures: float | int | str) -> None:
        """`done` of `total` units of `stage` are finished; `figures` are shown next to the bar.

        The figure `eta_s` is the seconds left, from a stage whose units differ in cost; other stages
        leave it to the reporter, which knows their pace."""

    def info(self, message: str) -> None:
        """A message to read once."""

    def note(self, message: str) -> None:
        """A guess, or something left out, that is in order; it is counted at the end."""

    def warn(self, message: str) -> None:
        """A setting that is ignored, a guess, or a repair."""


class Silent:
    """A reporter for library use and tests; keeps the warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def step(self, stage: str, done: int, total: int, **figures: float | int | str) -> None:
        del stage, done, total, figures

    def info(self, message: str) -> None:
        del message

    def note(self, message: str) -> None:
        self.info(message)

    def warn(self, message: str) -> None:
        self.warnings.append(message)


class ProgressAlone(Silent):
    """Passes progress on to `reporter`, and no message: of work that is reported elsewhere."""

    def __init__(self, reporter: Reporter) -> None:
        super().__init__()
        self._reporter = reporter

    def step(self, stage: str, done: int, total: int, **figures: float | int | str) -> None:
        """See `Reporter.step`."""
        self._reporter.step(stage, done, total, **figures)
