"""Copies the log to TensorBoard, W&B, trackio and other trackers of accelerate. A tracker that fails is
dropped with one warning: it must never end a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.tracking import filter_trackers

from orster_cli.core.reporting import Reporter


class Trackers:
    """The trackers of `names` that can be started, under the run `name`, with their files in `folder`."""

    def __init__(
        self,
        accelerator: Accelerator,
        names: Sequence[str],
        *,
        name: str,
        folder: Path,
        reporter: Reporter,
    ) -> None:
        self.accelerator, self.reporter = accelerator, reporter
        self.working: list[Any] = []
        accelerator.project_configuration.logging_dir = str(folder)
        for tracker in names:
            try:
                available = filter_trackers([tracker], str(folder))
                if not available:
                    raise ModuleNotFoundError("its package is not installed")
                accelerator.log_with = available
                accelerator.init_trackers(name)
                self.working += accelerator.trackers
            except Exception as error:  # noqa: BLE001 - see above
                self._warn(tracker, error)

    def log(self, row: dict[str, Any]) -> None:
        """Log the numbers of a row at its step."""
        numbers = {name: value for name, value in row.items() if isinstance(value, (int, float))}
        for tracker in list(self.working):
            try:
                tracker.log(numbers, step=row["step"])
            except Exception as error:  # noqa: BLE001 - see above
                self.working.remove(tracker)
                self._warn(tracker.name, error)

    def finish(self) -> None:
        """Flush and close all trackers."""
        for tracker in self.working:
            try:
                tracker.finish()
            except Exception as error:  # noqa: BLE001 - see above
                self._warn(tracker.name, error)

    def _warn(self, name: object, error: Exception) -> None:
        self.reporter.warn(f"tracker {name}: left out: {error}")
