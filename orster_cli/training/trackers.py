"""TensorBoard, W&B, trackio and whatever else accelerate knows: extra copies of the log. What fails
here is warned of once and left alone: a tracker must never end a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.tracking import filter_trackers

from orster_cli.core.reporting import Reporter


class Trackers:
    """Those of `names` that can be started, under the run `name`; their files go to `folder`."""

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
        for asked in names:
            try:
                known = filter_trackers([asked], str(folder))
                if not known:
                    raise ModuleNotFoundError("its package is not installed")
                accelerator.log_with = known
                accelerator.init_trackers(name)
                self.working += accelerator.trackers
            except Exception as error:  # noqa: BLE001 - see above
                self._warn(asked, error)

    def log(self, row: dict[str, Any]) -> None:
        """The numbers of a line of the log, at its step."""
        numbers = {name: value for name, value in row.items() if isinstance(value, (int, float))}
        for tracker in list(self.working):
            try:
                tracker.log(numbers, step=row["step"])
            except Exception as error:  # noqa: BLE001 - see above
                self.working.remove(tracker)
                self._warn(tracker.name, error)

    def finish(self) -> None:
        """Let them write what they hold."""
        for tracker in self.working:
            try:
                tracker.finish()
            except Exception as error:  # noqa: BLE001 - see above
                self._warn(tracker.name, error)

    def _warn(self, name: object, error: Exception) -> None:
        self.reporter.warn(f"tracker {name}: left out: {error}")
