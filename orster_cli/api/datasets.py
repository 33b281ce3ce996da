"""Datasets of orbital clips: rendered from animated objects, opened, read by key."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from orster_cli.api.arguments import a_path, a_path_or_none, a_text, an_integer, public, several
from orster_cli.api.calls import MOST_WARNINGS, Messages, Settings, make, resolve_settings
from orster_cli.api.clips import Clip, Origin, known_clip
from orster_cli.artifacts.store import Artifact, Draft, open_artifact
from orster_cli.core.errors import ConfigError
from orster_cli.core.reporting import Reporter
from orster_cli.dataset.reader import Dataset as Reader
from orster_cli.inputs.clips import opened_sample
from orster_cli.inputs.prepare_plan import plan_prepare
from orster_cli.inputs.video import OrbitFlags


class Dataset(Reader):
    """A dataset, read by key without unpacking its shards: `keys()`, `info(key)`, `texts()` (captions by
    key), `len(dataset)`, and `clip(key)`. `path`: its folder; `id`: SHA-256 of its manifest."""

    def __init__(self, artifact: Artifact) -> None:
        super().__init__(artifact.path, Reader.read(artifact.path)._samples)
        self._artifact = artifact

    @property
    def path(self) -> Path:
        return self._artifact.path

    @property
    def id(self) -> str:
        return self._artifact.id

    @public
    def info(self, key: str) -> dict[str, Any]:
        """What the index says of a sample: caption, also (other captions), source, licence, motion, number
        of frames by view. InputError: no such key."""
        return super().info(a_text("key", key))

    @public
    def clip(self, key: str, view: str = "dynamic") -> Clip:
        """One view of a sample: dynamic, static, front, eval or grid; dynamic, eval and grid bring the
        static orbit.
        InputError: no such key or view, or a damaged sample."""
        key, view = a_text("key", key), a_text("view", view)
        opened = opened_sample(Reader(self.root, self._samples), self._artifact, key, view)
        return known_clip(Origin(opened, f"{self.path}#{key}:{view}", OrbitFlags()))

    def __repr__(self) -> str:
        return f"Dataset({str(self.path)!r}, {len(self)} clips)"


@public
def open_dataset(path: str | Path) -> Dataset:
    """The dataset in the folder `path`. InputError: none there, or a damaged one."""
    return Dataset(open_artifact(a_path("path", path), kind="dataset"))


@public
def prepare(
    objects: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    captions: str | Path | None = None,
    template: str | None = None,
    config: Settings | None = None,
    workers: int = 1,
    force: bool = False,
    reporter: Reporter | None = None,
) -> Dataset:
    """Render animated 3D objects into a dataset of orbital clips, as `orster prepare-data` does.

    `objects`: .glb and .gltf files, folders of them, or folders of rendered frames; `out`: folder of the
    dataset; `captions`: a CSV file with the columns file, clip and caption (docs/dataset.md);
    `template`: mini, small or paper; `config`: settings such as {"prepare.resolution": 128} over it;
    `workers`: processes that render (a script that asks for several starts them below
    ``if __name__ == "__main__":``). An interrupted call goes on when it is made again.

    InputError: no objects, or no clip that is kept; ConfigError: a wrong setting; ConflictError: `out`
    holds something else; `force` replaces a dataset there."""
    messages = Messages(reporter)
    given = [objects] if isinstance(objects, str | Path) else several("objects", objects)
    paths = [a_path("objects", path) for path in given]
    if not paths:
        raise ConfigError("no objects")
    an_integer("workers", workers, 1, 256)
    name = None if template is None else str(a_path("template", template))
    resolved = resolve_settings(config, template=name)
    plan = plan_prepare(
        paths,
        resolved.config.prepare,
        captions=a_path_or_none("captions", captions),
        reporter=messages,
    )

    def build(draft: Draft) -> Artifact:
        done = plan.run(draft.dir, draft.scratch, workers=workers, reporter=messages)
        warnings = messages.warnings[:MOST_WARNINGS]
        return draft.commit(done.content, licences=done.licences, warnings=warnings)

    folder = make(
        out,
        build,
        kind="dataset",
        command="prepare-data",
        config={"prepare": resolved.recorded("prepare"), **plan.identity},
        parents=[],
        inputs=plan.inputs,
        seeds=plan.seeds,
        force=force,
        messages=messages,
        reads=[*paths, captions],
    )
    return Dataset(folder.artifact)
