"""`orster run`: one command over many items, in processes, on SLURM or on Ray."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orster_cli.ui.options import RUN, DryRunOption, JsonOption, QuietOption, command
from orster_cli.ui.out import Out, Table

if TYPE_CHECKING:
    from orster_cli.core.stopping import StopFlag
    from orster_cli.fanout.budget import Budget
    from orster_cli.fanout.collection import Collection, Outcome
    from orster_cli.fanout.estimate import Estimate
    from orster_cli.fanout.tasks import Result, Runner

WHERE, EACH = "Where", "What each worker gets"
LOCAL, SLURM, RAY = RUNNERS = ("local", "slurm", "ray")
PREPARE = "prepare-data"


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where the work is done."""

    runner: Annotated[str, typer.Option(help="local, slurm or ray.", rich_help_panel=WHERE)] = LOCAL
    shards: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=100_000,
            help="Parts of the list: jobs of the array (slurm, default 16) or tasks (ray, default "
            "one for each item). Local workers take one item after the other.",
            rich_help_panel=WHERE,
        ),
    ] = None
    slurm: Annotated[
        list[str] | None,
        typer.Option(help="KEY=VALUE for submitit, such as partition=gpu.", rich_help_panel=WHERE),
    ] = None
    minutes: Annotated[
        int, typer.Option(min=2, help="Time limit of a job of slurm.", rich_help_panel=WHERE)
    ] = 240
    address: Annotated[
        str | None,
        typer.Option(help="Ray's cluster; by default the one it finds.", rich_help_panel=WHERE),
    ] = None


@dataclass(frozen=True, kw_only=True)
class Shares:
    """What a worker gets."""

    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            "-j",
            min=1,
            max=1024,
            help="Processes on this machine, or in each job of slurm. Local default: one for each "
            "GPU, or for each core.",
            rich_help_panel=EACH,
        ),
    ] = None
    threads: Annotated[
        int, typer.Option(min=1, max=1024, help="Threads.", rich_help_panel=EACH)
    ] = 1
    memory: Annotated[
        str | None,
        typer.Option(
            help="Memory, such as 8GB. Fewer workers run where it would not fit.",
            rich_help_panel=EACH,
        ),
    ] = None
    gpus: Annotated[
        str,
        typer.Option(
            help="local: auto, none, or numbers such as 0,1, of which each worker gets one; "
            "slurm, ray: how many each job or task gets.",
            rich_help_panel=EACH,
        ),
    ] = "auto"
    per_gpu: Annotated[
        int, typer.Option(min=1, help="Local workers on one GPU.", rich_help_panel=EACH)
    ] = 1


@dataclass(frozen=True, kw_only=True)
class Talk:
    """How the run is reported."""

    recheck: Annotated[
        bool,
        typer.Option(
            "--recheck",
            help="Let the command look at finished items too.",
            rich_help_panel=RUN,
        ),
    ] = False
    sample: Annotated[
        int,
        typer.Option(
            min=0,
            max=100,
            help="With --dry-run: items that are really run, and thrown away, for the estimate.",
            rich_help_panel=RUN,
        ),
    ] = 2
    dry_run: DryRunOption = False
    as_json: JsonOption = False
    quiet: QuietOption = False


@command
def run(
    *,
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="COMMAND [OBJECTS] [-- OPTIONS]",
            help="prepare-data, generate, sample-video, construct or evaluate; after -- its own options, "
            "in which {id} is the item's id.",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="Folder for all: OUT/ID for each item, or the dataset."),
    ],
    over: Annotated[
        Path | None,
        typer.Option(
            help="The items: a text file with one in each line, a folder of files or artifacts, or a "
            "dataset.",
        ),
    ] = None,
    placement: Placement,
    shares: Shares,
    talk: Talk,
) -> None:
    """Run a command over many items, in processes, on SLURM or on Ray.

    Finished items are skipped, failed ones are listed, and a stopped run goes on when it is run again.
    Example: orster run construct --over clips/ -o assets/ -- --preset fast ;
    orster run prepare-data objects/ -o dataset/ --runner slurm --shards 64"""
    from orster_cli.commands.run_options import split_words
    from orster_cli.commands.stage import listen
    from orster_cli.core.stopping import StopFlag

    sink = Out(as_json=talk.as_json, quiet=talk.quiet)
    name, inputs, options = split_words(words)
    stop = StopFlag()
    if name == PREPARE:
        from orster_cli.commands.run_prepare import run_prepare

        run_prepare(inputs, options, over, out, placement, shares, talk)
        return
    collection = plan_collection(name, inputs, options, over, out, talk, sink)
    listen(stop, sink)
    if talk.dry_run:
        preview(collection, placement, shares, talk, sink, stop)
        return
    from orster_cli.fanout.collection import run_collection
    from orster_cli.fanout.ledger import FOLDER

    runner = runner_of(placement, shares, options, out / FOLDER, name, sink)
    report(collection, run_collection(collection, runner, sink, stop), sink)


