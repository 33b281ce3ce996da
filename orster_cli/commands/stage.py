"""What the commands that make an artifact share.

A command is an adapter: parse, resolve, open inputs, call one library function, commit. So:

    def construct(clip: str, out: OutOption, ..., stage flags):
        stage = Stage.open("construct", kind="asset", reads=[clip], out=out, ...)
        source = open_inputs(clip)                          # hashed, checked
        plan = stage.plan(parents=source.parents, inputs=source.files)
        if plan is None:                                    # up to date, or a dry run
            return
        with plan as draft:
            content = fit(..., stage.config.construct, folder=draft.dir, reporter=stage.out)
            artifact = draft.commit(content)
        stage.done(artifact, next_step=f"orster evaluate {out} --reference {clip} -o report/")
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from orster_cli.artifacts.manifest import InputFile, Kind, Parent
from orster_cli.artifacts.outputs import InputPath, check_collection, check_output
from orster_cli.artifacts.store import Artifact, Draft, begin
from orster_cli.config.load import DEFAULT, Resolved, find_template, resolve, to_toml
from orster_cli.core.errors import ConflictError
from orster_cli.core.stopping import StopFlag
from orster_cli.ui.errors import TERMINATED
from orster_cli.ui.out import Human, Out, Table

Preview = Callable[[], tuple[dict[str, Any], str]]  # what a dry run adds, as values and as text


@dataclass(frozen=True)
class Planned:
    """What a dry run says of one artifact: `values` as JSON; `lines`, what would be written from what; and
    the `settings`, as TOML."""

    values: dict[str, Any]
    lines: str
    settings: str

    def say(self, out: Out, values: dict[str, Any], text: str) -> None:
        """Print it, with what else there is to say."""
        parts = (self.lines, self.settings, text)
        out.result({**self.values, **values}, "\n\n".join(filter(None, parts)))


@dataclass
class Stage:
    """One run of one stage command, which writes an artifact of `kind` and reads the paths `reads`."""

    section: str
    command: str
    kind: Kind
    reads: list[InputPath]
    out_path: Path
    resolved: Resolved
    out: Out
    force: bool
    dry_run: bool
    update: bool = False
    stop: StopFlag = field(default_factory=StopFlag)

    @classmethod
    def open(
        cls,
        section: str,
        *,
        command: str,
        kind: Kind,
        reads: Iterable[InputPath],
        out: Path,
        flags: Mapping[str, Any],
        config: Path | None,
        template: str | None,
        assignments: list[str] | None,
        force: bool,
        dry_run: bool,
        as_json: bool,
        quiet: bool,
        model: Path | None = None,
        several: bool = False,
        update: bool = False,
        stop: StopFlag | None = None,
    ) -> Stage:
        """Resolve the config, open the output sink and handle signals.

        `several`: `out` is a folder of artifacts, which are planned and checked one by one; `update`: an
        artifact of other inputs or settings is replaced; `stop`: that of an earlier stage of the command,
        which handles the signals for both.
        ConflictError: `out` must not be written (`check_output`)."""
        resolved = resolve(
            template=template,
            file=config,
            environ=os.environ,
            assignments=assignments,
            flags=flags,
            model=model,
        )
        sink = Out(as_json=as_json, quiet=quiet)
        sink.status("loading ...")
        read = [*reads, config, None if template is None else find_template(template)]
        if several:
            check_collection(out, "several artifacts")
        else:
            check_output(out, kind=kind, reads=read)
        stage = cls(section, command, kind, read, out, resolved, sink, force, dry_run, update)
        if stop is None:
            listen(stage.stop, sink)
        else:  # handlers of a second flag would leave the first stage, and those after this one, unasked
            stage.stop = stop
        return stage

    def plan(
        self,
        *,
        parents: list[Parent] | None = None,
        inputs: list[InputFile] | None = None,
        seeds: dict[str, int] | None = None,
        extra: dict[str, Any] | None = None,
        announce: bool = True,
        preview: Preview | None = None,
        plans: list[Planned] | None = None,
    ) -> Draft | None:
        """The draft to build in; None when there is nothing to do, which is reported here.

        `extra`: what the result depends on in addition to the section's settings; `announce`: report
        that it is up to date; `preview`: what a dry run prints in addition, as values and as text;
        `plans`: where a dry run of several artifacts puts what it would print."""
        config = {self.section: self.resolved.recorded(self.section), **(extra or {})}
        start = partial(
            begin,
            self.out_path,
            kind=self.kind,
            command=self.command,
            config=config,
            parents=parents,
            inputs=inputs,
            seeds=seeds,
            reporter=self.out,
            reads=self.reads,
        )
        try:
            draft = start(force=self.force)
        except ConflictError:
            if not self.update:
                raise
            draft = start(force=True)  # raises again where nothing may be replaced
            self.out.info(f"{self.out_path}: its inputs or settings changed; it is made again")
        if draft is None:
            if not announce:
                return None
            values = {"status": "up to date", "path": str(self.out_path)}
            self.out.report(values, f"{self.out_path}: up to date")
            return None
        if self.dry_run:
            planned = self._planned(draft, parents or [], inputs or [])
            if plans is None:
                planned.say(self.out, *(preview() if preview is not None else ({}, "")))
            else:
                plans.append(planned)
            return None
        return draft

    def _planned(self, draft: Draft, parents: list[Parent], inputs: list[InputFile]) -> Planned:
        lines = [f"would write {self.kind} {self.out_path} (request {draft.request[:12]})"]
        lines += [f"  from {p.kind} {p.name} {p.id[:12]}" for p in parents]
        lines += [f"  from {i.name} {i.sha256[:12]} ({i.size:,} bytes)" for i in inputs]
        values = {
            "status": "dry run",
            "kind": self.kind,
            "path": str(self.out_path),
            "request": draft.request,
            "config": self.resolved.section(self.section),
            "parents": [p.model_dump() for p in parents],
            "inputs": [i.model_dump() for i in inputs],
        }
        return Planned(values, "\n".join(lines), self.settings())

    def settings(self) -> str:
        """The section's settings that are no defaults, as TOML, and how many are."""
        chosen = to_toml(self.resolved, [self.section], defaults=False).rstrip()
        keys = self.resolved.section(self.section)
        count = sum(self.resolved.origins[f"{self.section}.{key}"] == DEFAULT for key in keys)
        rest = f"# {count} more have their defaults: orster config show --section {self.section}"
        return f"{chosen}\n{rest}"

    def done(
        self,
        artifact: Artifact,
        *,
        summary: str = "",
        figures: Human = (),
        next_step: str | None = None,
        values: dict[str, Any] | None = None,
    ) -> None:
        """Report what was made, and what to do with it; with --quiet the `figures` alone."""
        shown = [figures] if isinstance(figures, (str, Table)) else list(figures)
        if not self.out.quiet:
            made = f"{artifact.kind} {artifact.id[:12]} in {artifact.path}"
            shown += [summary, made]
            shown += [f"next: {next_step}"] if next_step and not self.update else []
        about = {"status": "made", "kind": artifact.kind, "id": artifact.id}
        self.out.result({**about, "path": str(artifact.path), **(values or {})}, shown)


@contextlib.contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """SIGTERM is an exception inside, so that drafts are removed on the way out; exit code 143."""

    def end(number: int, frame: FrameType | None) -> None:
        del number, frame
        raise SystemExit(TERMINATED)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def listen(stop: StopFlag, out: Out) -> None:
    """SIGTERM, SIGUSR1 and SIGINT request a stop at the next safe point; a second one ends at once."""

    def handle(number: int, frame: FrameType | None) -> None:
        del frame
        if stop.requested:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        stop.request()
        with contextlib.suppress(RuntimeError):  # the signal came while we were writing a line
            out.info("stopping at the next safe point (again to stop at once)")

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, handle)
