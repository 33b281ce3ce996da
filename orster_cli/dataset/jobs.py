"""Processes one source: renders, curates and encodes its clips into the scratch folder.

Three files per clip are written atomically in this order: `KEY.png` (contact strip), `KEY.tar` (encoded
sample), `KEY.json` (record). The record marks the clip as finished; a dropped clip has only a record.
`sources/KEY.json` marks a source as finished and lists its clips.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orster_cli.config.prepare import PrepareConfig
from orster_cli.core.atomic import write_bytes
from orster_cli.core.errors import InputError
from orster_cli.core.names import as_text, counted
from orster_cli.core.types import OrbitClip
from orster_cli.dataset.captions import Caption, caption_fields
from orster_cli.dataset.curation import empty_frame, in_test_set
from orster_cli.dataset.samples import contact_strip, curate, encode_views, is_framing
from orster_cli.dataset.shards import png_bytes
from orster_cli.dataset.sources import DIFFUSION4D, GLTF, Source
from orster_cli.gltf.scene import Scene

NO_ROW = "no row in the captions file"


@dataclass(frozen=True)
class Scratch:
    """The folder of intermediate results, and the path of each file in it."""

    root: Path

    @classmethod
    def create(cls, root: Path) -> Scratch:
        for name in ("clips", "sources", "shards"):
            (root / name).mkdir(parents=True, exist_ok=True)
        return cls(root)

    def clip(self, key: str, suffix: str) -> Path:
        return self.root / "clips" / f"{key}{suffix}"

    def source(self, key: str) -> Path:
        return self.root / "sources" / f"{key}.json"

    def shard(self, number: int) -> tuple[Path, Path]:
        """Paths of a finished shard and of the JSON list of its samples' byte ranges."""
        stem = self.root / "shards" / f"{number:06d}"
        return stem.with_suffix(".tar"), stem.with_suffix(".json")

    def is_done(self, source_key: str) -> bool:
        return self.source(source_key).is_file()

    def source_summary(self, source_key: str) -> dict[str, Any]:
        """{"clips": keys, "warnings": texts, "licence": text} of a finished source."""
        summary: dict[str, Any] = json.loads(self.source(source_key).read_text("utf-8"))
        return summary

    def record(self, key: str) -> dict[str, Any]:
        """The result for a clip; "reason" is None for an accepted clip."""
        record: dict[str, Any] = json.loads(self.clip(key, ".json").read_text("utf-8"))
        return record

    @property
    def log(self) -> Path:
        """All records in order, one in each line: one file in place of millions for what reads them all."""
        return self.root / "records.jsonl"

    def logged(self) -> Iterator[dict[str, Any]]:
        """The records of `log`."""
        with self.log.open("rb") as file:
            yield from map(json.loads, file)

    def records(self, source_key: str) -> Iterator[dict[str, Any]]:
        """The records of all clips of a finished source, in order."""
        for key in self.source_summary(source_key)["clips"]:
            yield self.record(key)


def _write(path: Path, data: bytes) -> None:
    """Write a scratch file. Workers of a killed run may still write the same one: hence `shared`."""
    write_bytes(path, data, shared=True)


