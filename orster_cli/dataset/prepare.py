"""`prepare-data`: sources in, shards out; resumable, parallel, in constant memory.

Each clip is rendered once and its result left in the scratch folder (`clip_jobs`). Shards take the
kept samples in the order of the sources, so that a run that was killed ends in the same bytes as
one that was not, with any number of workers (`assemble`).
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
from orster_cli.dataset.assemble import ShardWriter, finish
from orster_cli.dataset.captions import Caption
from orster_cli.dataset.jobs import Scratch, SourceJob, process_source
from orster_cli.dataset.pool import for_each
from orster_cli.dataset.sources import Source
from orster_cli.mesh_render.blender import require_bpy

_MAX_LICENCES = 100


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What became of the clips; `content` describes the dataset in its manifest, `licences` is what
    the objects say of themselves, at most 100 different texts."""

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
) -> Prepared:
    """Render, curate and pack all clips of `sources` into `out` (shards, index.json, contact
    sheets); `scratch` keeps finished work between runs.

    `captions` by (file name, clip) chooses the clips; None takes all. Damaged sources are listed as
    dropped. Raises InputError when no clip is kept, Preempted when `stop` is requested,
    MissingResourceError without the renderer or device of `cfg`."""
    if cfg.renderer == "blender":
        require_bpy()
    _check_device(cfg.device)
    place = Scratch.create(scratch)
    shards = ShardWriter(place, cfg.shard_samples)
    kept = dropped = 0
    licences: set[str] = set()
    jobs = _jobs(sources, captions, place, cfg)
    reporter.step("render", 0, len(sources))
    for done, job in enumerate(for_each(process_source, jobs, workers), 1):
        summary = place.source_summary(job.source.key)
        for warning in summary["warnings"]:
            reporter.warn(f"{job.source.name}: {warning}")
        if summary["licence"] and len(licences) < _MAX_LICENCES:
            licences.add(summary["licence"])
        for record in place.records(job.source.key):
            if record["reason"] is None:
                kept += 1
                shards.add(record["key"])
            else:
                dropped += 1
        reporter.step("render", done, len(sources), kept=kept, dropped=dropped)
        if stop is not None and stop.requested and done < len(sources):
            raise Preempted(
                f"stopped after {done} of {len(sources)} objects; they are kept",
                hint="run the same command again to go on",
            )
    shards.close()
    if kept == 0:
        raise InputError(
            f"no clip was kept of {len(sources)} objects, {dropped} were dropped: "
            + _reasons(sources, place),
            hint="--set prepare.curate=false keeps clips that only curation drops",
        )
    return Prepared(
        kept=kept,
        dropped=dropped,
        content=finish(sources, place, out, cfg, shards),
        licences=sorted(licences),
    )


def _jobs(
    sources: list[Source],
    captions: dict[tuple[str, int], Caption] | None,
    place: Scratch,
    cfg: PrepareConfig,
) -> Iterator[tuple[SourceJob, bool]]:
    """Each source with its captions, and whether work on it remains."""
    by_name: dict[str, dict[int, Caption]] = {}
    for (name, clip), row in (captions or {}).items():
        by_name.setdefault(name, {})[clip] = row
    for source in sources:
        rows = None if captions is None else by_name.get(source.path.name, {})
        job = SourceJob(source=source, captions=rows, scratch=place, cfg=cfg)
        yield job, not place.is_done(source.key)


def _check_device(name: str) -> None:
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:  # torch raises both where CUDA is missing
        raise MissingResourceError(
            f"prepare.device {name!r}: {str(error).splitlines()[0]}",
            hint="use --set prepare.device=cpu; `orster doctor` tells what is at hand",
        ) from None


def _reasons(sources: list[Source], place: Scratch) -> str:
    """The first few reasons for which clips were dropped."""
    found = (f"{r['key']}: {r['reason']}" for s in sources for r in place.records(s.key))
    return "; ".join(islice(found, 3))
