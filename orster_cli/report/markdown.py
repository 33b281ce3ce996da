"""A report as Markdown, for pull requests and lab logs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from orster_cli.core.names import printable
from orster_cli.report.tabular import (
    UNDEFINED,
    format_interval,
    format_number,
    metric_label,
    metric_places,
    protocol_items,
    protocol_title,
)

_MARKS = re.compile(r"[\\`*\[\]<>|&~]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")


def report_markdown(values: Mapping[str, Any]) -> str:
    """The report `values` (version 2): summary, subjects, what is not computed, definitions, networks."""
    protocol = values["protocol"]
    settings = "; ".join(
        f"{escape_markdown(k)} {escape_markdown(v)}" for k, v in protocol_items(protocol)
    )
    lines = [
        "# Evaluation report",
        "",
        f"Protocol **{escape_markdown(protocol_title(protocol))}**: {settings}.",
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
            get = f" Get it: {code_span(entry['get'])}" if entry["get"] else ""
            lines.append(
                f"- {escape_markdown(name)}: {escape_markdown(entry['why']).rstrip('.')}.{get}"
            )
        lines.append("")
    lines += ["## What the figures mean", ""]
    for name, about in values["metrics"].items():
        lines.append(
            f"- {escape_markdown(metric_label(name, about))}: {escape_markdown(about['definition'])}"
        )
    lines.append("")
    if values["networks"]:
        lines += ["## Networks", ""]
        rows = [[n, v["about"], v["sha256"]] for n, v in values["networks"].items()]
        lines += [*markdown_table(["network", "what", "sha256"], rows, text_columns=3), ""]
    return "\n".join(lines)


def _summary(values: Mapping[str, Any]) -> list[str]:
    places, rows = metric_places(values), []
    for name, about in values["metrics"].items():
        found = values["summary"].get(name, {})
        rows.append(
            [
                metric_label(name, about),
                format_number(found.get("mean"), places[name]),
                format_interval(found.get("interval"), places[name]),
                str(found.get("objects", UNDEFINED)),
            ]
        )
    return markdown_table(["metric", "mean", "95 % interval", "objects"], rows)


def _subjects(values: Mapping[str, Any]) -> list[str]:
    places = metric_places(values)
    names = [n for n, about in values["metrics"].items() if about["scope"] != "set"]
    rows = [
        [one["name"], *(format_number(one["mean"].get(name), places[name]) for name in names)]
        for one in values["subjects"]
    ]
    return markdown_table(
        ["subject", *(metric_label(n, values["metrics"][n]) for n in names)], rows
    )


def markdown_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, text_columns: int = 1
) -> list[str]:
    """Lines of a Markdown table, padded so that it is legible as text too. Cells are escaped; all columns
    after the first `text_columns` are aligned to the right."""
    cells = [[escape_markdown(cell) for cell in row] for row in (header, *rows)]
    widths = [max(3, *(len(row[i]) for row in cells)) for i in range(len(header))]

    def line(row: Sequence[str]) -> str:
        padded = (
            cell.ljust(width) if i < text_columns else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        return f"| {' | '.join(padded)} |"

    rule = ["-" * w if i < text_columns else "-" * (w - 1) + ":" for i, w in enumerate(widths)]
    return [line(cells[0]), line(rule), *map(line, cells[1:])]


def escape_markdown(text: str) -> str:
    """`text` on one line, with everything escaped that Markdown takes for markup, HTML or a cell's end."""
    return _MARKS.sub(r"\\\g<0>", " ".join(printable(text).split()))


def code_span(text: str) -> str:
    """`text` as a code span; it may contain backticks."""
    one_line = " ".join(printable(text).split())
    longest = max(map(len, re.findall("`+", one_line)), default=0)
    fence, space = "`" * (longest + 1), " " if "`" in one_line else ""
    return f"{fence}{space}{one_line}{space}{fence}"
