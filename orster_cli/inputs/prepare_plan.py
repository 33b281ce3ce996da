"""A dataset to render, from the paths of its objects: finds and hashes them, reads the captions."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orster_cli.artifacts.hashing import in_threads
from orster_cli.config.prepare import PrepareConfig, check_grid, further_orbits
from orster_cli.core.errors import InputError
from orster_cli.core.names import as_text, counted, did_you_mean, printable
from orster_cli.core.reporting import Reporter
from orster_cli.core.stopping import StopFlag
from orster_cli.gltf.container import files_of
from orster_cli.inputs.files import files_below, input_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orster_cli.artifacts.manifest import InputFile
    from orster_cli.dataset.caption_rows import Matched
    from orster_cli.dataset.captions import Caption
    from orster_cli.dataset.prepare import PrepareResult, RunJobs
    from orster_cli.dataset.sources import Source


INPUTS = (
    "inputs.jsonl"  # in a dataset of very many objects: its files, one JSON object in each line
)
MOST_INPUTS = 10_000  # in the manifest, which is read whole, and often


@dataclass(frozen=True, kw_only=True)
class PreparePlan:
    """Everything that a dataset depends on, found but not rendered. `part`: (i, n), the i-th of n parts of
    the objects. `listed`: the content of `INPUTS`, which then is one of the `inputs`."""

    cfg: PrepareConfig
    sources: list[Source]
    captions: dict[tuple[str, int], Caption] | None
    inputs: list[InputFile]
    part: tuple[int, int]
    listed: bytes | None = None

    @property
    def seeds(self) -> dict[str, int]:
        return {"azimuth": self.cfg.seed}

    @property
    def identity(self) -> dict[str, Any]:
        """What the dataset depends on besides settings and inputs, for its manifest."""
        return {"part": f"{self.part[0]}/{self.part[1]}"}

    def run(
        self,
        folder: Path,
        scratch: Path,
        *,
        workers: int,
        reporter: Reporter,
        stop: StopFlag | None = None,
        run_jobs: RunJobs | None = None,
    ) -> PrepareResult:
        """Render into `folder`; `run_jobs` and errors as `dataset.prepare.prepare`."""
        from orster_cli.dataset.prepare import prepare

        if self.listed is not None:
            (folder / INPUTS).write_bytes(self.listed)
        return prepare(
            self.sources,
            self.captions,
            folder,
            scratch,
            self.cfg,
            part=self.part,
            workers=workers,
            reporter=reporter,
            stop=stop,
            run_jobs=run_jobs,
        )


def plan_prepare(
    objects: Sequence[Path],
    cfg: PrepareConfig,
    *,
    captions: Path | None = None,
    part: tuple[int, int] = (1, 1),
    reporter: Reporter,
) -> PreparePlan:
    """The objects in files and folders, hashed. InputError: no objects, or a malformed captions file;
    ConfigError: a grid that is too large."""
    from orster_cli.dataset.caption_rows import match_rows
    from orster_cli.dataset.captions import read_captions
    from orster_cli.dataset.sources import find_sources, take_part

    check_grid(cfg)
    further_orbits(cfg)
    found = find_sources(list(objects))
    sources = take_part(found, part)
    rows = None
    if captions is not None:
        matched = match_rows(read_captions(captions, reporter), found, str(captions))
        _check_files(captions, matched, found, reporter)
        names = {source.name for source in sources}
        rows = {key: row for key, row in matched.rows.items() if key[0] in names}
    inputs, listed = listed_inputs(_hashed(sources, reporter))
    inputs += [input_file(captions)] if captions else []
    return PreparePlan(
        cfg=cfg, sources=sources, captions=rows, inputs=inputs, part=part, listed=listed
    )


def listed_inputs(files: list[InputFile]) -> tuple[list[InputFile], bytes | None]:
    """The inputs of a dataset of `files`, and the content of `INPUTS`: of more than `MOST_INPUTS` the
    manifest has that file alone, with its hash, and the file has them all."""
    from orster_cli.artifacts.manifest import InputFile

    if len(files) <= MOST_INPUTS:
        return files, None
    data = b"".join(file.model_dump_json().encode() + b"\n" for file in files)
    digest = hashlib.sha256(data).hexdigest()
    return [InputFile(name=INPUTS, size=len(data), sha256=digest)], data


def _check_files(path: Path, matched: Matched, sources: list[Source], reporter: Reporter) -> None:
    """InputError: no row names a file of the objects; warns of rows that name none of them."""
    strangers = sorted(matched.strangers)
    if not strangers:
        return
    there = sorted({source.shown.name for source in sources} | {source.name for source in sources})
    named = [f"{printable(n)}{_alike(n, there)}" for n in strangers[:5]]
    first = ", ".join(named) + (", ..." if len(strangers) > 5 else "")
    if not matched.rows:
        raise InputError(
            f"{path}: its rows name {first}, not among the objects: "
            f"{printable(', '.join(there[:3]))}{', ...' if len(there) > 3 else ''}",
            hint="the column `file` has the object's file name or path, as `orster prepare-data "
            "--write-captions` writes it",
            code="E-CAPTIONS",
        )
    reporter.warn(
        f"{path}: rows of {counted(len(strangers), 'file')} that are not among the objects: {first}"
    )


def _alike(name: str, there: list[str]) -> str:
    """``" (did you mean 'box.glb'?)"`` or nothing."""
    same = [other for other in there if other.lower() == name.lower()]
    return f" (did you mean {same[0]!r}?)" if same else did_you_mean(name, there)


def _hashed(sources: list[Source], reporter: Reporter) -> list[InputFile]:
    """Every file of every source, under its name relative to what the user named."""
    named: dict[Path, str] = {}
    for source in sources:
        for path, name in _files(source):
            named.setdefault(path, name)  # several objects may share a picture
    found = []
    for file, name in zip(in_threads(input_file, named), named.values(), strict=True):
        found.append(file.model_copy(update={"name": name}))
        reporter.step("hash inputs", len(found), len(named))
    return found


def _files(source: Source) -> Iterator[tuple[Path, str]]:
    """The files of a source, each with its name."""
    root = source.path if source.path.is_dir() else source.path.parent
    files = files_of(source.path)
    if source.path.is_dir():
        files = files_below(source.path)
    above = source.name if root == source.path else source.name.rpartition("/")[0]
    for path in files:
        inner = as_text(path.relative_to(root).as_posix())
        yield path, source.name if path == source.path else f"{above}/{inner}".lstrip("/")
