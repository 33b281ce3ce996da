"""Measured quality of assets and clips."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import Any

from orster_cli.api.arguments import a_path_or_none, public, several
from orster_cli.api.assets import Asset
from orster_cli.api.calls import MOST_WARNINGS, Messages, Settings, make, resolve_settings
from orster_cli.api.clips import Clip, origin_of
from orster_cli.artifacts.store import Artifact, Draft
from orster_cli.config.load import protocol_template
from orster_cli.core.reporting import Reporter
from orster_cli.core.strict_json import read_object
from orster_cli.core.types import OrbitClip
from orster_cli.inputs.evaluation import (
    check_available,
    measured_values,
    plan_evaluation,
    report_content,
    write_evaluation,
)
from orster_cli.report.file import REPORT
from orster_cli.report.tabular import format_number, subject_rows
from orster_cli.report.write import PAGE

DIGITS = 4
SubjectLike = str | Path | Asset | OrbitClip
"""An asset or a clip, or what `orster evaluate` takes as SUBJECT."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Report:
    """What was measured. `values`: the report as in report.json (docs/evaluate.md), with protocol, networks
    and values per frame; `path`: the report's folder, None where none was written."""

    values: dict[str, Any]
    path: Path | None = None

    @property
    def mean(self) -> dict[str, float]:
        """Each metric's mean over the subjects."""
        return {name: about["mean"] for name, about in self.values["summary"].items()}

    @property
    def subjects(self) -> dict[str, dict[str, float]]:
        """By subject, each metric's mean over its frames."""
        return {one["name"]: one["mean"] for one in self.values["subjects"]}

    @property
    def page(self) -> Path | None:
        """The report as a page for a browser."""
        return None if self.path is None else self.path / PAGE

    def __repr__(self) -> str:
        shown = ", ".join(f"{k} {format_number(v, DIGITS)}" for k, v in self.mean.items())
        return f"Report({len(self.subjects)} subjects: {shown})"

    def _repr_html_(self) -> str:
        rows, header = subject_rows(self.values, DIGITS)
        lines = ["".join(f"<th>{escape(cell)}</th>" for cell in header)]
        lines += ["".join(f"<td>{escape(cell)}</td>" for cell in row) for row in rows]
        return "<table>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"


@public
def evaluate(
    subject: SubjectLike,
    *,
    reference: SubjectLike | None = None,
    metrics: Sequence[str] | str | None = None,
    protocol: str | None = None,
    config: Settings | None = None,
    out: str | Path | None = None,
    force: bool = False,
    device: str = "auto",
    cache: str | Path | None = None,
    reporter: Reporter | None = None,
) -> Report:
    """Measure an asset or a clip, or a folder or dataset of them, as `orster evaluate` does.

    `reference`: what it should look like, one for all or one for each; `metrics`: names such as "psnr" or
    ["psnr", "fvd"], or "all" (by default psnr and ssim); `protocol`: orster (the default), diffusion4d or
    consistent4d; `config`: settings such as {"evaluate.resolution": 128} over the protocol's; `out`: folder
    of the report with its page; without it nothing is written. `cache`: folder of the features of networks,
    None: they are computed anew.

    ConfigError: an unknown metric or a wrong setting; InputError: what cannot be opened or paired;
    MissingResourceError: a metric without its weights; ConflictError: `out` holds something else."""
    messages = Messages(reporter)
    names = [name.strip() for name in metrics.split(",")] if isinstance(metrics, str) else metrics
    resolved = resolve_settings(
        config,
        template=protocol_template(protocol),
        flags={"evaluate.metrics": None if names is None else several("metrics", names)},
    )
    with ExitStack() as held:
        subject_name = _name(subject, held, messages)
        reference_name = None if reference is None else _name(reference, held, messages)
        plan = plan_evaluation(
            subject_name,
            resolved.config.evaluate,
            reference=reference_name,
            device=device,
            cache=a_path_or_none("cache", cache),
            reporter=messages,
        )
        if out is None:
            report = Report(values=measured_values(plan, messages))
        else:

            def build(draft: Draft) -> Artifact:
                values = write_evaluation(plan, draft.dir, messages, scratch=draft.scratch)
                return draft.commit(
                    report_content(values), warnings=messages.warnings[:MOST_WARNINGS]
                )

            folder = make(
                out,
                build,
                kind="report",
                command="evaluate",
                config={"evaluate": resolved.recorded("evaluate"), **plan.identity},
                parents=plan.parents,
                inputs=plan.inputs,
                force=force,
                messages=messages,
                reads=[subject_name, reference_name],
            )
            report = Report(values=read_object(folder.path / REPORT), path=folder.path)
    check_available(report.values["unavailable"], resolved.config.evaluate, messages)
    return report


def _name(subject: SubjectLike, held: ExitStack, messages: Messages) -> str:
    """What names `subject` on the command line; a clip from memory is written to a temporary folder."""
    if isinstance(subject, Asset):
        return str(subject.path)
    if not isinstance(subject, OrbitClip):
        return str(subject)
    if isinstance(subject, Clip) and subject.assumes_orbit:
        subject = replace(subject)  # its file has no cameras: it is written with them
    origin = origin_of(subject, messages)
    held.enter_context(nullcontext(origin))  # its temporary folder lives as long as it does
    return origin.place
