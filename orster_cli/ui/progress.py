"""How far a stage is, how long it still takes, and how that reads in one line."""

from __future__ import annotations

import time
from dataclasses import dataclass

Figure = float | int | str

NAME_MIN = 12  # cells that the stage's name keeps on a narrow terminal
BAR_MAX, BAR_MIN = 24, 8
FIGURE_MAX = 30  # cells of one figure


class Pace:
    """Time spent and time left of the stage that is running.

    A stage "construct: fine" continues "construct: static": its pace is its own, its time is shared.
    """

    def __init__(self) -> None:
        self.stage: str | None = None
        self.shown = 0.0  # when progress was last written
        self._began = self._entered = 0.0
        self._first = 0

    def enter(self, stage: str, done: int) -> None:
        """Start the clock of `stage`, which a resumed run enters with `done` units finished."""
        now = time.monotonic()
        if self.stage is None or stage.partition(":")[0] != self.stage.partition(":")[0]:
            self._began = now
        self.stage, self._entered, self._first = stage, now, done

    def spent(self) -> float:
        """Seconds since the stage, or the first of its parts, began."""
        return time.monotonic() - self._began

    def spent_here(self) -> float:
        """Seconds since this part of the stage began."""
        return time.monotonic() - self._entered

    def left(self, done: int, total: int) -> float | None:
        """Seconds that `done` ... `total` takes at the pace of this run; None before any is done."""
        finished = done - self._first
        return self.spent_here() / finished * (total - done) if finished > 0 else None


@dataclass(frozen=True)
class Parts:
    """The pieces of a progress line, before they are fitted into a width."""

    name: str
    count: str
    time: str
    figures: list[str]

    def plain(self) -> str:
        """All of it, as a log has it."""
        return f"{self.name} {self.tail(len(self.figures))}"

    def tail(self, figures: int) -> str:
        """What follows the name, with the first `figures` of the figures."""
        return "  ".join(part for part in (self.count, self.time, *self.figures[:figures]) if part)


def describe(stage: str, done: int, total: int, time: str, figures: dict[str, Figure]) -> Parts:
    """The pieces of a progress line."""
    shown = [f"{name} {_figure(value)}" for name, value in figures.items()]
    return Parts(stage, f"{done}/{total}", time, shown)


def clock(seconds: float) -> str:
    """1:05 or 2h07."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}"
    return f"{whole // 60}:{whole % 60:02d}"


def _figure(value: Figure) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
