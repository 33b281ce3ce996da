"""`prepare-data`: renders sources into the shards of a dataset; resumable, parallel, constant memory.

Each clip is rendered once, into the scratch folder (`jobs`). Shards hold the accepted samples in the
order of the sources, so that the result is bit-identical for any number of workers, kills and resumes
(`assemble`).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from orster_cli.config.prepare import PrepareConfig
from orster_cli.core.errors import InputError, MissingResourceError, Preempted
from orster_cli.core.names import counted
from orster_cli.core.reporting import Reporter
from orster_cli.core.stopping import StopFlag
from orster_cli.dataset.assemble import ShardWriter, write_dataset
from orster_cli.dataset.caption_rows import match_rows
from orster_cli.dataset.captions import Caption
from orster_cli.dataset.drops import CURATED, cause, count_causes
from orster_cli.dataset.jobs import NO_ROW, Scratch, SourceJob, json_bytes, process_source
from orster_cli.dataset.pool import for_each
from orster_cli.dataset.sources import Source
from orster_cli.mesh_render.blender import require_bpy

# yields each job in order, when it is processed; those whose flag is not set are finished already
RunJobs = Callable[[Iterator[tuple[SourceJob, bool]]], Iterator[SourceJob]]
_MAX_LICENCES = 100
_MAX_REASONS = 1000


@dataclass(frozen=True, kw_only=True)
class PrepareResult:
    """Numbers of accepted and dropped clips, the manifest's `content`, and up to 100 different
    `licences` stated by the objects."""

    kept: int
    dropped: int
    content: dict[str, Any]
    licences: list[str]


def prepare(
    sources: list[Source],
    captions: dict[tuple[str, int], Caption] | None,
    out: Path,
    scratch: Path,
    cfg: PrepareConfig,
    *,
    part: tuple[int, int] = (1, 1),
    workers: int = 1,
    reporter: Reporter,
    stop: StopFlag | None = None,
    run_jobs: RunJobs | None = None,
) -> PrepareResult:
    """Render, curate and pack all clips of `sources` into `out` (shards, index.json, contact
    sheets); `scratch` holds finished clips between runs.

    `captions` by (file name or path, clip) selects the clips; None selects all. `run_jobs` calls
    `process_source` on the jobs in `workers` processes; None: in processes of this machine. Damaged sources
    are listed as dropped. InputError: no clip is accepted, of which one of several parts (`part`: (i, n))
    only warns; Preempted: `stop` was requested; MissingResourceError: the renderer or device of `cfg` is
    missing."""
    if cfg.renderer == "blender":
        require_bpy()
    _check_device(cfg.device)
    workspace = Scratch.create(scratch)
    shards = ShardWriter(workspace, cfg.shard_samples)
    kept = dropped = 0
    licences: set[str] = set()
    jobs = _jobs(sources, captions, workspace, cfg)
    reporter.step("render", 0, len(sources))
    each = run_jobs(jobs) if run_jobs is not None else for_each(process_source, jobs, workers)
    with workspace.log.open("wb") as log:
        for done, job in enumerate(each, 1):
            summary = workspace.source_summary(job.source.key)
            for warning in summary["warnings"]:
                reporter.warn(f"{job.source.name}: {warning}")
            if summary["licence"] and len(licences) < _MAX_LICENCES:
                licences.add(summary["licence"])
            for record in map(workspace.record, summary["clips"]):
                log.write(json_bytes(record) + b"\n")
                if record["reason"] is None:
                    kept += 1
                    shards.add(record["key"])
                else:
                    dropped += 1
            reporter.step("render", done, len(sources), kept=kept, dropped=dropped)
            if stop is not None and stop.requested and done < len(sources):
                raise Preempted(
                    f"stopped after {done} of {len(sources)} objects; their clips are kept",
                    hint="run the same command again to go on",
                )
    shards.close()
    if kept == 0 and part != (1, 1):
        nothing = _nothing_kept(sources, workspace, dropped)
        reporter.warn(f"part {part[0]}/{part[1]} is empty: {nothing}")
    elif kept == 0:
        error = _nothing_kept(sources, workspace, dropped)
        shutil.rmtree(scratch, ignore_errors=True)  # no other run could go on from it
        raise error
    return PrepareResult(
        kept=kept,
        dropped=dropped,
        content=write_dataset(sources, workspace, out, cfg, shards),
        licences=sorted(licences),
    )


def _jobs(
    sources: list[Source],
    captions: dict[tuple[str, int], Caption] | None,
    workspace: Scratch,
    cfg: PrepareConfig,
) -> Iterator[tuple[SourceJob, bool]]:
    """Yields each source with its captions, and whether it is still to be processed."""
    by_name: dict[str, dict[int, Caption]] = {}
    for (name, clip), row in match_rows(captions or {}, sources).rows.items():
        by_name.setdefault(name, {})[clip] = row
    for source in sources:
        rows = None if captions is None else by_name.get(source.name, {})
        job = SourceJob(source=source, captions=rows, scratch=workspace, cfg=cfg)
        yield job, not workspace.is_done(source.key)


def _check_device(name: str) -> None:
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:  # torch raises both where CUDA is missing
        raise MissingResourceError(
            f"prepare.device {name!r}: {str(error).splitlines()[0]}",
            hint="use --set prepare.device=cpu; `orster doctor` lists the devices",
        ) from None


def _nothing_kept(sources: list[Source], workspace: Scratch, dropped: int) -> InputError:
    """The error of a run without a clip: the first reasons, and what would keep one, if anything would."""
    records = list(islice((r for s in sources for r in workspace.records(s.key)), _MAX_REASONS))
    hint = None
    if any(cause(record["reason"]) in CURATED for record in records):
        hint = "--set prepare.curate=false keeps clips that only curation drops"
    elif any(record["reason"] == NO_ROW for record in records):
        hint = "orster prepare-data OBJECTS --write-captions writes a row for each clip, to edit"
    shown = "; ".join(f"{record['key']}: {record['reason']}" for record in records[:3])
    causes = count_causes(record["reason"] for record in records)
    more = f" (all: {causes})" if len(records) > 3 else ""
    why = f": {shown}{more}" if records else ""
    return InputError(
        f"no clip was kept of {counted(len(sources), 'object')}, {dropped} dropped{why}",
        hint=hint,
    )
