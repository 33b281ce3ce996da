"""`orster export`: an asset in the formats of other programs."""

from __future__ import annotations

import dataclasses
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orster_cli.core.file_kinds import OBJECTS
from orster_cli.ui.options import RUN, SETTINGS, Outcome, command

if TYPE_CHECKING:
    from orster_cli.artifacts.store import Artifact
    from orster_cli.core.errors import InputError
    from orster_cli.export.formats import Format
    from orster_cli.export.job import ExportJob
    from orster_cli.export.options import ExportOptions, MeshChoice
    from orster_cli.export.run import Exported
    from orster_cli.ui.out import Out

PICTURES, MOTION = "Videos and pictures", "Motion"


@dataclass(frozen=True, kw_only=True)
class MotionFlags:
    """Which moments, and how a mesh moves."""

    times: Annotated[
        str | None,
        typer.Option(
            help="FIRST:LAST:COUNT in [0,1], as 0:1:24; by default what the format needs.",
            rich_help_panel=MOTION,
        ),
    ] = None
    fps: Annotated[
        float, typer.Option(help="Frames a second.", rich_help_panel=MOTION, min=0.1, max=240)
    ] = 12.0
    at: Annotated[
        float,
        typer.Option(help="Moment of a still, in [0,1].", rich_help_panel=MOTION, min=0, max=1),
    ] = 0.0
    mesh: Annotated[
        str | None,
        typer.Option(
            help="The file that the asset came from, file.glb or file.glb#ANIMATION, where the asset "
            "does not hold it.",
            rich_help_panel=MOTION,
        ),
    ] = None
    skin: Annotated[
        int,
        typer.Option(
            help="Move the mesh by a skin of N bones, a smaller file; 0: every vertex on its own.",
            rich_help_panel=MOTION,
            min=0,
        ),
    ] = 0


@dataclass(frozen=True, kw_only=True)
class PictureFlags:
    """How videos and pictures look, and which way is up."""

    size: Annotated[
        str, typer.Option(help="Pixels, as 512 or 640x360.", rich_help_panel=PICTURES)
    ] = "512"
    background: Annotated[
        str,
        typer.Option(
            help="white, black, grey, #rrggbb or transparent; by default transparent where the format "
            "holds it well.",
            rich_help_panel=PICTURES,
        ),
    ] = ""
    camera: Annotated[
        str,
        typer.Option(
            help="orbit, fixed, or a cameras.json or transforms.json.", rich_help_panel=PICTURES
        ),
    ] = "orbit"
    elevation: Annotated[
        float,
        typer.Option(help="Degrees above the horizon.", rich_help_panel=PICTURES, min=-89, max=89),
    ] = 10.0
    up: Annotated[
        str,
        typer.Option(
            help="Axis that points up in files of Gaussians: z, y or -y.", rich_help_panel=SETTINGS
        ),
    ] = ""
    frame: Annotated[
        str,
        typer.Option(
            help="World of the files, where cameras of another scale or centre were given: input (theirs) "
            "or orster (the object at the origin, 1 long).",
            rich_help_panel=SETTINGS,
        ),
    ] = "input"
    program: Annotated[
        str | None,
        typer.Option(
            "--for",
            help="supersplat, unity, blender or three: the up axis that it expects.",
            rich_help_panel=SETTINGS,
        ),
    ] = None


@command
def export(
    *,
    asset: Annotated[
        Path | None, typer.Argument(help="An asset, or the folder that `generate` made.")
    ] = None,
    to: Annotated[str, typer.Option("--to", help="Comma-separated formats, e.g. glb,mp4.")] = "",
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Folder of the files; or one file, whose ending is its format.",
            rich_help_panel=RUN,
        ),
    ] = None,
    motion: MotionFlags,
    pictures: PictureFlags,
    run: Outcome,
) -> None:
    """Write an asset in the formats of other programs.

    glb: the asset's own mesh, animated. html: a page that plays it. Gaussians: ply-sequence,
    glb-splats, spz, compressed-ply, 4dgs, usd. Pictures: mp4, webp, gif, png-sequence, transforms. Without
    --to, a table of what each holds and loses. Every file is read back and measured.
    Examples: orster export frog/ -o frog.glb ; orster export asset/ --to mp4,gif -o files/"""
    from orster_cli.commands.stage import ended_by_sigterm
    from orster_cli.core.errors import ConfigError
    from orster_cli.export.formats import asked_for, checked_folder
    from orster_cli.ui.out import Out

    sink = Out(as_json=run.as_json, quiet=run.quiet)
    if not to and asset is None:
        _print_table(sink)
        return
    formats, name = asked_for(to, out)
    if asset is None:
        raise ConfigError("no asset is given", hint=f"orster export asset/ --to {to}")
    options, choice = _options(motion, pictures)
    artifact = _open(asset)
    if name is not None and out is not None:
        folder = out.parent
    else:
        beside = Path(f"{artifact.path}-export")
        folder, name = checked_folder(out, formats) or beside, _name(artifact.path)
    with ended_by_sigterm():
        _export(artifact, formats, options, choice, folder, name, run, sink)


def _print_table(sink: Out) -> None:
    from orster_cli.export.formats import rows
    from orster_cli.ui.out import Table

    header = ["format", "writes", "holds", "loses"]
    values = {"formats": [dict(zip(header, row, strict=True)) for row in rows()]}
    sink.result(values, Table([list(row) for row in rows()], header, prose=True))


