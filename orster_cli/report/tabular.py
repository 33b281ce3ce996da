"""How a report formats its figures: decimal places, units, arrows, "-" for what is not defined."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

UNDEFINED = "-"
ARROWS = {"higher": "↑", "lower": "↓", "neither": ""}
SIGNIFICANT = 4  # digits of the largest value of a metric; its other values get as many places
MOST_PLACES = 8


def finite(values: Iterable[float | None]) -> list[float]:
    """The values that are defined and finite."""
    return [v for v in values if v is not None and math.isfinite(v)]


def places_of(values: Iterable[float | None]) -> int:
    """Decimal places for values of this size: 24.10, 0.8512, 512.3."""
    largest = max(map(abs, finite(values)), default=0.0)
    if largest == 0:
        return SIGNIFICANT
    return min(max(SIGNIFICANT - 1 - math.floor(math.log10(largest)), 0), MOST_PLACES)


def metric_places(values: Mapping[str, Any]) -> dict[str, int]:
    """By metric of a report, the decimal places that all of its tables use."""
    out = {}
    for name in values["metrics"]:
        column: list[float | None] = [one["mean"].get(name) for one in values["subjects"]]
        column.append(values["summary"].get(name, {}).get("mean"))
        out[name] = places_of(column)
    return out


def format_number(value: float | None, places: int, *, sign: bool = False) -> str:
    """`value` with `places` decimal places, "-" where it is not defined or not finite."""
    if value is None or not math.isfinite(value):
        return UNDEFINED
    rounded = round(value, places) + 0.0  # no "-0.00"
    return f"{rounded:{'+' if sign and rounded else ''}.{places}f}"


def format_interval(interval: Sequence[float] | None, places: int, *, sign: bool = False) -> str:
    """ "23.10 to 24.80", "-" where there is none."""
    if interval is None or len(finite(interval)) != 2:
        return UNDEFINED
    low, high = (format_number(bound, places, sign=sign) for bound in interval)
    return f"{low} to {high}"


def metric_label(name: str, about: Mapping[str, Any]) -> str:
    """ "psnr (dB) ↑"."""
    unit = f" ({about['unit']})" if about["unit"] else ""
    return f"{name}{unit} {ARROWS[about['better']]}".rstrip()


def subject_rows(values: Mapping[str, Any], places: int) -> tuple[list[list[str]], list[str]]:
    """Rows and header of a report's means: a row a subject, a column a metric that has a value for one.
    No columns: every metric is one of sets, or has no value."""
    about = values["metrics"]
    means = [one["mean"] for one in values["subjects"]]
    names = [name for name in about if about[name]["scope"] != "set"]
    names = [name for name in names if finite([mean.get(name) for mean in means])]
    header = ["", *(f"{n} ({about[n]['unit']})" if about[n]["unit"] else n for n in names)]
    rows = [
        [one["name"], *(format_number(one["mean"].get(name), places) for name in names)]
        for one in values["subjects"]
    ]
    return rows, header


def set_lines(values: Mapping[str, Any], places: int) -> list[str]:
    """A line for each of a report's distances of sets: "fvd 512.3 over 24 and 32 clips"."""
    lines = []
    for name, about in values["metrics"].items():
        if about["scope"] == "set" and name in values["summary"]:
            row = values["summary"][name]
            counts = f"{row['objects']} and {row['reference_objects']}"
            lines.append(f"{name} {format_number(row['mean'], places)} over {counts} clips")
    return lines


def subject_means(values: Mapping[str, Any]) -> dict[str, dict[str, float | None]]:
    """By subject, each metric's mean."""
    return {one["name"]: one["mean"] for one in values["subjects"]}


def protocol_items(protocol: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(name, value) of each setting but the protocol's name and version, as text."""
    return [
        (key.replace("_", " "), _setting(value))
        for key, value in protocol.items()
        if key not in ("name", "version")
    ]


def protocol_title(protocol: Mapping[str, Any]) -> str:
    """ "orster, version 1", or the name alone where there is no version."""
    version = protocol.get("version")
    return str(protocol["name"]) + (f", version {version}" if version is not None else "")


def _setting(value: Any) -> str:
    if value is None:
        return UNDEFINED
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_setting, value)) or UNDEFINED
    return f"{value:g}" if isinstance(value, float) else str(value)
