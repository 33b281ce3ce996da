"""`orster run`: one command over many items, in processes, on SLURM or on Ray."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orster_cli.commands.run_placement import PREPARE, Placement, Shares, Talk, runner_of
from orster_cli.ui.options import command
from orster_cli.ui.out import Out


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
    """Run a command over many items: in processes, on SLURM or Ray.

    Finished items are skipped, failed ones are listed, and a stopped run goes on when it is run again.
    Example: orster run construct --over clips/ -o assets/ -- --preset balanced ;
    orster run prepare-data objects/ -o dataset/ --runner slurm --shards 64"""
    from orster_cli.commands.run_items import plan_collection, preview, report
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