def plan_collection(
    name: str,
    inputs: list[str],
    options: list[str],
    over: Path | None,
    out: Path,
    talk: Talk,
    sink: Out,
) -> Collection:
    """The items of a command. ConfigError: it cannot be run over items, or its options are wrong."""
    from orster_cli.artifacts.outputs import check_collection
    from orster_cli.commands.run_entries import COMMAND_LINE
    from orster_cli.commands.run_options import check_options
    from orster_cli.core.errors import ConfigError
    from orster_cli.core.names import counted
    from orster_cli.fanout.collection import Collection
    from orster_cli.fanout.items import find_items

    if inputs:
        raise ConfigError(
            f"{inputs[0]}: {name} takes its items from --over",
            hint=f"orster run {name} --over {shlex.quote(inputs[0])} -o {shlex.quote(str(out))}",
        )
    if over is None:
        raise ConfigError("no items are given", hint=f"orster run {name} --over items/ -o out/")
    check_collection(out, f"what {name} makes of each item")
    items, left_out = find_items(over, name)
    if left_out:
        sink.info(f"{over}: {counted(left_out, 'file')} that {name} does not read")
    collection = Collection(
        command=name,
        items=items,
        out=out,
        options=options,
        environ=os.environ,
        entry=COMMAND_LINE,
        recheck=talk.recheck or "--force" in options,
    )
    check_options(name, collection.words(items[0])[1:])
    return collection


def runner_of(
    placement: Placement, shares: Shares, options: list[str], folder: Path, name: str, sink: Out
) -> Runner:
    """The runner that the options choose; `folder`: for its logs, on a disk that all machines share.
    ConfigError, MissingResourceError: there is none."""
    from orster_cli.commands.run_options import number_of_gpus, slurm_parameters
    from orster_cli.core.errors import ConfigError
    from orster_cli.core.names import did_you_mean
    from orster_cli.fanout.budget import Budget, parse_memory

    if placement.runner == LOCAL:
        from orster_cli.fanout.local import LocalRunner

        return LocalRunner(budget_here(shares, options, name, sink), folder / "workers")
    budget = Budget(
        workers=shares.workers or 1, threads=shares.threads, memory=parse_memory(shares.memory)
    )
    gpus = number_of_gpus(shares.gpus)
    if placement.runner == SLURM:
        from orster_cli.fanout.slurm import Cluster, SlurmRunner

        parameters, where = slurm_parameters(placement.slurm or [])
        cluster = Cluster(
            name=where,
            job_name=f"orster-{name}",
            shards=placement.shards or Cluster.shards,
            minutes=placement.minutes,
            gpus=int(gpus),
            parameters=parameters,
        )
        return SlurmRunner(cluster, budget, (folder / "slurm").absolute())
    if placement.runner == RAY:
        from orster_cli.fanout.ray_cluster import RayRunner

        if shares.workers:
            sink.warn(
                "--workers is not used: Ray starts as many tasks as its cores and memory hold"
            )
        return RayRunner(budget, address=placement.address, shards=placement.shards, gpus=gpus)
    raise ConfigError(
        f"--runner: expected {', '.join(RUNNERS)}, got {placement.runner!r}"
        f"{did_you_mean(placement.runner, list(RUNNERS))}"
    )


