"""`orster evaluate`: how near an asset or a clip comes to a reference."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from orster_cli.ui.options import (
    ConfigOption,
    DryRunOption,
    ForceOption,
    JsonOption,
    OutOption,
    QuietOption,
    SetOption,
)

if TYPE_CHECKING:
    from orster_cli.artifacts.store import Draft
    from orster_cli.commands.common import Stage
    from orster_cli.commands.subjects import Subject
    from orster_cli.evaluate.footage import Footage


def evaluate(
    subject: Annotated[
        str,
        typer.Argument(
            help="An asset, a clip, dataset#key:view, a .ply, a video, or a folder of such folders."
        ),
    ],
    out: OutOption,
    reference: Annotated[
        str, typer.Option(help="What it should look like: a clip, dataset#key:view, or a video.")
    ],
    metrics: Annotated[str | None, typer.Option(help="Comma-separated, e.g. psnr,ssim.")] = None,
    fail_under: Annotated[
        list[str] | None, typer.Option(help="Exit with 7 where a mean is less, e.g. psnr=16.")
    ] = None,
    config: ConfigOption = None,
    assignments: SetOption = None,
    force: ForceOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Compare with a reference, frame by frame: an asset is rendered at its cameras and times.

    Example: orster evaluate asset/ --reference dataset#frog-0 -o report/ --fail-under psnr=25"""
    from orster_cli.commands.common import Stage
    from orster_cli.commands.subjects import open_frames, open_subjects
    from orster_cli.evaluate.gates import check_gates, parse_gates
    from orster_cli.evaluate.metrics import check_names

    names = None if metrics is None else [name.strip() for name in metrics.split(",")]
    stage = Stage.open(
        "evaluate",
        command="evaluate",
        out=out,
        flags={"evaluate.metrics": names},
        config=config,
        template=None,
        assignments=assignments,
        force=force,
        dry_run=dry_run,
        as_json=as_json,
        quiet=quiet,
    )
    cfg = stage.resolved.config.evaluate
    gates = parse_gates(fail_under or [], check_names(cfg.metrics))
    target = open_frames(reference, cfg.background, stage.out)
    subjects = open_subjects(subject, cfg.background, stage.out)
    sources = [target, *subjects]
    draft = stage.plan(
        kind="report",
        parents=[parent for source in sources for parent in source.parents],
        inputs=[file for source in sources for file in source.inputs],
        extra={"reference": target.key, "subjects": [(s.name, s.key) for s in subjects]},
    )
    if dry_run:
        return
    if draft is None:  # up to date: what was found then is held against the gates of now
        from orster_cli.artifacts.store import open_artifact

        means = open_artifact(out, kind="report").content["mean"]
    else:
        assert target.footage is not None
        means = _evaluate(stage, draft, subjects, target.footage)
    check_gates(gates, means)


def _evaluate(
    stage: Stage, draft: Draft, subjects: list[Subject], reference: Footage
) -> dict[str, dict[str, float | None]]:
    """Make the report; {subject: {figure: mean}}."""
    from orster_cli.core.errors import Preempted
    from orster_cli.evaluate.compare import compare
    from orster_cli.evaluate.footage import from_asset
    from orster_cli.evaluate.report import report_values, write_report, write_sheet

    cfg = stage.resolved.config.evaluate
    figures, sheets = [], []
    with draft:
        for one in subjects:
            if stage.stop.requested:
                raise Preempted("stopped before the report was whole: run the same command again")
            footage = one.footage
            if footage is None:
                assert one.asset is not None
                footage = from_asset(one.name, one.asset, reference, cfg.background, stage.out)
            figures.append(compare(footage, reference, cfg.metrics, stage.out))
            sheets.append("sheet.png" if len(subjects) == 1 else f"sheet-{one.name}.png")
            write_sheet(draft.dir / sheets[-1], footage, reference, frames=cfg.sheet_frames)
        values = report_values(figures, reference, cfg)
        write_report(draft.dir, values, reference)
        means = {one["name"]: one["mean"] for one in values["subjects"]}
        content = {"protocol": values["protocol"], "mean": means}
        artifact = draft.commit(content, warnings=stage.out.warnings[:100])
    stage.done(
        artifact,
        summary=_table(values),
        next_step=f"look at {stage.out_path / sheets[0]}",
        values=content,
    )
    return means


def _table(values: dict[str, Any]) -> str:
    """The means of a report's values, one row a subject."""
    from orster_cli.ui.out import table

    names = list(values["metrics"])
    units = [about["unit"] for about in values["metrics"].values()]
    header = ["", *(f"{n} ({u})" if u else n for n, u in zip(names, units, strict=True))]
    rows = []
    for one in values["subjects"]:
        means = [one["mean"][name] for name in names]
        rows.append([one["name"], *("-" if mean is None else f"{mean:.4f}" for mean in means)])
    return table(rows, header)
