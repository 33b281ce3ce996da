"""A stop on request: signals set a flag, and long work checks it between steps."""

from __future__ import annotations

from orster_cli.core.errors import Preempted
from orster_cli.core.reporting import Reporter


class StopFlag:
    """`requested` is true once the process was asked to end."""

    def __init__(self) -> None:
        self.requested = False

    def request(self) -> None:
        """Ask the work to end at its next safe point."""
        self.requested = True


class StopsAtSteps:
    """A reporter that passes everything on to `reporter`, for work whose only safe points are the steps
    that it reports, such as sampling: `step` raises Preempted where `stop` is requested and steps are
    left."""

    def __init__(self, reporter: Reporter, stop: StopFlag) -> None:
        self._reporter, self._stop = reporter, stop

    def step(self, stage: str, done: int, total: int, **figures: float | int | str) -> None:
        """See `Reporter.step`. After the last step the work is as good as done, and goes on."""
        self._reporter.step(stage, done, total, **figures)
        if self._stop.requested and done < total:
            raise Preempted(
                "stopped between two steps",
                hint="run the same command again; what was finished stays",
            )

    def info(self, message: str) -> None:
        """See `Reporter.info`."""
        self._reporter.info(message)

    def note(self, message: str) -> None:
        """See `Reporter.note`."""
        self._reporter.note(message)

    def warn(self, message: str) -> None:
        """See `Reporter.warn`."""
        self._reporter.warn(message)
