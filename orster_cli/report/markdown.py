"""A report as Markdown: what a pull request or a lab log takes in."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from orster_cli.core.names import printable
from orster_cli.report.tabular import (
    UNDEFINED,
    heading,
    interval_written,
    metric_places,
    protocol_items,
    protocol_title,
    written,
)

_MARKS = re.compile(r"[\\`*\[\]<>|&~]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")


def markdown(values: Mapping[str, Any]) -> str:
    """The report `values` (version 2): summary, subjects, what is missing, what figures mean."""
    protocol = values["protocol"]
    settings = "; ".join(f"{plain(k)} {plain(v)}" for k, v in protocol_items(protocol))
    lines = [
        "# Evaluation report",
        "",
        f"Protocol **{plain(protocol_title(protocol))}**: {settings}.",
        "",
        "## Summary",
        "",
        *_summary(values),
        "",
        "## Subjects",
        "",
        *_subjects(values),
        "",
    ]
    if values["unavailable"]:
        lines += ["## Not computed", ""]
        for name, entry in values["unavailable"].items():
            get = f" Get it: {code(entry['get'])}" if entry["get"] else ""
            lines.append(f"- {plain(name)}: {plain(entry['why']).rstrip('.')}.{get}")
        lines.append("")
    lines += ["## What the figures mean", ""]
    for name, about in values["metrics"].items():
        lines.append(f"- {plain(heading(name, about))}: {plain(about['definition'])}")
    lines.append("")
    if values["networks"]:
        lines += ["## Networks", ""]
        rows = [[n, v["about"], v["sha256"]] for n, v in values["networks"].items()]
        lines += [*pipe_table(["network", "what", "sha256"], rows, text_columns=3), ""]
    return "\n".join(lines)


def _summary(values: Mapping[str, Any]) -> list[str]:
    places, rows = metric_places(values), []
    for name, about in values["metrics"].items():
        found = values["summary"].get(name, {})
        rows.append(
            [
                heading(name, about),
                written(found.get("mean"), places[name]),
                interval_written(found.get("interval"), places[name]),
                str(found.get("objects", UNDEFINED)),
            ]
        )
    return pipe_table(["metric", "mean", "95 % interval", "objects"], rows)


def _subjects(values: Mapping[str, Any]) -> list[str]:
    places = metric_places(values)
    names = [n for n, about in values["metrics"].items() if about["scope"] != "set"]
    rows = [
        [one["name"], *(written(one["mean"].get(name), places[name]) for name in names)]
        for one in values["subjects"]
    ]
    return pipe_table(["subject", *(heading(n, values["metrics"][n]) for n in names)], rows)


def pipe_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, text_columns: int = 1
) -> list[str]:
    """Lines of a Markdown table, padded so that it reads well as text too; all but the first
    `text_columns` are aligned to the right. Cells are escaped."""
    cells = [[plain(cell) for cell in row] for row in (header, *rows)]
    widths = [max(3, *(len(row[i]) for row in cells)) for i in range(len(header))]

    def line(row: Sequence[str]) -> str:
        padded = (
            cell.ljust(width) if i < text_columns else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        return f"| {' | '.join(padded)} |"

    rule = ["-" * w if i < text_columns else "-" * (w - 1) + ":" for i, w in enumerate(widths)]
    return [line(cells[0]), line(rule), *map(line, cells[1:])]


def plain(text: str) -> str:
    """`text` on one line that Markdown shows as it is: no markup, no HTML, no new cell."""
    return _MARKS.sub(r"\\\g<0>", " ".join(printable(text).split()))


def code(text: str) -> str:
    """`text` as a code span, whatever backticks it holds."""
    one_line = " ".join(printable(text).split())
    longest = max(map(len, re.findall("`+", one_line)), default=0)
    fence, space = "`" * (longest + 1), " " if "`" in one_line else ""
    return f"{fence}{space}{one_line}{space}{fence}"
