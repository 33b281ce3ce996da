"""`orster run` over a list of items, each with an output of its own: plan, preview and report."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orster_cli.commands.run_placement import LOCAL, Placement, Shares, Talk, budget_here
from orster_cli.ui.out import Out, Table

TEXTS = ("--text", "--prompt", "-t")  # options that say what an object does

if TYPE_CHECKING:
    from orster_cli.core.stopping import StopFlag
    from orster_cli.fanout.collection import Collection, Outcome
    from orster_cli.fanout.estimate import Estimate
    from orster_cli.fanout.tasks import Result


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
    from orster_cli.fanout.items import FILE, READS, find_items

    if inputs:
        raise ConfigError(
            f"{inputs[0]}: {name} takes its items from --over",
            hint=f"orster run {name} --over {shlex.quote(inputs[0])} -o {shlex.quote(str(out))}",
        )
    if over is None:
        raise ConfigError("no items are given", hint=f"orster run {name} --over items/ -o out/")
    check_collection(out, f"what {name} makes of each item")
    items, left_out = find_items(over, name, out)
    if left_out:
        sink.note(f"{over}: {counted(left_out, 'file')} that {name} does not read")
    silent = sum(item.form == FILE for item in items) if READS[name].prompts else 0
    if silent and not any(option.partition("=")[0] in TEXTS for option in options):
        sink.warn(
            f"no text is given for {counted(silent, 'object')}: what they do is left to the model "
            '(-- --text "walking" asks for it)'
        )
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

    ledger, prints = Ledger(collection.out), collection.fingerprints()
    todo = collection.todo(ledger, prints)
    estimate: Estimate | None = None
    if earlier := ledger.usage(prints):
        estimate = estimate_of(earlier)
    elif todo and talk.sample:
        with tempfile.TemporaryDirectory(prefix="orster-sample-") as name:
            folder = Path(name)
            chosen = [todo[i] for i in spread(len(todo), talk.sample)]
            tasks = [collection.task(item, folder / "out") for item in chosen]
            gpus = () if shares.gpus == "none" else None
            one = LocalRunner(Budget(threads=shares.threads, gpus=gpus), folder / "log")
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
