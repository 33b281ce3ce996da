"""Runs one command over a list of items, each into its own folder below the output."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from orster_cli.artifacts.folders import remove_empty
from orster_cli.artifacts.lock import lock_in_folder
from orster_cli.core.reporting import Reporter
from orster_cli.core.stopping import StopFlag
from orster_cli.fanout.failures import FAILURES, write_failures
from orster_cli.fanout.items import Item, command_words
from orster_cli.fanout.ledger import FOLDER, Fingerprints, Ledger
from orster_cli.fanout.progress import Progress
from orster_cli.fanout.tasks import AGAIN, Result, Runner, Task


@dataclass(frozen=True, kw_only=True)
class Collection:
    """`command` over `items` into `out`/ID; `entry` names the function that runs a command line.

    `options`: the command's own; `recheck`: start the command of finished items too."""

    command: str
    items: list[Item]
    out: Path
    options: list[str]
    environ: Mapping[str, str]
    entry: str
    recheck: bool = False

    def words(self, item: Item, out: Path | None = None) -> list[str]:
        """The command line of an item."""
        return command_words(self.command, item, (out or self.out) / item.id, self.options)

    def task(self, item: Item, out: Path | None = None) -> Task:
        return Task(id=item.id, entry=self.entry, arguments=self.words(item, out))

    def fingerprints(self) -> dict[str, str]:
        """By the items' ids."""
        own = [option for option in self.options if "{id}" in option]
        common = [option for option in self.options if "{id}" not in option]
        of = Fingerprints(self.command, common, self.environ)
        return {
            item.id: of.of(item.text, item.path, [o.replace("{id}", item.id) for o in own])
            for item in self.items
        }

    def todo(self, ledger: Ledger, prints: Mapping[str, str]) -> list[Item]:
        """The items that the ledger does not hold."""
        if self.recheck:
            return list(self.items)
        return [item for item in self.items if not ledger.holds(item.id, prints[item.id])]


@dataclass(kw_only=True)
class Outcome:
    """`stopped`: items that a stop left unfinished."""

    made: int = 0
    up_to_date: int = 0
    stopped: int = 0
    failed: list[Result] = field(default_factory=list)


def run_collection(
    collection: Collection, runner: Runner, reporter: Reporter, stop: StopFlag
) -> Outcome:
    """Run what is not finished, and write `failures.json`. ConflictError: another run writes the output."""
    # in a folder of its own: a lock beside the items would be that of an item with its name
    lock, made = lock_in_folder(collection.out / FOLDER / "run")
    try:
        return _run(collection, runner, reporter, stop)
    finally:
        lock.release()
        remove_empty(made)


def _run(collection: Collection, runner: Runner, reporter: Reporter, stop: StopFlag) -> Outcome:
    ledger = Ledger(collection.out)
    prints = collection.fingerprints()
    todo = collection.todo(ledger, prints)
    outcome = Outcome(up_to_date=len(collection.items) - len(todo))
    by_id = {item.id: item for item in todo}
    if todo:
        name = f"run {collection.command}"
        progress = Progress(name, len(collection.items), outcome.up_to_date, reporter)
        tasks = [collection.task(item) for item in todo]
        with closing(runner.run(tasks, stop)) as results:
            for result in results:
                if result.code == AGAIN and stop.requested:
                    continue
                by_id.pop(result.id)
                _count(outcome, result)
                if result.ok:
                    usage = result.usage if result.made else {}
                    ledger.add(result.id, prints[result.id], usage)
                progress.add(result)
    outcome.stopped = len(by_id)
    words = {item.id: collection.words(item) for item in todo}
    order = {item.id: number for number, item in enumerate(todo)}
    outcome.failed.sort(key=lambda one: order[one.id])
    write_failures(collection.out / FAILURES, outcome.failed, words)
    return outcome


def _count(outcome: Outcome, result: Result) -> None:
    if not result.ok:
        outcome.failed.append(result)
    elif result.made:
        outcome.made += 1
    else:
        outcome.up_to_date += 1
