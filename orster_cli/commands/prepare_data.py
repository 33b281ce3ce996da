"""`orster prepare-data`: animated objects to a dataset of orbital clips."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orster_cli.ui.options import (
    ConfigOption,
    DryRunOption,
    ForceOption,
    JsonOption,
    OutOption,
    QuietOption,
    SetOption,
    TemplateOption,
)

if TYPE_CHECKING:
    from orster_cli.artifacts.manifest import InputFile
    from orster_cli.commands.stage import Stage
    from orster_cli.dataset.sources import Source


def prepare_data(
    objects: Annotated[
        list[Path],
        typer.Argument(help=".glb or .gltf files, folders of them, or folders of rendered frames."),
    ],
    out: OutOption,
    captions: Annotated[
        Path | None, typer.Option(help="CSV with file, clip, and optionally use and caption.")
    ] = None,
    frames: Annotated[int | None, typer.Option(help="Frames per orbit.")] = None,
    resolution: Annotated[int | None, typer.Option(help="Pixels, square.")] = None,
    elevation: Annotated[float | None, typer.Option(help="Degrees above the horizon.")] = None,
    azimuth_jitter: Annotated[
        bool | None, typer.Option("--azimuth-jitter", help="Start each orbit somewhere else.")
    ] = None,
    eval_views: Annotated[
        int | None, typer.Option(help="Evaluation views at each evaluation time.")
    ] = None,
    renderer: Annotated[str | None, typer.Option(help="builtin or blender.")] = None,
    shard: Annotated[
        str | None, typer.Option(help="i/n: the i-th of n parts of the objects, for job arrays.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, max=256, help="Processes that render.")] = 1,
    merge: Annotated[
        bool, typer.Option("--merge", help="Join the datasets named instead of rendering.")
    ] = False,
    config: ConfigOption = None,
    template: TemplateOption = None,
    assignments: SetOption = None,
    force: ForceOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Render animated objects into training clips: dynamic orbit, static orbit, front view.

    Example: orster prepare-data objects/ -o dataset/ --captions clips.csv --workers 8"""
    from orster_cli.commands.stage import Stage

    flags = {
        "prepare.frames": frames,
        "prepare.resolution": resolution,
        "prepare.elevation": elevation,
        "prepare.azimuth_jitter": azimuth_jitter,
        "prepare.eval_views": eval_views,
        "prepare.renderer": renderer,
    }
    stage = Stage.open(
        "prepare",
        command="prepare-data",
        out=out,
        flags=flags,
        config=config,
        template=template,
        assignments=assignments,
        force=force,
        dry_run=dry_run,
        as_json=as_json,
        quiet=quiet,
    )
    if merge:
        _merge(stage, objects)
    else:
        _prepare(stage, objects, captions, shard, workers)


def _prepare(
    stage: Stage, objects: list[Path], captions: Path | None, shard: str | None, workers: int
) -> None:
    from orster_cli.dataset.captions import read_captions
    from orster_cli.dataset.prepare import prepare
    from orster_cli.dataset.sources import find_sources, parse_part, take_part
    from orster_cli.inputs.files import input_file

    cfg = stage.resolved.config.prepare
    part = parse_part(shard) if shard else (1, 1)
    sources = take_part(find_sources(objects), part)
    rows = read_captions(captions) if captions else None
    inputs = _inputs(stage, sources) + ([input_file(captions)] if captions else [])
    draft = stage.plan(
        kind="dataset",
        inputs=inputs,
        seeds={"azimuth": cfg.seed},
        extra={"part": f"{part[0]}/{part[1]}"},
    )
    if draft is None:
        return
    with draft:
        if draft.resumed:
            stage.out.info("going on from an earlier run")
        done = prepare(
            sources,
            rows,
            draft.dir,
            draft.scratch,
            cfg,
            workers=workers,
            reporter=stage.out,
            stop=stage.stop,
        )
        warnings = stage.out.warnings[:100]
        artifact = draft.commit(done.content, licences=done.licences, warnings=warnings)
    stage.done(
        artifact,
        summary=f"{done.kept} clips of {len(sources)} objects kept, {done.dropped} dropped "
        "(reasons in the manifest)",
        next_step=f"look at {stage.out_path / 'contact_sheet.png'}",
        values={"samples": done.kept, "dropped": done.dropped},
    )


def _inputs(stage: Stage, sources: list[Source]) -> list[InputFile]:
    """Every file of every source, hashed, under its name relative to what the user named."""
    from orster_cli.inputs.files import input_file

    found = []
    for done, source in enumerate(sources, start=1):
        files = [source.path]
        if source.path.is_dir():
            files = sorted(path for path in source.path.rglob("*") if path.is_file())
        for path in files:
            inner = path.relative_to(source.path).as_posix()
            name = source.name if inner == "." else f"{source.name}/{inner}"
            found.append(input_file(path).model_copy(update={"name": name}))
        stage.out.step("hash inputs", done, len(sources))
    return found


def _merge(stage: Stage, parts: list[Path]) -> None:
    from orster_cli.artifacts.store import open_artifact
    from orster_cli.dataset.merge import Part, merge
    from orster_cli.dataset.reader import Dataset

    opened = [open_artifact(path, kind="dataset") for path in parts]
    draft = stage.plan(kind="dataset", parents=[a.parent() for a in opened], extra={"merge": True})
    if draft is None:
        return
    with draft:
        joined = [
            Part(name=str(a.path), dataset=Dataset.read(a.path), content=a.content) for a in opened
        ]
        content = merge(joined, draft.dir, reporter=stage.out)
        artifact = draft.commit(content)
    stage.done(
        artifact,
        summary=f"{content['samples']} clips of {len(opened)} datasets",
        next_step=f"look at {stage.out_path / 'contact_sheet.png'}",
        values={"samples": content["samples"], "dropped": len(content["dropped"])},
    )