def _options(
    motion: MotionFlags, pictures: PictureFlags
) -> tuple[ExportOptions, MeshChoice | None]:
    """The flags as options. ConfigError."""
    from orster_cli.export.moments import parse_times
    from orster_cli.export.options import (
        ExportOptions,
        parse_color,
        parse_frame,
        parse_mesh,
        parse_size,
        parse_up,
    )

    if pictures.background:
        parse_color(pictures.background)
    options = ExportOptions(
        times=None if motion.times is None else parse_times(motion.times),
        fps=motion.fps,
        at=motion.at,
        size=parse_size(pictures.size),
        background=pictures.background,
        camera=pictures.camera,
        elevation=pictures.elevation,
        up=parse_up(pictures.up, pictures.program),
        frame=parse_frame(pictures.frame),
        bones=motion.skin,
    )
    return options, None if motion.mesh is None else parse_mesh(motion.mesh)


def _open(path: Path) -> Artifact:
    """The asset in `path`, or in the folder of that name inside, as `generate` leaves it."""
    from orster_cli.artifacts.outputs import artifact_kind
    from orster_cli.artifacts.store import open_artifact

    if path.is_file():
        raise _a_file(path)
    inside = path / "asset"
    if artifact_kind(path) is None and artifact_kind(inside) == "asset":
        path = inside
    return open_artifact(path, kind="asset")


def _a_file(path: Path) -> InputError:
    """The error of a file where an asset is expected."""
    from orster_cli.core.errors import InputError

    named = shlex.quote(str(path))
    if path.suffix.lower() in OBJECTS:
        found = "a 3D object"
        hint = f'orster generate --object {named} "walking" -o out/ animates it; then orster export out/'
    else:
        found, hint = "a file", "give the folder that orster construct or generate made"
    return InputError(f"{path}: expected an asset, found {found}", hint=hint)


def _name(path: Path) -> str:
    """The name of the files: of the asset's folder, or of the folder around one called "asset"."""
    from orster_cli.core.names import slug

    whole = path.absolute()
    return slug(whole.parent.name if whole.name == "asset" and whole.parent.name else whole.name)


def _export(
    artifact: Artifact,
    formats: list[Format],
    options: ExportOptions,
    choice: MeshChoice | None,
    folder: Path,
    name: str,
    run: Outcome,
    sink: Out,
) -> None:
    from orster_cli.artifacts.outputs import check_collection
    from orster_cli.export.run import check_targets, export_asset

    for place in (folder, *folder.absolute().parents):
        check_collection(place, "exported files")
    read = [] if choice is None else [choice.path]
    check_targets(formats, name, folder, force=run.force, reads=read)
    if run.dry_run:
        listed = [str(folder / one.file_name(name)) for one in formats]
        values = {"status": "dry run", "files": listed, **dataclasses.asdict(options)}
        sink.result(values, "\n".join(f"would write {one}" for one in listed))
        return
    sink.status("loading ...")
    job = _job(artifact, formats, options, choice, name, sink)
    done = []
    for one in export_asset(job, formats, folder, force=run.force):
        done.append(one)
        if not run.as_json and not run.quiet:
            sink.say(_line(one))
    sink.result({"status": "made", "path": str(folder), "files": [_facts(x) for x in done]}, "")


def _job(
    artifact: Artifact,
    formats: list[Format],
    options: ExportOptions,
    choice: MeshChoice | None,
    name: str,
    sink: Out,
) -> ExportJob:
    """The asset without what other programs stumble over, and its mesh where a format needs it."""
    from orster_cli.construction.asset import load_asset
    from orster_cli.export.cleaning import clean
    from orster_cli.export.job import ExportJob
    from orster_cli.export.source_mesh import open_source_mesh
    from orster_cli.export.world import world_of_files
    from orster_cli.inputs.objects import chosen_object, named_objects, source_object
    from orster_cli.io.clip_files import read_course

    cleaned = clean(load_asset(artifact.path))
    if cleaned.dropped:
        sink.warn(cleaned.describe())
    counts = artifact.content.get("frames")
    frames = int(counts[0]) if isinstance(counts, list) and counts else 24
    wants_mesh, found = any(one.name == "glb" for one in formats), None
    if choice is not None:
        found = chosen_object(artifact, choice.path, choice.clip)
        if not wants_mesh:
            sink.warn("--mesh is used by glb alone")
    elif wants_mesh:
        found = source_object(artifact)
        if found is None and (lost := named_objects(artifact)):
            sink.warn(
                f"the asset came from {lost[0].name}, which is not here: --mesh {lost[0].name} exports "
                "that very mesh"
            )
    mesh = course = None
    if found is not None and wants_mesh:
        course = read_course(artifact.path)
        shown = [
            one.means.detach().cpu().numpy()
            for one in (cleaned.asset.at(0.0), cleaned.asset.canonical)
        ]
        if course is not None:
            shown.append(course.rest.double().numpy())
        mesh = open_source_mesh(
            found.path, clip=found.clip, frames=frames, like=shown, placement=found.placement
        )
        for warning in mesh.scene.warnings:
            sink.warn(f"{found.path.name}: {warning}")
    return ExportJob(
        name=name,
        asset=cleaned.asset,
        options=options,
        reporter=sink,
        frames=frames,
        mesh=mesh,
        course=course,
        prompt=artifact.content.get("prompt"),
        world=world_of_files(
            artifact.content.get("similarity"),
            formats,
            options,
            sink,
            own_mesh=mesh is not None,
            where=str(artifact.path),
        ),
    )


def _line(one: Exported) -> str:
    return (
        f"{one.path}{'/' if one.format.is_folder else ''}: {one.size:,} bytes, {one.outcome.note}; "
        f"read back: {one.outcome.psnr:.1f} dB to the asset"
    )


def _facts(one: Exported) -> dict[str, Any]:
    return {
        "format": one.format.name,
        "path": str(one.path),
        "bytes": one.size,
        "psnr": round(one.outcome.psnr, 2),
        **one.outcome.facts,
    }
