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
from orster_cli.report.plots import lines, strip
from orster_cli.report.tabular import ARROWS, metric_places, protocol_items, protocol_title

POLICY = (
    "default-src 'none'; img-src data:; media-src data:; "
    "style-src 'unsafe-inline'; script-src 'unsafe-inline'"
)
BETTER = {"higher": "higher is better", "lower": "lower is better", "neither": "descriptive"}


@dataclass(frozen=True)
class SideBySide:
    """MP4 files of a subject and of its reference: the same views and times, frame by frame."""

    ours: bytes
    reference: bytes | None = None


def page(values: Mapping[str, Any], clips: Mapping[str, SideBySide]) -> str:
    """The report `values` (version 2) with the videos of some subjects, by name.

    ValueError: clips of a subject that the report does not have."""
    subjects = {one["name"] for one in values["subjects"]}
    if unknown := sorted(set(clips) - subjects):
        raise ValueError(f"page: clips of subjects that are not in the report: {unknown}")
    places = metric_places(values)
    return render(
        "page.html.j2",
        policy=POLICY,
        style=source_text("page.css"),
        script=source_text("page.js"),
        title=protocol_title(values["protocol"]),
        settings=protocol_items(values["protocol"]),
        report=values,
        places=places,
        per_subject=[n for n, about in values["metrics"].items() if about["scope"] != "set"],
        strips=_strips(values, places),
        clips=clips,
        curves=_curves(values),
        published=published_tables(),
        arrows=ARROWS,
        better=BETTER,
    )


def _strips(values: Mapping[str, Any], places: Mapping[str, int]) -> dict[str, Markup]:
    """By metric, the plot of its subjects, where two or more have a value."""
    plots = {}
    for name, about in values["metrics"].items():
        if about["scope"] == "set":
            continue
        found = values["summary"].get(name, {})
        points = [(one["name"], one["mean"].get(name)) for one in values["subjects"]]
        plots[name] = strip(
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
            plots[name] = lines(series, label=f"{name} frame by frame")
    return {name: plot for name, plot in plots.items() if plot}
