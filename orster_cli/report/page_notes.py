"""The part of a report's page that explains it: what is missing, published figures, definitions."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from orster_cli.core.names import printable
from orster_cli.report.paper_figures import TASKS, PublishedTable
from orster_cli.report.tabular import ARROWS, UNDEFINED, metric_places, written

NOT_EQUALS = (
    "These are not equals. Test objects, cameras, backgrounds, networks and resolutions differ from "
    "this report's, and papers leave part of them unsaid. Use the figures for their order of "
    "magnitude, never to say that one method is better."
)


def safe(text: object) -> str:
    """`text` for HTML, also inside of a quoted attribute."""
    return html.escape(printable(str(text)))


def missing(unavailable: Mapping[str, Mapping[str, str]]) -> str:
    """The metrics that could not be computed, why, and how to get them; "" where there are none."""
    rows = "".join(
        f"<dt>{safe(name)}</dt><dd>{safe(entry['why'])}"
        f"{'<br><code>' + safe(entry['get']) + '</code>' if entry['get'] else ''}</dd>"
        for name, entry in unavailable.items()
    )
    return _facts("Not computed", rows)


def definitions(metrics: Mapping[str, Mapping[str, Any]]) -> str:
    """What each figure means."""
    better = {"higher": "higher is better", "lower": "lower is better", "neither": "descriptive"}
    rows = "".join(
        f"<dt>{safe(name)}</dt><dd>{safe(about['definition'])} "
        f'<span class="soft">({better[about["better"]]}'
        f"{'; network ' + safe(about['network']) if about['network'] else ''})</span></dd>"
        for name, about in metrics.items()
    )
    return _facts("What the figures mean", rows)


def networks(used: Mapping[str, Mapping[str, str]]) -> str:
    """The networks that were used, with the digests of their weights; "" where there are none."""
    rows = "".join(
        f"<dt>{safe(name)}</dt><dd>{safe(entry['about'])}<br>"
        f"<code>sha256 {safe(entry['sha256'])}</code></dd>"
        for name, entry in used.items()
    )
    return _facts("Networks", rows)


def _facts(title: str, rows: str) -> str:
    return f'<section><h2>{title}</h2><dl class="facts">{rows}</dl></section>' if rows else ""


def published(values: Mapping[str, Any], tables: Sequence[PublishedTable]) -> str:
    """Figures of papers with ours above them, where we have a metric of that name."""
    parts = [_published_table(values, table) for table in tables]
    return (
        f'<section><h2>Published numbers</h2><p class="warning">{NOT_EQUALS}</p>{"".join(parts)}'
        "</section>"
    )


def _published_table(values: Mapping[str, Any], table: PublishedTable) -> str:
    places = metric_places(values)
    head, ours = [], []
    for column in table.columns:
        head.append(f'<th scope="col">{safe(column.label)} {ARROWS[column.better]}</th>')
        mean = values["summary"].get(column.name, {}).get("mean")
        ours.append(f"<td>{written(mean, places.get(column.name, 0))}</td>")
    rows = [f'<tr class="ours"><th scope="row">This report</th>{"".join(ours)}</tr>']
    for task, group in groupby(table.rows, key=lambda row: row.task):
        rows.append(
            f'<tr class="group"><th scope="rowgroup" colspan="{len(head) + 1}">'
            f"{safe(TASKS[task])}</th></tr>"
        )
        for row in group:
            note = f" <small>{safe(row.note)}</small>" if row.note else ""
            cells = (row.figures.get(column.name) for column in table.columns)
            figures = "".join(
                f"<td>{UNDEFINED if value is None else value}</td>" for value in cells
            )
            rows.append(f'<tr><th scope="row">{safe(row.method)}{note}</th>{figures}</tr>')
    return (
        f"<h3>{safe(table.title)}</h3><p><small>Source: {safe(table.source)}. Protocol: "
        f"{safe(table.protocol)}. Not published: {safe(table.unpublished)}. "
        f"{safe(table.caution)}</small></p>"
        f'<div class="scroll"><table class="published"><thead><tr><th scope="col">Method</th>'
        f"{''.join(head)}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )
