"""A report as one HTML file: plots, tables and videos inside, nothing that is fetched.

The templates escape whatever a user, a file name or a prompt brings; a content security policy forbids
what is left.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from orster_cli.report.html import render, source_text
from orster_cli.report.paper_figures import published_tables
from orster_cli.report.plots import line_plot, strip_plot
from orster_cli.report.tabular import (
    ARROWS,
    finite,
    metric_places,
    protocol_items,
    protocol_title,
)
from orster_cli.viewer.document import clock_script, transport_html, transport_style

POLICY = (
    "default-src 'none'; img-src data:; media-src data:; "
    "style-src 'unsafe-inline'; script-src 'unsafe-inline'"
)
FEWEST_DOTS = 3  # subjects of which a summary shows the spread
BETTER = {"higher": "higher is better", "lower": "lower is better", "neither": "descriptive"}


@dataclass(frozen=True, kw_only=True)
class SideBySide:
    """MP4 files of a subject and of its reference, each of `frames` frames: frame i of both shows the same
    view and time."""

    subject: bytes
    reference: bytes | None = None
    frames: int


def report_page(values: Mapping[str, Any], clips: Mapping[str, SideBySide]) -> str:
    """The report `values` (version 2) with the videos of some subjects, by name.

    ValueError: clips of a subject that the report does not have."""
    subjects = {one["name"] for one in values["subjects"]}
    if unknown := sorted(set(clips) - subjects):
        raise ValueError(f"report_page: clips of subjects that are not in the report: {unknown}")
    places = metric_places(values)
    without_value = _without_value(values)
    return render(
        "page.html.j2",
        policy=POLICY,
        style=Markup(transport_style() + "\n") + source_text("page.css"),  # noqa: S704 - our own
        script=_script(),
        title=protocol_title(values["protocol"]),
        settings=protocol_items(values["protocol"]),
        changed=", ".join(values["protocol"].get("changed", [])),
        report=values,
        places=places,
        without_value=without_value,
        columns=[
            name
            for name, about in values["metrics"].items()
            if about["scope"] != "set" and name not in without_value
        ],
        intervals=[name for name, found in values["summary"].items() if found["interval"]],
        strips=_strips(values, places),
        clips=clips,
        transport=lambda prefix: Markup(transport_html(prefix)),  # noqa: S704 - our own
        curves=_curves(values),
        published=published_tables(),
        arrows=ARROWS,
        better=BETTER,
    )


def _script() -> Markup:
    """Sorting, the viewer's clock, and the players of clips that run by it."""
    parts = (source_text("page.js"), clock_script(), source_text("player.js"))
    return Markup("\n".join(parts))  # noqa: S704 - our own


def _without_value(values: Mapping[str, Any]) -> list[str]:
    """The metrics that neither a subject nor the summary has a value for."""
    means = [one["mean"] for one in values["subjects"]]
    return [
        name
        for name in values["metrics"]
        if not finite(mean.get(name) for mean in means)
        and not finite([values["summary"].get(name, {}).get("mean")])
    ]


def _strips(values: Mapping[str, Any], places: Mapping[str, int]) -> dict[str, Markup]:
    """By metric, the plot of its subjects, where two or more have a value. Two subjects alone get none:
    their dots at the ends of an axis look like a wide spread."""
    plots: dict[str, Markup] = {}
    if len(values["subjects"]) < FEWEST_DOTS:
        return plots
    for name, about in values["metrics"].items():
        if about["scope"] == "set":
            continue
        found = values["summary"].get(name, {})
        points = [(one["name"], one["mean"].get(name)) for one in values["subjects"]]
        plots[name] = strip_plot(
            points,
            found.get("mean"),
            found.get("interval"),
            label=f"{name} of each subject",
            places=places[name],
        )
    return {name: plot for name, plot in plots.items() if plot}


def _curves(values: Mapping[str, Any]) -> dict[str, Markup]:
    """By metric that has a value for each frame, its line plot."""
    plots = {}
    for name, about in values["metrics"].items():
        if about["scope"] == "frame":
            series = [(one["name"], one["frames"].get(name, [])) for one in values["subjects"]]
            plots[name] = line_plot(series, label=f"{name} frame by frame")
    return {name: plot for name, plot in plots.items() if plot}
