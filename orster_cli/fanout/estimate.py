"""What a run would take, from a few of its items that are really run, or from those that are finished."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from orster_cli.core.errors import ItemsError
from orster_cli.core.stopping import StopFlag
from orster_cli.fanout.tasks import Result, Runner, Task


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Means over `measured` items: seconds and processor seconds of one, bytes that it leaves, and the most
    memory that a worker held. Bytes are 0 where they were not measured."""

    measured: int
    seconds: float
    processor_seconds: float
    memory: float
    bytes: float

    def total_seconds(self, items: int, workers: int) -> float:
        """Seconds that `items` take on `workers` that do not disturb each other."""
        return self.seconds * items / max(workers, 1)


def estimate_of(usage: Sequence[dict[str, float]], size: float = 0.0) -> Estimate:
    """The means of what items took; `usage` is not empty."""
    return Estimate(
        measured=len(usage),
        seconds=fmean(one.get("seconds", 0.0) for one in usage),
        processor_seconds=fmean(one.get("processor_seconds", 0.0) for one in usage),
        memory=max(one.get("peak_bytes", 0.0) for one in usage),
        bytes=size,
    )


def measure(tasks: Sequence[Task], runner: Runner, out: Path, stop: StopFlag) -> Estimate:
    """Run `tasks`, which write below the folder `out`. ItemsError: none of them succeeds."""
    results: list[Result] = list(runner.run(tasks, stop))
    done = [one for one in results if one.ok]
    if not done:
        reason = results[0].error if results else "it was stopped"
        raise ItemsError(f"the sample cannot be measured: {reason}", hint="--sample 0")
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    return estimate_of([one.usage for one in done], size / len(done))


def spread(count: int, wanted: int) -> list[int]:
    """`wanted` of the numbers 0 ... `count` - 1, evenly apart."""
    wanted = min(wanted, count)
    return [int((i + 0.5) * count / wanted) for i in range(wanted)]
