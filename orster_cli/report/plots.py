"""Small plots as inline SVG: strip plots of subjects, line plots over frames. T frames.

Colours come from the page's style sheet, by class, so that light and dark pages use the same plot.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from orster_cli.report.html import fragment
from orster_cli.report.tabular import finite

WIDTH = 460  # of every viewBox: text of size 12 is legible from a phone to a wide screen
RADIUS = 4.0
LANES = (0, -8, 8, -16, 16)  # vertical offsets of dots that would overlap


@dataclass(frozen=True)
class Axis:
    """A range of values laid out from `start` to `end` in the plot, with ticks at round values."""

    low: float
    high: float
    ticks: tuple[float, ...]
    places: int
    start: float
    end: float

    def at(self, value: float) -> float:
        """The coordinate of `value`."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


@dataclass(frozen=True)
class Dot:
    """An object on an axis, `lane` below (or above) its middle."""

    x: float
    lane: float
    name: str
    value: float


@dataclass(frozen=True)
class Curve:
    """A line of a plot: `kind` its classes in the style sheet, `path` its SVG path data."""

    name: str
    kind: str
    path: str


def axis_of(values: Iterable[float], start: float, end: float, *, most: int = 6) -> Axis:
    """An axis that holds all `values` with a margin and has at most `most` ticks.

    ValueError: no values."""
    low, high = bounds(list(values))
    step, places = _step((high - low) / most)
    first = math.ceil(low / step - 1e-9)
    ticks = [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]
    return Axis(low, high, tuple(ticks), places, start, end)


def bounds(values: Sequence[float]) -> tuple[float, float]:
    """Range of `values` with a margin; not empty where all are equal."""
    low, high = min(values), max(values)
    middle, span = (low + high) / 2, high - low
    if span <= 1e-6 * abs(middle) or span == 0:
        span = abs(middle) * 0.02 or 1.0
        low, high = middle - span / 2, middle + span / 2
    return low - 0.05 * span, high + 0.05 * span


def _step(least: float) -> tuple[float, int]:
    """The round step (1, 2, 2.5 or 5 times a power of ten) not below `least`, and its places."""
    power = math.floor(math.log10(least))
    for digits in (1.0, 2.0, 2.5, 5.0, 10.0):
        step = digits * 10.0**power
        if step >= least * (1 - 1e-9):
            break
    places = -power - (digits == 10.0) + (digits == 2.5)
    return step, max(places, 0)


def strip_plot(
    points: Sequence[tuple[str, float | None]],
    mean: float | None,
    interval: Sequence[float] | None,
    *,
    label: str,
    places: int,
) -> Markup:
    """One dot for each object on a horizontal axis, the interval as a band and the mean as a bar.

    `points`: (object, value); undefined values are left out. Empty where fewer than two are left."""
    shown = sorted((v, name) for name, v in points if v is not None and math.isfinite(v))
    marks = finite([mean, *(interval or ())])
    if len(shown) < 2:
        return Markup()
    axis = axis_of([*(v for v, _ in shown), *marks], 22.0, WIDTH - 22.0)
    band = None
    if interval is not None and len(finite(interval)) == 2:
        left, right = map(axis.at, interval)
        band = (left, max(right - left, 1.0))  # start and width
    return fragment(
        "strip.svg.j2",
        width=WIDTH,
        height=76,
        label=label,
        base=58.0,
        middle=30.0,
        axis=axis,
        band=band,
        dots=_swarm(shown, axis),
        radius=RADIUS,
        mean=mean if finite([mean]) else None,
        places=places,
    )


def _swarm(shown: Sequence[tuple[float, str]], axis: Axis) -> list[Dot]:
    """The dots from left to right. Each takes the first lane where it overlaps none, or the lane that has
    been free for longest."""
    last = dict.fromkeys(LANES, -math.inf)
    out = []
    for value, name in shown:
        x = axis.at(value)
        free = [lane for lane in LANES if x - last[lane] >= 2 * RADIUS]
        lane = free[0] if free else min(LANES, key=last.__getitem__)
        last[lane] = x
        out.append(Dot(x, lane, name, value))
    return out


def line_plot(series: Sequence[tuple[str, Sequence[float | None]]], *, label: str) -> Markup:
    """One line for each object over its frames, and their mean where there are several.

    `series`: (object, T values); an undefined value breaks the line. Empty where no value is defined."""
    values = [v for _, one in series for v in finite(one)]
    if not values:
        return Markup()
    count = max(len(one) for _, one in series)
    x = Axis(0, max(count - 1, 1), _whole(count), 0, 52.0, WIDTH - 12.0)
    y = axis_of(values, 178.0, 10.0)
    kind = "line" if len(series) > 1 else "line mean-line"
    curves = [Curve(name, kind, _path(one, x, y)) for name, one in series]
    if len(series) > 1:
        mean = _path(_means(series, count), x, y)
        curves.append(Curve(f"mean of {len(series)} subjects", "line mean-line", mean))
    return fragment(
        "lines.svg.j2",
        width=WIDTH,
        height=216,
        label=label,
        x=x,
        y=y,
        curves=curves,
        frames=count,
    )


def _means(series: Sequence[tuple[str, Sequence[float | None]]], count: int) -> list[float | None]:
    """[T] means over the objects with a value in the frame."""
    out: list[float | None] = []
    for i in range(count):
        frame = finite(one[i] for _, one in series if i < len(one))
        out.append(sum(frame) / len(frame) if frame else None)
    return out


def _path(values: Sequence[float | None], x: Axis, y: Axis) -> str:
    """SVG path through the values; an isolated value becomes a dot (round caps)."""
    out, pen = [], "M"
    for i, value in enumerate(values):
        if value is None or not math.isfinite(value):
            pen = "M"
            continue
        out.append(f"{pen}{x.at(i):.1f} {y.at(value):.1f}" + ("h0" if pen == "M" else ""))
        pen = "L"
    return "".join(out)


def _whole(count: int) -> tuple[float, ...]:
    """Frame numbers to label: at most 7, from 0."""
    step = max(1, round(_step(max(count - 1, 1) / 6)[0]))
    return tuple(float(i) for i in range(0, count, step))
