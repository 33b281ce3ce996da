"""A report as one HTML file: plots, tables and videos inside, nothing that is fetched.

Whatever a user, a file name or a prompt brings is escaped; a content security policy forbids what
is left. T frames.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orster_cli.report.page_notes import definitions, missing, networks, published, safe
from orster_cli.report.page_script import SCRIPT
from orster_cli.report.page_style import STYLE
from orster_cli.report.paper_figures import published_tables
from orster_cli.report.plots import lines, strip
from orster_cli.report.tabular import (
    UNDEFINED,
    heading,
    interval_written,
    known,
    metric_places,
    protocol_items,
    protocol_title,
    written,
)

POLICY = (
    "default-src 'none'; img-src data:; media-src data:; "
    "style-src 'unsafe-inline'; script-src 'unsafe-inline'"
)
CAPTION_FIGURES = 3  # figures under a subject's videos; the table has them all


@dataclass(frozen=True)
class SideBySide:
    """MP4 files of a subject and of its reference, frame by frame of the same views and times."""

    ours: bytes
    reference: bytes | None = None


def page(values: Mapping[str, Any], clips: Mapping[str, SideBySide]) -> str:
    """The report `values` (version 2) with the videos of some subjects, by name.

    ValueError: clips of a subject that the report does not have."""
    subjects = {one["name"] for one in values["subjects"]}
    if unknown := sorted(set(clips) - subjects):
        raise ValueError(f"page: clips of subjects that are not in the report: {unknown}")
    title = f"Evaluation: {protocol_title(values['protocol'])}"
    sections = [
        _head(values),
        _summary(values),
        missing(values["unavailable"]),
        _clips(values, clips),
        _frames(values),
        _table(values),
        published(values, published_tables()),
        definitions(values["metrics"]),
        networks(values["networks"]),
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{safe(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(section for section in sections if section)
        + f"\n</main>\n<script>{SCRIPT}</script>\n</body>\n</html>\n"
    )


def _head(values: Mapping[str, Any]) -> str:
    count = len(values["subjects"])
    settings = "".join(
        f"<div><dt>{safe(key)}</dt><dd>{safe(value)}</dd></div>"
        for key, value in protocol_items(values["protocol"])
    )
    return (
        "<header><h1>Evaluation report</h1>"
        f'<p class="soft">{count} {"subject" if count == 1 else "subjects"} by protocol '
        f"<strong>{safe(protocol_title(values['protocol']))}</strong></p>"
        f'<dl class="settings">{settings}</dl></header>'
    )


def _summary(values: Mapping[str, Any]) -> str:
    places, rows = metric_places(values), []
    plots = _strips(values, places)
    for name, about in values["metrics"].items():
        found = values["summary"].get(name, {})
        mean, interval = found.get("mean"), found.get("interval")
        plot = f'<td class="plot-cell">{plots.get(name, "")}</td>' if plots else ""
        rows.append(
            f'<tr><th scope="row">{safe(heading(name, about))}</th>'
            f'<td class="big">{written(mean, places[name])}</td>'
            f'<td class="interval-cell" data-what="95 % interval">'
            f"{interval_written(interval, places[name])}</td>"
            f'<td data-what="objects">{safe(found.get("objects", UNDEFINED))}</td>'
            f"{plot}</tr>"
        )
    title = '<th scope="col">Each object (dot), mean (bar), interval (band)</th>' if plots else ""
    return (
        '<section><h2>Summary</h2><table class="summary"><thead><tr><th scope="col">Metric</th>'
        '<th scope="col">Mean</th><th scope="col">95 % interval</th><th scope="col">Objects</th>'
        f"{title}</tr></thead><tbody>{''.join(rows)}</tbody></table></section>"
    )


def _strips(values: Mapping[str, Any], places: Mapping[str, int]) -> dict[str, str]:
    """By metric, the plot of its subjects; nothing at all where no metric has two of them."""
    plots, notes = {}, {}
    for name, about in values["metrics"].items():
        found = values["summary"].get(name, {})
        points = [(one["name"], one["mean"].get(name)) for one in values["subjects"]]
        if about["scope"] == "set":
            notes[name] = "<small>one value for the whole set</small>"
        elif plot := strip(
            points,
            found.get("mean"),
            found.get("interval"),
            label=f"{name} of each subject",
            places=places[name],
        ):
            plots[name] = plot
    return plots | notes if plots else {}


def _clips(values: Mapping[str, Any], clips: Mapping[str, SideBySide]) -> str:
    """The videos beside their references; "" where there are none."""
    if not clips:
        return ""
    figures = [
        _pair(values, one, clips[one["name"]]) for one in values["subjects"] if one["name"] in clips
    ]
    return (
        '<section><h2>Side by side</h2><div class="player" id="player" hidden>'
        '<button type="button">Play</button>'
        '<input type="range" min="0" max="1000" value="0" aria-label="time of all videos">'
        f'<output class="soft"></output></div><div class="clips">{"".join(figures)}</div></section>'
    )


def _pair(values: Mapping[str, Any], subject: Mapping[str, Any], clip: SideBySide) -> str:
    videos = [("ours", clip.ours)]
    if clip.reference is not None:
        videos.append(("reference", clip.reference))
    cells = "".join(
        f'<div><video controls loop muted playsinline aria-label="{safe(subject["name"])}, {what}" '
        f'src="data:video/mp4;base64,{base64.b64encode(data).decode("ascii")}"></video>'
        f"<small>{what}</small></div>"
        for what, data in videos
    )
    places = metric_places(values)
    figures = [
        f'<span class="nowrap">{safe(name)} {written(subject["mean"].get(name), places[name])}</span>'
        for name, about in values["metrics"].items()
        if about["scope"] != "set"
    ]
    return (
        f'<figure><div class="pair">{cells}</div><figcaption>'
        f'<span class="name">{safe(subject["name"])}</span>{_condition(subject)}'
        f"<br><small>{' · '.join(figures[:CAPTION_FIGURES])}</small></figcaption></figure>"
    )


def _condition(subject: Mapping[str, Any]) -> str:
    """What the subject was made from, on a line of its own; "" where that is not known."""
    given = subject["condition"]
    texts = [f"“{given['text']}”"] if given["text"] else []
    texts += [str(given["image"])] if given["image"] else []
    return f"<br><small>{safe(', '.join(texts))}</small>" if texts else ""


def _frames(values: Mapping[str, Any]) -> str:
    """Line plots of the metrics that have a value a frame; "" where none has."""
    figures = []
    for name, about in values["metrics"].items():
        if about["scope"] != "frame":
            continue
        series = [(one["name"], one["frames"].get(name, [])) for one in values["subjects"]]
        if plot := lines(series, label=f"{name} frame by frame"):
            caption = safe(heading(name, about))
            figures.append(f"<figure><figcaption>{caption}</figcaption>{plot}</figure>")
    if not figures:
        return ""
    several = len(values["subjects"]) > 1
    legend = "<p class='soft'>A thin line is a subject, the thick one their mean.</p>"
    return (
        f"<section><h2>Frame by frame</h2>{legend if several else ''}"
        f'<div class="plots">{"".join(figures)}</div></section>'
    )


def _table(values: Mapping[str, Any]) -> str:
    places = metric_places(values)
    columns = {n: about for n, about in values["metrics"].items() if about["scope"] != "set"}
    head = "".join(
        f'<th scope="col" data-better="{safe(about["better"])}">{safe(heading(name, about))}</th>'
        for name, about in columns.items()
    )
    rows = []
    for one in values["subjects"]:
        cells = []
        for name in columns:
            exact = known([one["mean"].get(name)])
            shown = written(one["mean"].get(name), places[name])
            cells.append(f'<td data-value="{exact[0] if exact else ""}">{shown}</td>')
        name = f'<th scope="row" data-value="{safe(one["name"])}">{safe(one["name"])}'
        rows.append(f"<tr>{name}{_condition(one)}</th>{''.join(cells)}</tr>")
    return (
        '<section><h2>Subjects</h2><div class="scroll"><table class="sortable"><thead><tr>'
        f'<th scope="col">Subject</th>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'
        "</div></section>"
    )
