"""`orster list`: the artifacts under a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orster_cli.ui.options import JsonOption
from orster_cli.ui.out import Out, Table

_HEADER = ["artifact", "kind", "from", "size", "made (UTC)", "state"]
_FROM = 48  # characters


def list_artifacts(
    folder: Annotated[Path, typer.Argument(help="The folder to search.")] = Path(),
    as_json: JsonOption = False,
) -> None:
    """List the artifacts under a folder, finished or not.

    Examples: orster list ; orster list runs/ --json"""
    from orster_cli.core.errors import InputError
    from orster_cli.core.names import counted, other_than_a_folder
    from orster_cli.gallery.catalog import DAMAGED, Catalog
    from orster_cli.gallery.summary import by_id, row

    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder", hint=other_than_a_folder(folder))
    out = Out(as_json=as_json)
    catalog = Catalog(folder)
    entries = catalog.scan()
    if catalog.left_out:
        out.warn(catalog.left_out)
    if damaged := sum(entry.state == DAMAGED for entry in entries):
        out.warn(f"{counted(damaged, 'artifact')} damaged: `orster show` says why")
    known = by_id(entries)
    rows = [row(entry, known) for entry in entries]
    values = {"folder": str(folder), "artifacts": rows}
    if not rows:
        out.result(values, f"{folder}: no artifacts")
        return
    out.result(values, Table([_cells(one) for one in rows], _HEADER))


def _cells(row: dict[str, object]) -> list[str]:
    from orster_cli.commands.describe import size

    sources = ", ".join(map(str, row["from"])) if isinstance(row["from"], list) else ""
    if len(sources) > _FROM:
        sources = sources[: _FROM - 3] + "..."
    count, made, state = row["bytes"], str(row["created"] or ""), str(row["state"])
    if isinstance(row["progress"], dict) and row["progress"]["total"]:
        state += f", {100 * row['progress']['done'] // row['progress']['total']} %"
    return [
        str(row["name"]),
        str(row["kind"] or "-"),
        sources or "-",
        size(count) if isinstance(count, int) else "-",
        made[:16].replace("T", " ") or "-",
        state,
    ]
