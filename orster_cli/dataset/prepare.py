"""`prepare-data`: renders sources into the shards of a dataset; resumable, parallel, constant memory.

Each clip is rendered once, into the scratch folder (`jobs`). Shards hold the accepted samples in the
order of the sources, so that the result is bit-identical for any number of workers, kills and resumes
(`assemble`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from orster_cli.config.prepare import PrepareConfig
from orster_cli.core.errors import InputError, MissingResourceError, Preempted
from orster_cli.core.reporting import Reporter
from orster_cli.core.stopping import StopFlag
from orster_cli.dataset.assemble import ShardWriter, write_dataset
from orster_cli.dataset.captions import Caption
from orster_cli.dataset.jobs import Scratch, SourceJob, process_source
from orster_cli.dataset.pool import for_each
from orster_cli.dataset.sources import Source
from orster_cli.mesh_render.blender import require_bpy

_MAX_LICENCES = 100


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
    workers: int = 1,
    reporter: Reporter,
    stop: StopFlag | None = None,
) -> PrepareResult:
    """Render, curate and pack all clips of `sources` into `out` (shards, index.json, contact
    sheets); `scratch` holds finished clips between runs.

    `captions` by (file name, clip) selects the clips; None selects all. Damaged sources are listed as
    dropped. InputError: no clip is accepted; Preempted: `stop` was requested; MissingResourceError:
    the renderer or device of `cfg` is missing."""
    if cfg.renderer == "blender":
        require_bpy()
    _check_device(cfg.device)
    workspace = Scratch.create(scratch)
    shards = ShardWriter(workspace, cfg.shard_samples)
    kept = dropped = 0
    licences: set[str] = set()
    jobs = _jobs(sources, captions, workspace, cfg)
    reporter.step("render", 0, len(sources))
    for done, job in enumerate(for_each(process_source, jobs, workers), 1):
        summary = workspace.source_summary(job.source.key)
        for warning in summary["warnings"]:
            reporter.warn(f"{job.source.name}: {warning}")
        if summary["licence"] and len(licences) < _MAX_LICENCES:
            licences.add(summary["licence"])
        for record in workspace.records(job.source.key):
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
    if kept == 0:
        raise InputError(
            f"no clip was kept of {len(sources)} objects, {dropped} were dropped: "
            + _reasons(sources, workspace),
            hint="--set prepare.curate=false keeps clips that only curation drops",
        )
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
    for (name, clip), row in (captions or {}).items():
        by_name.setdefault(name, {})[clip] = row
    for source in sources:
        rows = None if captions is None else by_name.get(source.path.name, {})
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


def _reasons(sources: list[Source], workspace: Scratch) -> str:
    """The reasons of the first three dropped clips."""
    found = (f"{r['key']}: {r['reason']}" for s in sources for r in workspace.records(s.key))
    return "; ".join(islice(found, 3))
