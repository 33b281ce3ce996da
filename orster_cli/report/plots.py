"""Small plots as inline SVG: a strip of dots a metric, lines over frames. T frames.

Colours come from the page's style sheet, by class, so that one plot serves light and dark.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from orster_cli.core.names import printable
from orster_cli.report.tabular import known, written

WIDTH = 460  # units of every viewBox: text of 12 is legible from a phone to a wide screen
RADIUS = 4.0
LANES = (0, -8, 8, -16, 16)  # where dots that would cover each other go


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
        """Where `value` lies."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def axis_of(values: Iterable[float], start: float, end: float, *, most: int = 6) -> Axis:
    """An axis that holds all `values` with a margin and has at most `most` ticks.

    ValueError: no values."""
    low, high = bounds(list(values))
    step, places = _step((high - low) / most)
    first = math.ceil(low / step - 1e-9)
    ticks = [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]
    return Axis(low, high, tuple(ticks), places, start, end)


def bounds(values: Sequence[float]) -> tuple[float, float]:
    """Range of `values` with a margin, wider than nothing also where all are equal."""
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


def strip(
    points: Sequence[tuple[str, float | None]],
    mean: float | None,
    interval: Sequence[float] | None,
    *,
    label: str,
    places: int,
) -> str:
    """One dot an object along a horizontal axis, the interval as a band and the mean as a bar.

    `points`: (object, value), those that are not defined are left out. "" where fewer than two are
    left: the mean says it all."""
    shown = sorted((v, name) for name, v in points if v is not None and math.isfinite(v))
    marks = known([mean, *(interval or ())])
    if len(shown) < 2:
        return ""
    middle, base = 30.0, 58.0
    axis = axis_of([*(v for v, _ in shown), *marks], 22.0, WIDTH - 22.0)
    parts = [_open(76, label), f'<path class="axis" d="M{axis.start} {base}H{axis.end}"/>']
    for tick in axis.ticks:
        x = axis.at(tick)
        parts.append(f'<path class="axis" d="M{x:.1f} {base}v4"/>')
        parts.append(_text(x, base + 16, written(tick, axis.places), "middle"))
    if interval is not None and len(known(interval)) == 2:
        left, right = axis.at(interval[0]), axis.at(interval[1])
        parts.append(
            f'<rect class="interval" x="{left:.1f}" y="{middle - 13}" '
            f'width="{max(right - left, 1):.1f}" height="26" rx="3"/>'
        )
    for x, lane, name, value in _swarm(shown, axis):
        title = f"<title>{_safe(name)}: {written(value, places)}</title>"
        dot = f'<circle class="dot" cx="{x:.1f}" cy="{middle + lane:.1f}" r="{RADIUS}">'
        parts.append(f"{dot}{title}</circle>")
    if mean is not None and math.isfinite(mean):
        bar = f'<path class="mean" d="M{axis.at(mean):.1f} {middle - 21}v42">'
        parts.append(f"{bar}<title>mean: {written(mean, places)}</title></path>")
    return "".join([*parts, "</svg>"])


def _swarm(shown: Sequence[tuple[float, str]], axis: Axis) -> list[tuple[float, float, str, float]]:
    """(x, lane, name, value) of each dot, from left to right: each takes the first lane where it
    covers none, or the one that has been free for longest."""
    last = dict.fromkeys(LANES, -math.inf)
    out = []
    for value, name in shown:
        x = axis.at(value)
        free = [lane for lane in LANES if x - last[lane] >= 2 * RADIUS]
        lane = free[0] if free else min(LANES, key=last.__getitem__)
        last[lane] = x
        out.append((x, float(lane), name, value))
    return out


def lines(series: Sequence[tuple[str, Sequence[float | None]]], *, label: str) -> str:
    """One line an object over its frames, and the mean of them all where there are several.

    `series`: (object, T values); a value that is not defined breaks the line. "" where none is."""
    values = [v for _, one in series for v in known(one)]
    if not values:
        return ""
    count = max(len(one) for _, one in series)
    top, bottom, left = 10.0, 178.0, 52.0
    y = axis_of(values, bottom, top)
    x = Axis(0, max(count - 1, 1), _whole(count), 0, left, WIDTH - 12.0)
    parts = [_open(216, label)]
    for tick in y.ticks:
        parts.append(f'<path class="grid" d="M{left} {y.at(tick):.1f}H{x.end}"/>')
        parts.append(_text(left - 8, y.at(tick) + 4, written(tick, y.places), "end"))
    for tick in x.ticks:
        parts.append(_text(x.at(tick), bottom + 16, f"{tick:.0f}", "middle"))
    parts.append(_text((left + x.end) / 2, bottom + 33, "frame", "middle"))
    single = len(series) == 1
    for name, one in series:
        kind = "line mean-line" if single else "line"
        path = f'<path class="{kind}" d="{_path(one, x, y)}">'
        parts.append(f"{path}<title>{_safe(name)}</title></path>")
    if not single:
        path = f'<path class="line mean-line" d="{_path(_means(series, count), x, y)}">'
        parts.append(f"{path}<title>mean of {len(series)} subjects</title></path>")
    return "".join([*parts, "</svg>"])


def _means(series: Sequence[tuple[str, Sequence[float | None]]], count: int) -> list[float | None]:
    """[T] mean over the objects that have a value in the frame."""
    out: list[float | None] = []
    for i in range(count):
        frame = known(one[i] for _, one in series if i < len(one))
        out.append(sum(frame) / len(frame) if frame else None)
    return out


def _path(values: Sequence[float | None], x: Axis, y: Axis) -> str:
    """A line through the values; one that stands alone becomes a dot (round caps)."""
    out, pen = [], "M"
    for i, value in enumerate(values):
        if value is None or not math.isfinite(value):
            pen = "M"
            continue
        out.append(f"{pen}{x.at(i):.1f} {y.at(value):.1f}" + ("h0" if pen == "M" else ""))
        pen = "L"
    return "".join(out)


def _whole(count: int) -> tuple[float, ...]:
    """Frames to label: at most 7 of them, from 0."""
    step = max(1, round(_step(max(count - 1, 1) / 6)[0]))
    return tuple(float(i) for i in range(0, count, step))


def _open(height: int, label: str) -> str:
    return (
        f'<svg class="plot" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{_safe(label)}">'
    )


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{_safe(text)}</text>'


def _safe(text: str) -> str:
    return html.escape(printable(text))
