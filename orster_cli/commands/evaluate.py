"""`orster evaluate`: the figures of assets and clips, under a named protocol.

On several processes (`torchrun ... -m orster_cli evaluate ...`) all of them look at a share of the frames;
what they find is kept by content, and the first one writes the report.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orster_cli.ui.options import (
    ConfigOption,
    DeviceOption,
    DryRunOption,
    ForceOption,
    JsonOption,
    QuietOption,
    SetOption,
)

if TYPE_CHECKING:
    from orster_cli.artifacts.store import Draft
    from orster_cli.commands.evaluation import Asked
    from orster_cli.commands.stage import Stage
    from orster_cli.evaluate.evaluate_cases import Figures
    from orster_cli.evaluate.views import Looks


def evaluate(
    subject: Annotated[
        str | None,
        typer.Argument(
            help="An asset, a clip, dataset#key:view, a .ply, .glb or video; or a dataset or folder "
            "of them."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder of the report.")] = None,
    reference: Annotated[
        str | None,
        typer.Option(help="What it should look like: as SUBJECT, one for all or one for each."),
    ] = None,
    metrics: Annotated[
        str | None, typer.Option(help="Comma-separated, e.g. fvd,clip-o,psnr; or all.")
    ] = None,
    protocol: Annotated[
        str | None, typer.Option(help="orster (the default), diffusion4d or consistent4d.")
    ] = None,
    fail_under: Annotated[
        list[str] | None, typer.Option(help="Exit with 7 where a mean is less, e.g. psnr=16.")
    ] = None,
    compare: Annotated[
        tuple[Path, Path] | None,
        typer.Option(help="Two reports of the same subjects: paired differences."),
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Where networks' answers are kept; by default the user's.")
    ] = None,
    device: DeviceOption = "auto",
    config: ConfigOption = None,
    assignments: SetOption = None,
    force: ForceOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Measure assets and clips, against a reference where a metric needs one.

    Example: orster evaluate runs/ --reference dataset/ --metrics fvd,clip-o,psnr -o report/"""
    from orster_cli.core.errors import ConfigError

    if compare is not None:
        from orster_cli.commands.compare_reports import run as run_comparison
        from orster_cli.ui.out import Out

        if subject is not None or reference is not None:
            raise ConfigError("--compare reads two reports: give no subject and no --reference")
        run_comparison(*compare, Out(as_json=as_json, quiet=quiet))
        return
    if subject is None:
        raise ConfigError(
            "nothing to evaluate", hint="orster evaluate asset/ --reference clip/ -o report/"
        )
    from orster_cli.commands.stage import Stage

    names = None if metrics is None else [name.strip() for name in metrics.split(",")]
    stage = Stage.open(
        "evaluate",
        command="evaluate",
        kind="report",
        reads=[subject, reference],
        out=out or _report_of(subject),
        flags={"evaluate.metrics": names},
        config=config,
        template=None if protocol is None else f"evaluate-{protocol}",
        assignments=assignments,
        force=force,
        dry_run=dry_run,
        as_json=as_json,
        quiet=quiet,
    )
    _run(stage, subject, reference, fail_under or [], device, cache)


def _report_of(subject: str) -> Path:
    """`runs/report` for a folder of artifacts, `report` in the current folder else."""
    from orster_cli.artifacts.manifest import MANIFEST

    path = Path(subject)
    several = path.is_dir() and not (path / MANIFEST).exists()
    return path / "report" if several else Path("report")