def budget_here(shares: Shares, options: list[str], name: str, sink: Out) -> Budget:
    """The workers of this machine."""
    from orster_cli.fanout.budget import GPUS, local_budget, parse_gpus, parse_memory

    gpus = parse_gpus(shares.gpus, os.environ.get(GPUS))
    if shares.gpus == "auto" and (name == PREPARE or "cpu" in options or "--device=cpu" in options):
        gpus = ()
    budget, note = local_budget(
        workers=shares.workers,
        threads=shares.threads,
        memory=parse_memory(shares.memory),
        gpus=gpus,
        per_gpu=shares.per_gpu,
    )
    if note:
        sink.warn(note)
    return budget


def report(collection: Collection, outcome: Outcome, sink: Out) -> None:
    """Say how the items ended. ItemsError: some failed; Preempted: some are left."""
    from orster_cli.core.errors import ItemsError, Preempted
    from orster_cli.core.names import counted
    from orster_cli.fanout.failures import FAILURES

    total = len(collection.items)
    finished = not (outcome.made or outcome.failed or outcome.stopped)
    status = "failed" if outcome.failed else "stopped" if outcome.stopped else "made"
    status = "up to date" if finished else status
    values: dict[str, Any] = {
        "status": status,
        "path": str(collection.out),
        "made": outcome.made,
        "up_to_date": outcome.up_to_date,
        "failed": len(outcome.failed),
        "left": outcome.stopped,
    }
    text = f"{counted(outcome.made, 'item')} made, {outcome.up_to_date} up to date"
    text += f", {len(outcome.failed)} failed" if outcome.failed else ""
    shown: list[str | Table] = [*failure_table(outcome.failed), f"{text}, in {collection.out}"]
    if finished:
        shown = [f"{collection.out}: up to date ({counted(total, 'item')})"]
    sink.report(values, "" if sink.quiet else shown)
    if outcome.stopped:
        raise Preempted(
            f"stopped after {total - outcome.stopped} of {counted(total, 'item')}",
            hint="run the same command again to go on",
        )
    if outcome.failed:
        raise ItemsError(
            f"{len(outcome.failed)} of {counted(total, 'item')} failed",
            hint=f"{collection.out / FAILURES} has each error; the same command tries these again",
        )


def failure_table(failed: list[Result]) -> list[str | Table]:
    """What failed, for the reader."""
    from orster_cli.fanout.failures import HEADER, SHOWN, failure_rows

    if not failed:
        return []
    more = [f"... and {len(failed) - SHOWN} more"] if len(failed) > SHOWN else []
    return [Table(failure_rows(failed), HEADER), *more]


def preview(
    collection: Collection,
    placement: Placement,
    shares: Shares,
    talk: Talk,
    sink: Out,
    stop: StopFlag,
) -> None:
    """Print what would be run and what it would take."""
    import tempfile

    from orster_cli.commands.run_options import cost
    from orster_cli.fanout.budget import Budget
    from orster_cli.fanout.estimate import estimate_of, measure, spread
    from orster_cli.fanout.ledger import Ledger
    from orster_cli.fanout.local import LocalRunner

    ledger = Ledger(collection.out)
    todo = collection.todo(ledger, collection.fingerprints())
    estimate: Estimate | None = None
    if earlier := ledger.usage():
        estimate = estimate_of(earlier)
    elif todo and talk.sample:
        with tempfile.TemporaryDirectory(prefix="orster-sample-") as name:
            folder = Path(name)
            chosen = [todo[i] for i in spread(len(todo), talk.sample)]
            tasks = [collection.task(item, folder / "out") for item in chosen]
            one = LocalRunner(Budget(threads=shares.threads), folder / "log")
            sink.info(f"measuring {len(tasks)} of {len(todo)} items ...")
            estimate = measure(tasks, one, folder / "out", stop)
    done = len(collection.items) - len(todo)
    first = shlex.join(collection.words(todo[0])) if todo else ""
    lines = [
        f"would run {collection.command} over {len(todo)} items into {collection.out}; {done} are "
        "up to date",
        *([f"  first: orster {first}"] if todo else []),
    ]
    values: dict[str, Any] = {
        "status": "dry run",
        "path": str(collection.out),
        "items": len(collection.items),
        "up_to_date": done,
        "first": first,
    }
    workers = None
    if placement.runner == LOCAL:
        workers = budget_here(shares, collection.options, collection.command, sink).workers
    costs, text = cost(estimate, len(todo), workers)
    sink.result({**values, **costs}, "\n".join([*lines, *text]))
