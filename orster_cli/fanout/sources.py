"""The objects of `prepare-data` as tasks.

Workers render into the scratch folder of the one dataset that is made, as the processes of the plain
command do, and that command's code packs the shards. So the dataset is the same, and has the same id,
wherever its objects were rendered, and a stopped run of either kind goes on with the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orster_cli.config.prepare import PrepareConfig
from orster_cli.core.errors import ItemsError, Preempted
from orster_cli.core.names import counted
from orster_cli.core.reporting import Reporter
from orster_cli.core.stopping import StopFlag
from orster_cli.dataset.captions import Caption
from orster_cli.dataset.sources import Source
from orster_cli.fanout.progress import Progress
from orster_cli.fanout.tasks import AGAIN, Result, Runner, Task

if TYPE_CHECKING:
    from orster_cli.dataset.jobs import SourceJob
    from orster_cli.inputs.prepare_plan import PreparePlan


class SourcesFailed(ItemsError):
    """The processes of some objects ended in an error: no dataset is made without them. `failed`: their
    results."""

    def __init__(self, failed: list[Result], total: int) -> None:
        super().__init__(
            f"{len(failed)} of {counted(total, 'object')} failed, so no dataset is made",
            hint="run the same command again to try these alone, or take them out of the objects",
        )
        self.failed = failed


@dataclass
class SourceRunner:
    """Processes the jobs of a dataset with `runner`; called by `dataset.prepare.prepare`. `entry`: the
    function that processes one."""

    runner: Runner
    entry: str
    reporter: Reporter
    stop: StopFlag

    def __call__(self, jobs: Iterator[tuple[SourceJob, bool]]) -> Iterator[SourceJob]:
        """Yield each job, in order, when it is processed. SourcesFailed: some were not;
        Preempted: a stop was requested."""
        listed = list(jobs)
        settings = (
            asdict(listed[0][0].cfg) if listed else {}
        )  # one for all tasks: there may be a million
        tasks = [source_task(job, self.entry, settings) for job, wanted in listed if wanted]
        missing = {task.id for task in tasks}
        failed: list[Result] = []
        position = 0
        if tasks:
            progress = Progress("render", len(listed), len(listed) - len(tasks), self.reporter)
            with closing(self.runner.run(tasks, self.stop)) as results:
                for result in results:
                    if result.code == AGAIN and self.stop.requested:
                        continue
                    progress.add(result)
                    if not result.ok:
                        failed.append(result)
                        continue
                    missing.discard(result.id)
                    while not self.stop.requested and position < len(listed):
                        job = listed[position][0]
                        if job.source.key in missing:
                            break
                        position += 1
                        yield job
        if self.stop.requested and missing:
            done = len(listed) - len(missing)
            raise Preempted(
                f"stopped after {done} of {counted(len(listed), 'object')}; their clips are kept",
                hint="run the same command again to go on",
            )
        if failed:
            raise SourcesFailed(failed, len(listed))
        for job, _ in listed[position:]:
            yield job


class Packing:
    """A reporter that leaves out the steps of the stage "render", which `Progress` shows."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self.info: Callable[[str], None] = reporter.info
        self.warn: Callable[[str], None] = reporter.warn

    def step(self, stage: str, done: int, total: int, **figures: float | int | str) -> None:
        """See `Reporter.step`."""
        if stage != "render":
            self._reporter.step(stage, done, total, **figures)


def source_task(job: SourceJob, entry: str, settings: dict[str, Any]) -> Task:
    """A job as a task; its id is the key of the source. `settings`: those of its `cfg`, which it shares."""
    captions = None
    if job.captions is not None:
        captions = [[clip, dict(vars(row))] for clip, row in job.captions.items()]
    source = {
        name: str(value) for name, value in vars(job.source).items()
    }  # as named: messages quote it
    values = {
        "source": source,
        "captions": captions,
        "scratch": str(job.scratch.root.absolute()),
        "prepare": settings,
    }
    return Task(id=job.source.key, entry=entry, arguments=values)


def process_task(values: dict[str, Any]) -> None:
    """In a worker: process the source of a task that is not finished. Errors as `process_source`."""
    from orster_cli.dataset.jobs import Scratch, SourceJob, process_source

    cfg = values["prepare"]
    captions = None
    if values["captions"] is not None:
        captions = {clip: _caption(row) for clip, row in values["captions"]}
    source = values["source"]
    job = SourceJob(
        source=Source(**source | {name: Path(source[name]) for name in ("path", "shown")}),
        captions=captions,
        scratch=Scratch(Path(values["scratch"])),
        cfg=PrepareConfig(**{**cfg, "eval_times": tuple(cfg["eval_times"])}),
    )
    if not job.scratch.is_done(job.source.key):
        process_source(job)


def _caption(row: dict[str, Any]) -> Caption:
    lists = {name: tuple(value) for name, value in row.items() if isinstance(value, (list, tuple))}
    return Caption(**{**row, **lists})


def sample_tasks(sources: list[Source], plan: PreparePlan, scratch: Path, entry: str) -> list[Task]:
    """Tasks that render `sources` into a scratch folder of their own, for an estimate."""
    from orster_cli.dataset.jobs import Scratch, SourceJob

    place = Scratch.create(scratch)
    jobs = []
    for source in sources:
        rows = None
        if plan.captions is not None:
            named = plan.captions.items()
            rows = {clip: row for (name, clip), row in named if name == source.name}
        jobs.append(SourceJob(source=source, captions=rows, scratch=place, cfg=plan.cfg))
    return [source_task(job, entry, asdict(plan.cfg)) for job in jobs]