def _run(
    stage: Stage,
    subject: str,
    reference: str | None,
    gates_text: Sequence[str],
    device: str,
    cache: Path | None,
) -> None:
    from orster_cli.artifacts.store import open_artifact
    from orster_cli.commands.evaluation import first_process, open_asked, reference_of
    from orster_cli.core.strict_json import read_object
    from orster_cli.evaluate.gates import check_gates, parse_gates
    from orster_cli.evaluate.metrics import check_names
    from orster_cli.report.write import REPORT

    names = check_names(stage.resolved.config.evaluate.metrics)
    gates = parse_gates(gates_text, names)
    asked = open_asked(stage, subject, reference, names, device, cache)
    sources = [*asked.subjects, *asked.pairs.reference.values(), *asked.pairs.spare]
    world = int(os.environ.get("WORLD_SIZE", "1"))
    first = world == 1 or first_process(stage, asked, world)
    if not first:
        return
    parents = {parent.id: parent for one in sources for parent in one.parents}
    inputs = {(file.name, file.sha256): file for one in sources for file in one.inputs}
    draft = stage.plan(
        parents=list(parents.values()),
        inputs=list(inputs.values()),
        extra={
            "subjects": [(s.name, s.key, reference_of(asked, s)) for s in asked.subjects],
            "spare": [(s.name, s.key) for s in asked.pairs.spare],
            "networks": {k: s.sha256 for k, s in asked.features.networks.sources.items()},
            "changed": asked.changed,
        },
    )
    if stage.dry_run:
        return
    if draft is not None:
        _evaluate(stage, draft, asked)
    # what was found, now or before, is held against the gates of now
    values = read_object(open_artifact(stage.out_path, kind="report").path / REPORT)
    check_gates(gates, {one["name"]: one["mean"] for one in values["subjects"]})
    _complain(values["unavailable"], stage)


def _evaluate(stage: Stage, draft: Draft, asked: Asked) -> None:
    """Make the report."""
    from orster_cli.commands.evaluation import measure
    from orster_cli.report.write import (
        MOST_SHOWN,
        PAGE,
        report_values,
        side_by_side,
        write_report,
        write_sheet,
    )

    cfg = stage.resolved.config.evaluate
    several = len(asked.subjects) > 1
    videos: dict[str, Any] = {}

    def seen(looks: Looks, figures: Figures) -> None:
        if len(videos) == MOST_SHOWN:
            return
        ours, theirs = looks.videos
        alike = theirs if theirs is not None and theirs.frames.shape == ours.frames.shape else None
        name = f"sheet-{figures.name}.png" if several else "sheet.png"
        write_sheet(draft.dir / name, ours, alike, frames=cfg.sheet_frames)
        videos[figures.name] = side_by_side(ours, theirs, draft.scratch)

    with draft:
        outcome = measure(stage, asked, seen=seen)
        values = report_values(outcome, asked.names, asked.features.networks.sources, cfg)
        values["protocol"]["changed"] = asked.changed
        write_report(draft.dir, values, videos)
        content = {
            "protocol": values["protocol"],
            "summary": values["summary"],
            "unavailable": values["unavailable"],
        }
        artifact = draft.commit(content, warnings=stage.out.warnings[:100])
    stage.done(
        artifact,
        summary=_table(values),
        next_step=f"look at {stage.out_path / PAGE}",
        values={**content, "mean": {one["name"]: one["mean"] for one in values["subjects"]}},
    )


def _complain(unavailable: dict[str, dict[str, str]], stage: Stage) -> None:
    """MissingResourceError for metrics that were asked for by name and have no value; with `all` only
    a word."""
    from orster_cli.core.errors import MissingResourceError
    from orster_cli.evaluate.metrics import ALL

    lines = [f"{name}: {about['why']}" for name, about in unavailable.items()]
    if not lines:
        return
    if ALL in stage.resolved.config.evaluate.metrics:
        for line in lines:
            stage.out.warn(f"not computed: {line}")
        return
    ways = dict.fromkeys(about["get"] for about in unavailable.values() if about["get"])
    raise MissingResourceError(
        "the report lacks what was asked for:\n" + "\n".join(lines), hint="; ".join(ways) or None
    )


def _table(values: dict[str, Any]) -> str:
    """The subjects' means, one row each, then the summary."""
    from orster_cli.ui.out import table

    about = values["metrics"]
    names = [name for name in about if about[name]["scope"] != "set"]
    header = ["", *(f"{n} ({about[n]['unit']})" if about[n]["unit"] else n for n in names)]
    rows = [
        [one["name"], *(_number(one["mean"].get(name)) for name in names)]
        for one in values["subjects"]
    ]
    text = table(rows, header) if names else ""
    sets = [
        f"{name} {_number(values['summary'][name]['mean'])} over "
        f"{values['summary'][name]['objects']} and {values['summary'][name]['reference_objects']}"
        " clips"
        for name in about
        if about[name]["scope"] == "set" and name in values["summary"]
    ]
    return "\n".join(part for part in (text, *sets) if part)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
