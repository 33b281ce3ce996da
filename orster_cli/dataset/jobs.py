"""The work on one source: render and judge its clips, leave the results in the scratch folder.

Three files a clip, written whole and in this order: `KEY.png` (contact strip), `KEY.tar` (encoded
sample), `KEY.json` (record). The record is the sign that the clip is done; a dropped clip has only
its record. `sources/KEY.json` ends a source and lists its clips.
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
from orster_cli.core.types import OrbitClip
from orster_cli.dataset.captions import Caption
from orster_cli.dataset.curation import blocked
from orster_cli.dataset.samples import encode, judge, strip
from orster_cli.dataset.shards import png_bytes
from orster_cli.dataset.sources import DIFFUSION4D, GLTF, Source
from orster_cli.gltf.scene import Scene


@dataclass(frozen=True)
class Scratch:
    """The folder of finished work, with a place for each kind of file."""

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
        """A finished shard and the note of where its samples lie."""
        stem = self.root / "shards" / f"{number:06d}"
        return stem.with_suffix(".tar"), stem.with_suffix(".json")

    def is_done(self, source_key: str) -> bool:
        return self.source(source_key).is_file()

    def source_summary(self, source_key: str) -> dict[str, Any]:
        """{"clips": keys, "warnings": texts, "licence": text} of a finished source."""
        summary: dict[str, Any] = json.loads(self.source(source_key).read_text("utf-8"))
        return summary

    def record(self, key: str) -> dict[str, Any]:
        """What became of a clip; its "reason" is None when it is kept."""
        record: dict[str, Any] = json.loads(self.clip(key, ".json").read_text("utf-8"))
        return record

    def records(self, source_key: str) -> Iterator[dict[str, Any]]:
        """The records of all clips of a finished source, in order."""
        for key in self.source_summary(source_key)["clips"]:
            yield self.record(key)


def _write(path: Path, data: bytes) -> None:
    """Replace a file of the scratch folder, where a worker of a killed run may still be writing."""
    write_bytes(path, data, shared=True)


def json_bytes(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


@dataclass(frozen=True, kw_only=True)
class SourceJob:
    """A source with the captions of its clips; `captions` None means that no file was given."""

    source: Source
    captions: dict[int, Caption] | None
    scratch: Scratch
    cfg: PrepareConfig


def process_source(job: SourceJob) -> None:
    """Finish every clip of a source. A source that cannot be read is one dropped clip."""
    clips: list[str] = []
    warnings: list[str] = []
    licence: list[str] = []
    try:
        if job.cfg.blocklist and blocked(job.source.names):
            raise InputError("in the Consistent4D test set")
        if job.source.kind == GLTF:
            _process_gltf(job, clips, warnings, licence)
        else:
            _process_import(job, clips)
    except InputError as error:
        clips = [*clips, job.source.key] if job.source.key not in clips else clips
        _drop(job, job.source.key, {"clip": None, "clip_name": ""}, str(error))
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
    for index, animation in enumerate(scene.clips):
        key = f"{job.source.key}-{index:02d}"
        clips.append(key)
        if job.scratch.clip(key, ".json").is_file():
            continue
        about = {"clip": index, "clip_name": animation.name}
        caption, reason = _caption(job, index)
        if reason is None and not animation.channels:
            reason = "the animation moves nothing"
        if reason is not None:
            _drop(job, key, about, reason)
            continue
        try:
            views, place = _render(job, scene, index, key, caption.text)
        except InputError as error:
            _drop(job, key, about, str(error))
            continue
        about["seconds"] = [animation.start, animation.end]
        _keep(job, key, views, {**about, **place, **_words(caption)})


def _process_import(job: SourceJob, clips: list[str]) -> None:
    from orster_cli.dataset.foreign import read_diffusion4d, read_frames

    key = job.source.key
    clips.append(key)
    if job.scratch.clip(key, ".json").is_file():
        return
    caption, reason = _caption(job, 0)
    about = {"clip": 0, "clip_name": ""}
    if reason is not None:
        _drop(job, key, about, reason)
        return
    if job.source.kind == DIFFUSION4D:
        views, facts = read_diffusion4d(job.source.path)
    else:
        views, facts = read_frames(job.source.path)
    _keep(job, key, views, {**about, **facts, **_words(caption)})


def _caption(job: SourceJob, clip: int) -> tuple[Caption, str | None]:
    """The caption of a clip and the reason not to use it, if there is one."""
    if job.captions is None:
        return Caption(text="", use=True), None
    if clip not in job.captions:
        return Caption(text="", use=False), "no row in the captions file"
    row = job.captions[clip]
    return row, None if row.use else "use = 0 in the captions file"


def _words(caption: Caption) -> dict[str, Any]:
    """As a sample's JSON has them; `also` only where there are other captions."""
    return {"caption": caption.text} | ({"also": list(caption.also)} if caption.also else {})


def _render(
    job: SourceJob, scene: Scene, index: int, key: str, caption: str
) -> tuple[dict[str, OrbitClip], dict[str, Any]]:
    """The views of a clip, and what its JSON says about where the object was put."""
    from orster_cli.dataset.views import place, render_placed

    placed = place(scene, index, job.cfg)
    views = render_placed(placed, job.cfg, key=key, prompt=caption or None)
    facts = {
        "scale": placed.placement.scale,
        "offset": placed.placement.offset.tolist(),
        "bound": placed.placement.reason,
    }
    return views, {"placement": facts, "renderer": job.cfg.renderer}


def _keep(job: SourceJob, key: str, views: dict[str, OrbitClip], about: dict[str, Any]) -> None:
    """Judge rendered views; write sample and record, or the record of the drop."""
    verdict = judge(views, job.cfg)
    about = {"source": job.source.name, **about, **verdict.figures}
    if verdict.reason is not None:
        _drop(job, key, about, verdict.reason)
        return
    _write(job.scratch.clip(key, ".png"), png_bytes(strip(views)))
    _write(job.scratch.clip(key, ".tar"), encode(key, views, about))
    record = {"key": key, "reason": None, **about, "frames": {n: len(v) for n, v in views.items()}}
    _write(job.scratch.clip(key, ".json"), json_bytes(record))


def _drop(job: SourceJob, key: str, about: dict[str, Any], reason: str) -> None:
    record = {"key": key, "reason": reason, "source": job.source.name, **about}
    _write(job.scratch.clip(key, ".json"), json_bytes(record))
