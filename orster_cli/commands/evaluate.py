"""`orster evaluate`: the figures of assets and clips, under a named protocol.

With several processes (`torchrun ... -m orster_cli evaluate ...`) each measures a share of the subjects
into the cache of features, and the first one writes the report.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orster_cli.ui.options import DeviceOption, StageRun, command

if TYPE_CHECKING:
    from orster_cli.artifacts.store import Draft
    from orster_cli.commands.stage import Stage
    from orster_cli.inputs.evaluation import EvaluationPlan
    from orster_cli.ui.out import Out

PLACES = 4  # after the point, in the table at the end


@command
def evaluate(
    *,
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
    up: Annotated[
        str | None, typer.Option(help="Axis of a .ply that points up: z (the default), y or -y.")
    ] = None,
    fail_under: Annotated[
        list[str] | None, typer.Option(help="Exit with 7 where a mean is less, e.g. psnr=16.")
    ] = None,
    compare: Annotated[
        tuple[Path, Path] | None,
        typer.Option(help="Two reports of the same subjects: paired differences."),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(help="Folder of the cached network features; by default in the user's cache."),
    ] = None,
    device: DeviceOption = "auto",
    run: StageRun,
) -> None:
    """Measure assets and clips, and write a report.

    Some metrics compare with a reference.
    Example: orster evaluate runs/ --reference dataset/ --metrics fvd,clip-o,psnr -o report/"""
    from orster_cli.core.errors import ConfigError

    if compare is not None:
        from orster_cli.ui.out import Out

        if subject is not None or reference is not None:
            raise ConfigError("--compare reads two reports: give no subject and no --reference")
        others = {"-o": out, "--metrics": metrics, "--protocol": protocol, "--up": up}
        others |= {"--fail-under": fail_under, "--cache": cache}
        others |= {"--config": run.config, "--set": run.assignments}
        if given := [name for name, value in others.items() if value]:
            raise ConfigError(
                f"{', '.join(given)}: not with --compare, which prints the differences of two reports"
            )
        compare_reports(*compare, Out(as_json=run.as_json, quiet=run.quiet))
        return
    if subject is None:
        raise ConfigError(
            "nothing to evaluate", hint="orster evaluate asset/ --reference clip/ -o report/"
        )
    from orster_cli.commands.stage import Stage
    from orster_cli.config.load import protocol_template
    from orster_cli.inputs.evaluation import report_folder

    names = None if metrics is None else [name.strip() for name in metrics.split(",")]
    stage = Stage.open(
        "evaluate",
        command="evaluate",
        kind="report",
        reads=[subject, reference],
        out=out or report_folder(subject),
        flags={"evaluate.metrics": names, "evaluate.up": up},
        template=protocol_template(protocol),
        **run.for_stage(),
    )
    _run(stage, subject, reference, fail_under or [], device, cache)


def compare_reports(first: Path, second: Path, out: Out) -> None:
    """`--compare`: print the paired differences of two reports (folders or report.json files), as Markdown
    unless the reader is a terminal."""
    from orster_cli.report.comparison import (
        COMPARED,
        compare_report_files,
        comparison_markdown,
        comparison_text,
        not_compared,
    )
    from orster_cli.ui.out import Table

    result = compare_report_files(first, second)
    if count := not_compared(result):
        out.warn(f"subjects that are not compared, because both reports do not have them: {count}")
    if out.draws:
        head, rows, notes = comparison_text(result)
        out.result(result, [head, Table(rows, COMPARED), *notes])
    else:
        out.result(result, comparison_markdown(result))


def _run(
    stage: Stage,
    subject: str,
    reference: str | None,
    gates_text: Sequence[str],
    device: str,
    cache: Path | None,
) -> None:
    from orster_cli.artifacts.store import open_artifact
    from orster_cli.core.strict_json import read_object
    from orster_cli.evaluation.gates import check_gates, parse_gates
    from orster_cli.evaluation.metrics import check_names
    from orster_cli.inputs.evaluation import check_available, measure_share, plan_evaluation
    from orster_cli.report.tabular import subject_means
    from orster_cli.report.write import REPORT

    cfg = stage.resolved.config.evaluate
    gates = parse_gates(gates_text, check_names(cfg.metrics))
    plan = plan_evaluation(
        subject,
        cfg,
        reference=reference,
        device=device,
        cache=(cache or cache_folder()) / "features",
        reporter=stage.out,
    )
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if processes > 1 and not measure_share(plan, stage.out, processes, stop=stage.stop):
        return
    draft = stage.plan(parents=plan.parents, inputs=plan.inputs, extra=plan.identity)
    if stage.dry_run:
        return
    if draft is not None:
        _write(stage, draft, plan)
    # an older report that is up to date is checked against the gates of this run too
    values = read_object(open_artifact(stage.out_path, kind="report").path / REPORT)
    check_gates(gates, subject_means(values))
    check_available(values["unavailable"], cfg, stage.out)


def cache_folder() -> Path:
    """The default folder of the cached features."""
    if user := os.environ.get("XDG_CACHE_HOME"):
        return Path(user) / "orster"
    try:
        return Path.home() / ".cache" / "orster"
    except RuntimeError:  # a user without a home, as in some containers
        return Path(tempfile.gettempdir()) / f"orster-{os.getuid()}"


def _write(stage: Stage, draft: Draft, plan: EvaluationPlan) -> None:
    """Make the report and say what it found."""
    from orster_cli.inputs.evaluation import report_content, write_evaluation
    from orster_cli.report.tabular import set_lines, subject_means, subject_rows
    from orster_cli.report.write import PAGE
    from orster_cli.ui.out import Table

    with draft:
        values = write_evaluation(
            plan, draft.dir, stage.out, scratch=draft.scratch, stop=stage.stop
        )
        content = report_content(values)
        artifact = draft.commit(content, warnings=stage.out.warnings[:100])
    rows, header = subject_rows(values, PLACES)
    means = [Table(rows, header)] if len(header) > 1 else []
    stage.done(
        artifact,
        figures=[*means, *set_lines(values, PLACES)],
        next_step=f"look at {stage.out_path / PAGE}",
        values={**content, "mean": subject_means(values)},
    )