def json_bytes(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


@dataclass(frozen=True, kw_only=True)
class SourceJob:
    """A source and the captions of its clips; `captions` is None without a captions file."""

    source: Source
    captions: dict[int, Caption] | None
    scratch: Scratch
    cfg: PrepareConfig


def process_source(job: SourceJob) -> None:
    """Process all clips of a source. An unreadable source counts as one dropped clip."""
    clips: list[str] = []
    warnings: list[str] = []
    licence: list[str] = []
    try:
        if job.cfg.blocklist and in_test_set(job.source.names):
            raise InputError("in the Consistent4D test set")
        if job.source.kind == GLTF:
            _process_gltf(job, clips, warnings, licence)
        else:
            _process_import(job, clips)
            if job.cfg.grid:
                warnings.append("its frames are already rendered: no grid (prepare.grid)")
            if len(job.cfg.azimuths) > 1:
                warnings.append("its frames are already rendered: one orbit (prepare.azimuths)")
    except InputError as error:
        clips = [*clips, job.source.key] if job.source.key not in clips else clips
        _write_dropped(job, job.source.key, {"clip": None, "clip_name": ""}, str(error))
    summary = {"clips": clips, "warnings": warnings, "licence": "".join(licence)}
    _write(job.scratch.source(job.source.key), json_bytes(summary))


def _process_gltf(
    job: SourceJob, clips: list[str], warnings: list[str], licence: list[str]
) -> None:
    from orster_cli.gltf.load import load_gltf

    scene = load_gltf(job.source.path)
    warnings.extend(scene.warnings)
    licence.append(scene.copyright)
    if not scene.clips:
        raise InputError(f"{job.source.name}: no animation")
    beyond = [clip for clip in job.captions or {} if clip >= len(scene.clips)]
    if beyond:
        warnings.append(
            f"rows of the captions file for clip {', '.join(map(str, sorted(beyond)[:8]))}, which it has "
            f"not: {counted(len(scene.clips), 'animation')}"
        )
    for index, animation in enumerate(scene.clips):
        key = f"{job.source.key}-{index:02d}"
        clips.append(key)
        if job.scratch.clip(key, ".json").is_file():
            continue
        metadata = {"clip": index, "clip_name": animation.name}
        caption, reason = _caption(job, index)
        if reason is None and not animation.channels:
            reason = "the animation moves nothing"
        if reason is not None:
            _write_dropped(job, key, metadata, reason)
            continue
        try:
            views, facts = _render(job, scene, index, key, caption.text)
        except InputError as error:
            _write_dropped(job, key, metadata, str(error))
            continue
        metadata["seconds"] = [animation.start, animation.end]
        metadata |= {**facts, **caption_fields(caption)}
        _write_sample(job, key, views, metadata, licence=scene.copyright)


def _process_import(job: SourceJob, clips: list[str]) -> None:
    from orster_cli.dataset.foreign import read_diffusion4d, read_frames

    key = job.source.key
    clips.append(key)
    if job.scratch.clip(key, ".json").is_file():
        return
    caption, reason = _caption(job, 0)
    metadata = {"clip": 0, "clip_name": ""}
    if reason is not None:
        _write_dropped(job, key, metadata, reason)
        return
    if job.source.kind == DIFFUSION4D:
        views, facts = read_diffusion4d(job.source.path)
    else:
        views, facts = read_frames(job.source.path)
    _write_sample(job, key, views, {**metadata, **facts, **caption_fields(caption)})


def _caption(job: SourceJob, clip: int) -> tuple[Caption, str | None]:
    """The caption of a clip, and the reason for not using the clip, or None."""
    if job.captions is None:
        return Caption(text="", use=True), None
    if clip not in job.captions:
        return Caption(text="", use=False), NO_ROW
    row = job.captions[clip]
    return row, None if row.use else "use = 0 in the captions file"


def _render(
    job: SourceJob, scene: Scene, index: int, key: str, caption: str
) -> tuple[dict[str, OrbitClip], dict[str, Any]]:
    """The views of a clip, and the fields `placement`, `framing` and `renderer` of its JSON. There is no
    framing beside an object that is next to nothing at its start."""
    from orster_cli.dataset.views import framing_of, normalize_object, render_normalized

    normalized = normalize_object(scene, index, job.cfg)
    views = render_normalized(normalized, job.cfg, key=key, prompt=caption or None)
    facts = {
        "scale": normalized.normalization.scale,
        "offset": normalized.normalization.offset.tolist(),
        "bound": normalized.normalization.reason,
    }
    framed = {}
    if empty_frame(views["static"]) is None:  # else curation drops the clip
        framing = framing_of(normalized, job.cfg)
        framed = {"framing": framing} if is_framing(framing) else {}
    return views, {"placement": facts, **framed, "renderer": job.cfg.renderer}


def _write_sample(
    job: SourceJob,
    key: str,
    views: dict[str, OrbitClip],
    metadata: dict[str, Any],
    *,
    licence: str = "",
) -> None:
    """Curate rendered views, then write sample and record, or the record of a dropped clip. `licence`: what
    the object states, for the index."""
    verdict = curate(views, job.cfg)
    metadata = {"source": job.source.name, **metadata, **verdict.figures}
    if verdict.reason is not None:
        _write_dropped(job, key, metadata, verdict.reason)
        return
    _write(job.scratch.clip(key, ".png"), png_bytes(contact_strip(views)))
    _write(job.scratch.clip(key, ".tar"), encode_views(key, views, metadata))
    frames = {name: len(view) for name, view in views.items()}
    record = {"key": key, "reason": None, **metadata, "licence": licence, "frames": frames}
    _write(job.scratch.clip(key, ".json"), json_bytes(record))


def _write_dropped(job: SourceJob, key: str, metadata: dict[str, Any], reason: str) -> None:
    """Write the record of a dropped clip. The manifest quotes the reason, which therefore leaves out the
    folder that the source lies in."""
    if reason.startswith(path := str(job.source.path)):
        reason = job.source.name + reason[len(path) :]
    record = {"key": key, "reason": as_text(reason), "source": job.source.name, **metadata}
    _write(job.scratch.clip(key, ".json"), json_bytes(record))
