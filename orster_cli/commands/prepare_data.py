"""`orster prepare-data`: animated objects to a dataset of orbital clips."""

from __future__ import annotations

import shlex
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orster_cli.core.names import counted
from orster_cli.ui.options import SETTINGS, TemplateRun, command
from orster_cli.ui.out import Out

if TYPE_CHECKING:
    from orster_cli.commands.stage import Stage
    from orster_cli.dataset.prepare import RunJobs


CLIPS = "clips.csv"


@dataclass(frozen=True, kw_only=True)
class RenderOptions:
    """Options that are settings of [prepare]."""

    frames: Annotated[
        int | None, typer.Option(help="Frames per orbit.", rich_help_panel=SETTINGS)
    ] = None
    resolution: Annotated[
        int | None, typer.Option(help="Pixels, square.", rich_help_panel=SETTINGS)
    ] = None
    elevation: Annotated[
        float | None, typer.Option(help="Degrees above the horizon.", rich_help_panel=SETTINGS)
    ] = None
    azimuth_jitter: Annotated[
        bool | None,
        typer.Option(
            "--azimuth-jitter",
            help="Start each orbit at a random azimuth.",
            rich_help_panel=SETTINGS,
        ),
    ] = None
    azimuths: Annotated[
        str | None,
        typer.Option(
            help="Azimuths at which orbits of one motion begin, as 0,90,180,270; the first: 0.",
            rich_help_panel=SETTINGS,
        ),
    ] = None
    eval_views: Annotated[
        int | None,
        typer.Option(help="Evaluation views at each evaluation time.", rich_help_panel=SETTINGS),
    ] = None
    renderer: Annotated[
        str | None, typer.Option(help="builtin or blender.", rich_help_panel=SETTINGS)
    ] = None


