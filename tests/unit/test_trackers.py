"""Trackers get the log's numbers and can never end a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from orster_cli.config.train import TrainConfig
from orster_cli.core.reporting import Silent
from orster_cli.training.loop import make_accelerator
from orster_cli.training.trackers import Trackers


def fragile() -> Any:
    """A tracker that breaks at step 3."""
    from accelerate.tracking import GeneralTracker

    class Fragile(GeneralTracker):
        name = "fragile"
        requires_logging_directory = False

        def __init__(self) -> None:
            super().__init__()
            self.rows: list[tuple[int | None, dict[str, Any]]] = []

        @property
        def tracker(self) -> None:
            return None

        def store_init_configuration(self, values: dict[str, Any]) -> None:
            del values

        def log(self, values: dict[str, Any], step: int | None, **kwargs: Any) -> None:
            if step == 3:
                raise ConnectionError("no route")
            self.rows.append((step, values))

    return Fragile()


def test_numbers_arrive_and_failures_are_warned_of_once(tmp_path: Path) -> None:
    accelerator = make_accelerator(TrainConfig(), cpu=True)
    reporter, tracker = Silent(), fragile()
    trackers = Trackers(
        accelerator,
        [tracker, "no-such"],  # type: ignore[list-item]
        name="run",
        folder=tmp_path,
        reporter=reporter,
    )
    for step in range(1, 6):
        trackers.log({"step": step, "loss": 0.5, "kappa_histogram": [0.0, 1.0]})
    trackers.finish()
    assert [step for step, _ in tracker.rows] == [1, 2]
    assert tracker.rows[0][1] == {"step": 1, "loss": 0.5}
    assert len(reporter.warnings) == 2
    assert "no-such" in reporter.warnings[0]
    assert "fragile" in reporter.warnings[1]
    assert "no route" in reporter.warnings[1]
