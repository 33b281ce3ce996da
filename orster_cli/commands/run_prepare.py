"""`orster run prepare-data`: the plain command, with its objects rendered elsewhere."""

from __future__ import annotations

import shlex
import shutil
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orster_cli.commands.run_options import parsed

if TYPE_CHECKING:
    from orster_cli.commands.run_placement import Placement, Shares, Talk
    from orster_cli.commands.stage import Stage

NOT_HERE = ("shard", "workers", "merge", "write_captions")


def run_prepare(
    inputs: list[str],
    options: list[str],
    over: Path | None,
    out: Path,
    placement: Placement,
    shares: Shares,
    talk: Talk,
) -> None:
    """Make the dataset that `orster prepare-data` makes. ItemsError: objects failed."""
    from orster_cli.commands.prepare_data import RenderOptions, render_dataset
    from orster_cli.commands.run_entries import SOURCE
    from orster_cli.commands.run_items import failure_table
    from orster_cli.commands.run_placement import LOCAL, PREPARE, runner_of
    from orster_cli.commands.stage import Stage
    from orster_cli.core.errors import ConfigError
    from orster_cli.fanout.failures import write_failures
    from orster_cli.fanout.sources import SourceRunner, SourcesFailed
    from orster_cli.ui.options import TemplateRun

    objects = [*inputs, *([str(over)] if over is not None else [])]
    if not objects:
        raise ConfigError(
            "no objects are given", hint=f"orster run {PREPARE} objects/ -o {shlex.quote(str(out))}"
        )
    given = parsed(PREPARE, [*options, "-o", str(out), "--", *objects])
    defaults = parsed(PREPARE, ["-o", str(out), "--", *objects])
    for name in NOT_HERE:
        if given[name] != defaults[name]:
            raise ConfigError(f"--{name.replace('_', '-')}: not with orster run {PREPARE}")
    said = {"dry_run": talk.dry_run, "as_json": talk.as_json, "quiet": talk.quiet}
    run = replace(TemplateRun(**_group(given, TemplateRun)), **said)
    render = RenderOptions(**_group(given, RenderOptions))
    stage = Stage.open(
        "prepare",
        command=PREPARE,
        kind="dataset",
        reads=[*given["objects"], given["captions"]],
        out=out,
        flags={f"prepare.{name}": value for name, value in asdict(render).items()},
        **run.for_stage(),
    )
    if talk.dry_run:
        preview(stage, given, placement, shares, talk)
        return
    folder = out.absolute().parent / f".{out.name}.run"
    failures = out.absolute().parent / f"{out.name}.failures.json"
    runner = runner_of(placement, shares, options, folder, PREPARE, stage.out)
    jobs = SourceRunner(runner, SOURCE, stage.out, stage.stop)
    try:
        render_dataset(stage, given["objects"], given["captions"], None, 1, jobs)
    except SourcesFailed as error:
        write_failures(failures, error.failed, {})
        values = {"status": "failed", "path": str(stage.out_path), "failed": len(error.failed)}
        stage.out.report(values, failure_table(error.failed))
        raise
    write_failures(failures, [], {})
    if placement.runner == LOCAL:
        shutil.rmtree(folder, ignore_errors=True)  # what libraries printed


def _group(given: dict[str, Any], kind: Any) -> dict[str, Any]:
    return {field.name: given[field.name] for field in fields(kind)}


def preview(
    stage: Stage, given: dict[str, Any], placement: Placement, shares: Shares, talk: Talk
) -> None:
    """The plan of the plain command, and what it would take, from a sample of the objects."""
    import tempfile

    from orster_cli.commands.run_entries import SOURCE
    from orster_cli.commands.run_options import cost
    from orster_cli.commands.run_placement import LOCAL, PREPARE, budget_here
    from orster_cli.dataset.sources import find_sources
    from orster_cli.fanout.budget import Budget
    from orster_cli.fanout.estimate import Estimate, measure, spread
    from orster_cli.fanout.local import LocalRunner
    from orster_cli.fanout.sources import sample_tasks
    from orster_cli.inputs.prepare_plan import plan_prepare

    plan = plan_prepare(
        given["objects"],
        stage.resolved.config.prepare,
        captions=given["captions"],
        reporter=stage.out,
    )
    sources = find_sources(given["objects"])
    estimate: Estimate | None = None
    if talk.sample:
        with tempfile.TemporaryDirectory(prefix="orster-sample-") as name:
            folder = Path(name)
            chosen = [sources[i] for i in spread(len(sources), talk.sample)]
            tasks = sample_tasks(chosen, plan, folder / "out", SOURCE)
            one = LocalRunner(Budget(), folder / "log")
            stage.out.info(f"measuring {len(tasks)} of {len(sources)} objects ...")
            estimate = measure(tasks, one, folder / "out", stage.stop)
    workers = None
    if placement.runner == LOCAL:
        workers = budget_here(shares, [], PREPARE, stage.out).workers
    costs, lines = cost(estimate, len(sources), workers)
    values = {"objects": len(sources), **costs}
    stage.plan(
        inputs=plan.inputs,
        seeds=plan.seeds,
        extra=plan.identity,
        preview=lambda: (values, "\n".join([f"{len(sources)} objects", *lines])),
    )