@command
def prepare_data(
    *,
    objects: Annotated[
        list[Path],
        typer.Argument(help=".glb or .gltf files, folders of them, or folders of rendered frames."),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Folder of the dataset; with --write-captions, the CSV file."
        ),
    ] = None,
    captions: Annotated[
        Path | None, typer.Option(help="CSV with file, clip, and optionally use and caption.")
    ] = None,
    write_captions: Annotated[
        bool,
        typer.Option(
            "--write-captions", help="Write a CSV to edit, from file and clip names, and stop."
        ),
    ] = False,
    shard: Annotated[
        str | None, typer.Option(help="i/n: the i-th of n parts of the objects, for job arrays.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, max=256, help="Processes that render.")] = 1,
    merge: Annotated[
        bool,
        typer.Option("--merge", help="Merge the datasets given as OBJECTS, without rendering."),
    ] = False,
    render: RenderOptions,
    run: TemplateRun,
) -> None:
    """Render animated 3D objects into a dataset of orbital clips.

    A clip is a dynamic orbit, a static orbit and a front view. --write-captions makes a clips.csv to edit.
    Examples: orster prepare-data objects/ --write-captions ;
    orster prepare-data objects/ -o dataset/ --captions objects/clips.csv"""
    from orster_cli.commands.stage import Stage
    from orster_cli.core.errors import ConfigError

    if write_captions:
        if captions is not None or merge or shard is not None:
            raise ConfigError("--write-captions: not with --captions, --merge or --shard")
        sink = Out(as_json=run.as_json, quiet=run.quiet)
        _write_captions(objects, out, sink, force=run.force, dry_run=run.dry_run)
        return
    if out is None:
        raise ConfigError("no output is given", hint="-o dataset/")
    if merge:
        others = {
            "--captions": captions,
            "--shard": shard,
            "--workers": workers if workers > 1 else None,
        }
        others |= {f"--{name.replace('_', '-')}": v for name, v in asdict(render).items()}
        others["--set"] = run.assignments or None
        if given := [name for name, value in others.items() if value is not None]:
            raise ConfigError(f"{', '.join(given)}: not with --merge, which renders nothing")
    stage = Stage.open(
        "prepare",
        command="prepare-data",
        kind="dataset",
        reads=[*objects, captions],
        out=out,
        flags={f"prepare.{name}": value for name, value in asdict(render).items()},
        **run.for_stage(),
    )
    if merge:
        _merge(stage, objects)
    else:
        render_dataset(stage, objects, captions, shard, workers)


def render_dataset(
    stage: Stage,
    objects: list[Path],
    captions: Path | None,
    shard: str | None,
    workers: int,
    run_jobs: RunJobs | None = None,
) -> None:
    """Plan, render and commit; `run_jobs` as for `dataset.prepare.prepare`."""
    from orster_cli.core.errors import InputError
    from orster_cli.dataset.sources import parse_part
    from orster_cli.fanout.sources import Packing
    from orster_cli.inputs.prepare_plan import plan_prepare

    if captions is not None and not captions.exists():
        raise InputError(
            f"{captions}: no such captions file",
            hint=f"orster prepare-data {shlex.join(map(str, objects))} --write-captions writes one",
        )
    plan = plan_prepare(
        objects,
        stage.resolved.config.prepare,
        captions=captions,
        part=parse_part(shard) if shard else (1, 1),
        reporter=stage.out,
    )
    draft = stage.plan(inputs=plan.inputs, seeds=plan.seeds, extra=plan.identity)
    if draft is None:
        return
    with draft:
        if draft.resumed:
            stage.out.info("going on from an earlier run")
        reporter = stage.out if run_jobs is None else Packing(stage.out)
        done = plan.run(
            draft.dir,
            draft.scratch,
            workers=workers,
            reporter=reporter,
            stop=stage.stop,
            run_jobs=run_jobs,
        )
        warnings = stage.out.warnings[:100]
        artifact = draft.commit(done.content, licences=done.licences, warnings=warnings)
    from orster_cli.dataset.drops import count_causes, read_dropped
    from orster_cli.dataset.reader import Dataset

    causes = count_causes(one["reason"] for one in read_dropped(artifact.path, artifact.content))
    silent = sum(not texts for texts in Dataset.read(artifact.path).texts().values())
    stage.done(
        artifact,
        summary=f"{counted(done.kept, 'clip')} of {counted(len(plan.sources), 'object')} kept"
        f", {done.dropped} dropped"
        + (f": {causes} (orster show: each)" if done.dropped else "")
        + (f"; {silent} without a caption (to write some: --write-captions)" if silent else ""),
        next_step=f"look at {stage.out_path / 'contact_sheet.png'}"
        if done.kept
        else "orster prepare-data --merge joins it with the other parts",
        values={"samples": done.kept, "dropped": done.dropped, "without_caption": silent},
    )


def _write_captions(
    objects: list[Path], out: Path | None, sink: Out, *, force: bool, dry_run: bool
) -> None:
    """A captions file for `objects`, into the folder that they lie in or to `out`."""
    from orster_cli.artifacts.folders import make_folder
    from orster_cli.artifacts.outputs import check_collection
    from orster_cli.core.errors import ConfigError, ConflictError
    from orster_cli.dataset.caption_skeleton import csv_text, skeleton, write_text
    from orster_cli.dataset.sources import find_sources, folder_kind

    if out is None:
        folders = {p if p.is_dir() and not folder_kind(p) else p.parent for p in objects}
        if len(folders) > 1:
            raise ConfigError("objects of several folders: where to?", hint="-o clips.csv")
        out = folders.pop()
    path = out / CLIPS if out.is_dir() else out
    if path.suffix.lower() != ".csv" or path.is_dir():
        raise ConfigError(f"{path}: expected the name of a CSV file", hint=f"-o {CLIPS}")
    check_collection(path.parent, "a captions file")
    if path.exists() and not force:
        raise ConflictError(
            f"{path}: expected no file there, found one, which may have been edited",
            hint=f"edit it, give another -o, or write {path} anew with --force",
        )
    sources = find_sources(objects)
    rows = skeleton(sources, sink)
    if not dry_run:
        make_folder(path.parent)
        write_text(path, csv_text(rows))
    named = shlex.join(str(p) for p in objects)
    said = [
        f"{'would write' if dry_run else 'wrote'} {path}: {counted(len(rows), 'row')} for "
        f"{counted(len({row.file for row in rows}), 'object')}, captions from file and clip names",
        *(f"  {row.file} {row.clip}: {row.caption}" for row in rows[:3]),
        f"next: edit its captions, then orster prepare-data {named} "
        f"--captions {shlex.quote(str(path))} -o dataset/",
    ]
    values = {"status": "dry run" if dry_run else "made", "path": str(path), "rows": len(rows)}
    sink.result({**values, "objects": len(sources)}, "\n".join(said))


def _merge(stage: Stage, parts: list[Path]) -> None:
    from orster_cli.artifacts.store import open_artifact
    from orster_cli.dataset.drops import read_dropped
    from orster_cli.dataset.merge import Part, merge
    from orster_cli.dataset.reader import Dataset

    opened = [open_artifact(path, kind="dataset") for path in parts]
    made_with = opened[0].manifest.config.get(stage.section)  # all parts alike, or they are refused
    settings = {stage.section: made_with} if made_with else {}
    draft = stage.plan(parents=[a.parent() for a in opened], extra={**settings, "merge": True})
    if draft is None:
        return
    with draft:
        joined = [
            Part(name=str(a.path), dataset=Dataset.read(a.path), content=a.content) for a in opened
        ]
        content = merge(joined, draft.dir, reporter=stage.out)
        artifact = draft.commit(content)
    dropped = sum(1 for _ in read_dropped(artifact.path, content))
    stage.done(
        artifact,
        summary=f"{counted(content['samples'], 'clip')} of {counted(len(opened), 'dataset')}",
        next_step=f"look at {stage.out_path / 'contact_sheet.png'}",
        values={"samples": content["samples"], "dropped": dropped},
    )
