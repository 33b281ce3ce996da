"""Where `orster run` does its work, and what each worker gets: options, and the runner that they choose."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orster_cli.ui.options import RUN, DryRunOption, JsonOption, QuietOption
from orster_cli.ui.out import Out

if TYPE_CHECKING:
    from orster_cli.fanout.budget import Budget
    from orster_cli.fanout.tasks import Runner

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
        gpus = None
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
