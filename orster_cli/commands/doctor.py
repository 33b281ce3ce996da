"""`orster doctor`: will it work here?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orster_cli.ui.options import JsonOption
from orster_cli.ui.out import Out

_MARK = {"ok": "ok", "warn": "--", "fail": "NO"}


def doctor(
    weights: Annotated[
        bool, typer.Option("--weights", help="Which published weights are at hand, and where.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Check that what orster needs is installed and works.

    Python, GPU, rasterizers, ffmpeg, disk and weights.

    Exit code 4 if something is broken that a command needs. Example: orster doctor"""
    from orster_cli.core.errors import MissingResourceError
    from orster_cli.diagnosis import diagnose

    out = Out(as_json=as_json)
    if weights:
        _weights(out)
        return
    findings = diagnose()
    lines = [f"[{_MARK[f.state]}] {f.name}: {f.detail}" for f in findings]
    lines += [f"     -> {f.hint}" for f in findings if f.state == "fail" and f.hint]
    values = {"checks": [{"name": f.name, "state": f.state, "detail": f.detail} for f in findings]}
    out.result(values, "\n".join(lines))
    broken = [f for f in findings if f.state == "fail"]
    if broken:
        raise MissingResourceError(
            f"{len(broken)} checks failed: {', '.join(f.name for f in broken)}",
            hint=broken[0].hint,
        )


def _weights(out: Out) -> None:
    """Nothing is fetched; what is not at hand is no failure."""
    import dataclasses

    from orster_cli.diagnosis import weights_at_hand

    lines = []
    rows = weights_at_hand(Path.cwd())
    for row in rows:
        mark, about = ("ok", "") if row.place else ("--", "about ")
        lines.append(f"[{mark}] {row.name}: {about}{_size(row.size)}, for {row.use}")
        lines.append(f"     {row.licence}")
        lines.append(f"     in {row.place}" if row.place else f"     get it: {row.fetch}")
    values = [{**dataclasses.asdict(row), "place": row.place and str(row.place)} for row in rows]
    out.result({"weights": values}, "\n".join(lines))


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 10**9 else f"{count / 1e6:.0f} MB"
