"""The viewer of an asset as a format of `orster export`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from orster_cli.export.job import ExportJob, Outcome
from orster_cli.viewer.write import write_viewer


def write_html(job: ExportJob, path: Path) -> Outcome:
    """One page that plays the asset in a browser, without a server."""
    times = job.options.times
    if times and (times[0], times[-1]) != (0, 1):
        job.reporter.warn("html: the page plays the whole motion; --times counts for other formats")
        times = None
    report = write_viewer(
        job.asset,
        path,
        title=job.prompt or job.name,
        frames=len(times or ()) or job.frames,
        fps=job.options.fps,
    )
    facts = {name: value for name, value in asdict(report).items() if name != "path"}
    return Outcome(psnr=report.worst_db, facts=facts, note=report.describe())
