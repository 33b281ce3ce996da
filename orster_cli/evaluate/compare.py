"""The figures of one subject against the reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orster_cli.core.errors import InputError
from orster_cli.core.reporting import Reporter
from orster_cli.evaluate.footage import Footage, check_comparable
from orster_cli.evaluate.metrics import METRICS, PerFrame, columns_of
from orster_cli.metrics.ssim import WINDOW


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Per-frame values by column, for one subject."""

    name: str
    frames: dict[str, PerFrame]

    @property
    def mean(self) -> dict[str, float | None]:
        """By column, the mean over the frames that have a value; None where none has."""
        return {name: _mean(values) for name, values in self.frames.items()}


def _mean(values: PerFrame) -> float | None:
    known = [v for v in values if v is not None]
    return sum(known) / len(known) if known else None


def compare(ours: Footage, reference: Footage, names: Sequence[str], reporter: Reporter) -> Figures:
    """Compute the metrics `names`. InputError: the two cannot be compared."""
    check_comparable(ours, reference, reporter)
    if "ssim" in names and min(reference.frames.shape[2:]) < WINDOW:
        raise InputError(
            f"{reference.name}: SSIM looks at windows of {WINDOW} pixels, the frames are smaller",
            hint="leave it out: --metrics psnr",
        )
    frames: dict[str, PerFrame] = {}
    for name in names:
        metric = METRICS[name]
        for column, values in zip(metric.columns, metric.compute(ours, reference), strict=True):
            frames[column.name] = values
    for column in columns_of(names):
        missing = sum(value is None for value in frames[column.name])
        if missing:
            why = "it has no alpha" if reference.alpha is None else "nothing is to be seen there"
            reporter.warn(
                f"{reference.name}: {column.name} is not defined in {missing} of "
                f"{len(reference)} frames: {why}"
            )
    return Figures(name=ours.name, frames=frames)
