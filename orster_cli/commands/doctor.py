"""`orster doctor`: checks the environment."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orster_cli.ui.options import JsonOption
from orster_cli.ui.out import Out

LICENCE_SHOWN = 90  # characters
_MARK = {"ok": "ok", "warn": "--", "fail": "NO"}


def doctor(
    weights: Annotated[
        bool,
        typer.Option("--weights", help="Show which published weights are installed, and where."),
    ] = False,
    warm: Annotated[
        bool,
        typer.Option("--warm", help="Compile all CPU kernels into the cache and show the time."),
    ] = False,
    licences: Annotated[
        bool, typer.Option("--licences", help="With --weights: their licences in full.")
    ] = False,
    cache: Annotated[
        bool,
        typer.Option("--cache", help="List what orster keeps to save time, with sizes, and stop."),
    ] = False,
    clean: Annotated[
        bool,
        typer.Option("--clean-cache", help="Remove of it what is made again where it is needed."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Check that what orster needs is installed and works.

    Python, GPU, kernels, rasterizers, ffmpeg, disk and weights.

    Exit code 4 if a command would fail. Example: orster doctor"""
    from orster_cli.core.errors import MissingResourceError
    from orster_cli.diagnosis.checks import diagnose

    out = Out(as_json=as_json)
    if weights:
        _weights(out, licences=licences)
        return
    if warm:
        _warm(out)
        return
    if cache or clean:
        _caches(out, clean=clean)
        return
    findings = diagnose()
    lines = [f"[{_MARK[f.state]}] {f.name}: {f.detail}" for f in findings]
    lines += [f"     -> {f.hint}" for f in findings if f.state == "fail" and f.hint]
    if any(f.state == "warn" for f in findings):
        lines.append("[--]: no command fails without it; `orster doctor --weights` says what for")
    values = {"checks": [{"name": f.name, "state": f.state, "detail": f.detail} for f in findings]}
    out.result(values, "\n".join(lines))
    broken = [f for f in findings if f.state == "fail"]
    if broken:
        raise MissingResourceError(
            f"{len(broken)} checks failed: {', '.join(f.name for f in broken)}",
            hint=broken[0].hint,
        )


def _caches(out: Out, *, clean: bool) -> None:
    """List the caches; with `clean`, remove those that hold no unfinished work."""
    import dataclasses

    from orster_cli.commands.describe import size
    from orster_cli.commands.evaluate import cache_folder
    from orster_cli.diagnosis.caches import list_caches, remove_cache

    rows = list_caches(Path.cwd(), cache_folder())
    lines, freed = [], 0
    for row in rows:
        removed = clean and row.removable
        if removed:
            remove_cache(row)
            freed += row.size
        word = "removed" if removed else ("kept" if row.removable else "kept: unfinished work")
        lines.append(
            f"{size(row.size):>10}  {row.path}: {row.about}" + (f"; {word}" if clean else "")
        )
    lines = lines or ["nothing is cached in this folder or by evaluate"]
    if clean:
        lines.append(f"{size(freed)} freed")
    values = [{**dataclasses.asdict(row), "path": str(row.path)} for row in rows]
    out.result({"caches": values, "freed": freed}, "\n".join(lines))


def _warm(out: Out) -> None:
    """Raises MissingResourceError if a kernel does not run."""
    import dataclasses

    from orster_cli.core.errors import MissingResourceError
    from orster_cli.diagnosis.checks import CACHE_HINT
    from orster_cli.diagnosis.kernels import cache_folders, run_kernels, warming_modules

    modules, runs = warming_modules(), []
    out.step("compiling kernels", 0, len(modules))
    for run in run_kernels():
        runs.append(run)
        out.step("compiling kernels", min(len(runs), len(modules)), len(modules))
    lines = []
    for run in runs:
        if run.error is None:
            new = f"{run.compiled} compiled, {run.kernels - run.compiled} from the cache"
            lines.append(f"[ok] {run.module}: {new}, {run.seconds:.1f} s")
        else:
            lines.append(f"[NO] {run.module}: {run.error}")
    folders = [str(path) for path in cache_folders()]
    lines.append(f"{sum(run.seconds for run in runs):.1f} s, cached in {', '.join(folders) or '-'}")
    if not folders:
        out.warn(f"every start compiles all kernels: {CACHE_HINT}")
    values = {"kernels": [dataclasses.asdict(run) for run in runs], "cache": folders}
    out.result(values, "\n".join(lines))
    failed = [run.module for run in runs if run.error is not None]
    if failed:
        raise MissingResourceError(f"kernels do not run: {', '.join(failed)}")


def _cut(text: str) -> str:
    return text if len(text) <= LICENCE_SHOWN else text[: LICENCE_SHOWN - 3] + "..."


def _weights(out: Out, *, licences: bool) -> None:
    """Downloads nothing; missing weights are not a failure."""
    import dataclasses

    from orster_cli.diagnosis.published_weights import list_weights

    lines = []
    rows = list_weights(Path.cwd())
    for row in rows:
        mark, about = ("ok", "") if row.path else ("--", "about ")
        lines.append(f"[{mark}] {row.name}: {about}{_size(row.size)}, for {row.use}")
        # of weights that are here, whose terms hold already, the whole text
        whole = row.path is not None or licences
        lines.append(f"     {row.licence if whole else _cut(row.licence)}")
        lines.append(f"     in {row.path}" if row.path else f"     get it: {row.fetch}")
    values = []
    for row in rows:
        value = dataclasses.asdict(row)
        path = value.pop("path")
        values.append({**value, "place": path and str(path)})
    out.result({"weights": values}, "\n".join(lines))


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 10**9 else f"{count / 1e6:.0f} MB"
