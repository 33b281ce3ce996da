"""Figures that papers published, with their sources and what is known of their protocols."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from itertools import groupby
from pathlib import Path
from typing import Any

from orster_cli.config.load import templates_folder
from orster_cli.core.errors import InputError

PUBLISHED = "evaluate/published.toml"
TASKS = {"text": "Text to 4D", "image": "Image to 4D", "object": "3D to 4D", "video": "Video to 4D"}


@dataclass(frozen=True, kw_only=True)
class PublishedColumn:
    """`name`: the metric of orster that is closest; `label`: the paper's name for it."""

    name: str
    label: str
    better: str


@dataclass(frozen=True, kw_only=True)
class PublishedRow:
    """A method's figures by column name, with the digits that were published. Figures that the source does
    not give are absent."""

    task: str
    method: str
    figures: Mapping[str, Decimal | int]
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class PublishedTable:
    """Figures of one source and one protocol, as far as it is published."""

    name: str
    title: str
    source: str
    protocol: str
    unpublished: str
    caution: str
    columns: tuple[PublishedColumn, ...]
    rows: tuple[PublishedRow, ...]

    def by_task(self) -> list[tuple[str, list[PublishedRow]]]:
        """Neighbouring rows of one task, under the task's title."""
        grouped = groupby(self.rows, key=lambda row: row.task)
        return [(TASKS[task], list(rows)) for task, rows in grouped]


def published_tables() -> tuple[PublishedTable, ...]:
    """The tables that come with the package."""
    return read_published(templates_folder() / PUBLISHED)


def read_published(path: Path) -> tuple[PublishedTable, ...]:
    """The tables of a TOML file. InputError: it cannot be read, a key, task or column is unknown or
    missing, or a figure is not a finite number."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)
        return tuple(_table(entry) for entry in values["tables"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path}: not a file of published figures: {error}") from error


def _table(entry: dict[str, Any]) -> PublishedTable:
    columns = tuple(PublishedColumn(**column) for column in entry["columns"])
    rows = tuple(PublishedRow(**row) for row in entry["rows"])
    for column in columns:
        if column.better not in ("higher", "lower"):
            raise ValueError(f"better = {column.better!r}, expected higher or lower")
    names = {column.name for column in columns}
    for row in rows:
        if row.task not in TASKS:
            raise ValueError(f"{row.method}: task {row.task!r}, expected one of {', '.join(TASKS)}")
        for name, value in row.figures.items():
            if name not in names:
                raise ValueError(f"{row.method}: figure {name!r} has no column")
            if type(value) not in (Decimal, int) or not math.isfinite(value):
                raise ValueError(f"{row.method}: {name} = {value}, expected a finite number")
    return PublishedTable(**{**entry, "columns": columns, "rows": rows})
