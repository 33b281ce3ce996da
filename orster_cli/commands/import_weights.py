"""`orster import`: published weights to model folders (VideoMV, ModelScopeT2V, I2VGen-XL, CLIP)."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orster_cli.ui.options import Outcome, OutOption, command
from orster_cli.ui.out import Out

if TYPE_CHECKING:
    from orster_cli.artifacts.manifest import InputFile, Parent
    from orster_cli.diffusion.published_models import Published

app = typer.Typer(
    help="Convert published weights to model folders.\n\nNothing is fetched without --fetch.",
    no_args_is_help=True,
)
PIPELINE_PARTS = ("unet", "vae", "scheduler", "text_encoder", "tokenizer")

SourceArgument = Annotated[
    str, typer.Argument(help="A folder, or an id on the hub whose files are in the local cache.")
]


@dataclass(frozen=True, kw_only=True)
class HubImport(Outcome):
    """Options of an import whose files may be on the hub."""

    fetch: Annotated[bool, typer.Option("--fetch", help="Download what is not in the cache.")] = (
        False
    )
    revision: Annotated[
        str | None,
        typer.Option(help="Commit, tag or branch on the hub, instead of the pinned commit."),
    ] = None


@dataclass(frozen=True, kw_only=True)
class _Import:
    """One import. `make` writes the model into a folder, with a second folder for temporary files."""

    name: str
    published: Published
    out: Path
    make: Callable[[Path, Path], dict[str, Any]]
    inputs: list[InputFile]
    settings: dict[str, Any]
    licences: list[str]
    next_step: str
    options: Outcome
    sink: Out
    reads: list[str | Path | None]
    parents: list[Parent] = field(default_factory=list)


@app.command("videomv")
@command
def videomv(
    *,
    checkpoint: Annotated[
        Path, typer.Argument(help="t2v_*.pth or i2v_*.pth, or the archive that holds them.")
    ],
    out: OutOption,
    base: Annotated[
        Path | None,
        typer.Option(
            "--base",
            help="Imported ModelScopeT2V (t2v), I2VGen-XL (i2v): its frame VAE and encoders.",
        ),
    ] = None,
    member: Annotated[str | None, typer.Option(help="File of the archive to read.")] = None,
    run: Outcome,
) -> None:
    """VideoMV, a 3D diffusion: a 3D teacher, or a student's start.

    It is conditioned on texts (t2v) or on an image (i2v).

    Example: orster import videomv t2v_00333000.pth --base modelscope/ -o videomv/"""
    from orster_cli.artifacts.outputs import check_output
    from orster_cli.core.errors import InputError
    from orster_cli.diffusion.importing import import_videomv, reads_images, take_checkpoint
    from orster_cli.diffusion.published_models import VIDEOMV, VIDEOMV_IMAGES, licences_of
    from orster_cli.inputs.files import input_file
    from orster_cli.inputs.models import open_model

    check_output(out, kind="model", reads=[checkpoint, base])
    images = reads_images(checkpoint, member)
    published = VIDEOMV_IMAGES if images else VIDEOMV
    opened = None if base is None else open_model(base)

    def make(folder: Path, scratch: Path) -> dict[str, Any]:
        taken = take_checkpoint(checkpoint, scratch, member)
        try:
            content = import_videomv(taken, folder, base=base)
            if (content["branch"] == "image") != images:  # the licence follows from the name
                raise InputError(
                    f"{checkpoint}: holds VideoMV's {content['branch']} branch, by its name the other",
                    hint="unpack it and give the .pth file itself",
                )
            return content
        finally:
            if taken != checkpoint:
                taken.unlink()

    home = "i2vgen-xl/" if images else "modelscope/"
    parts = "" if base is not None else f" --vae {home} --encoder {home}"
    if images:  # the first view beside every video
        parts += "".join(f" --set pretrain.{x}" for x in ("image=1", "text=0", "object=0"))
    request = _Import(
        name="videomv",
        published=published,
        out=out,
        make=make,
        inputs=[input_file(checkpoint), *(opened.inputs if opened else [])],
        settings={"member": member},
        licences=licences_of(published),
        next_step=f"orster pretrain dataset/ -m {shlex.quote(str(out))}{parts} -o pretrained/",
        options=run,
        sink=Out(as_json=run.as_json, quiet=run.quiet),
        reads=[checkpoint, base],
        parents=opened.parents if opened else [],
    )
    _import(request)


@app.command("modelscope")
@command
def modelscope(
    *,
    source: SourceArgument,
    out: OutOption,
    run: HubImport,
) -> None:
    """ModelScopeT2V, a video diffusion under texts: a video teacher.

    Example: orster import modelscope ali-vilab/text-to-video-ms-1.7b -o modelscope/"""
    from orster_cli.diffusion.importing import import_modelscope
    from orster_cli.diffusion.published_models import MODELSCOPE

    _import_folder(
        "modelscope",
        source,
        MODELSCOPE,
        import_modelscope,
        PIPELINE_PARTS,
        out=out,
        next_step=f"orster import videomv t2v_00333000.pth --base {shlex.quote(str(out))} -o videomv/",
        options=run,
    )


@app.command("i2vgen-xl")
@command
def i2vgen_xl(
    *,
    source: SourceArgument,
    out: OutOption,
    run: HubImport,
) -> None:
    """I2VGen-XL, a video diffusion that animates an image.

    A video teacher, or a student's start.

    Example: orster import i2vgen-xl ali-vilab/i2vgen-xl -o i2vgen-xl/"""
    from orster_cli.diffusion.importing import import_i2vgen_xl
    from orster_cli.diffusion.published_models import I2VGEN_XL

    _import_folder(
        "i2vgen-xl",
        source,
        I2VGEN_XL,
        import_i2vgen_xl,
        (*PIPELINE_PARTS, "image_encoder"),
        out=out,
        next_step="orster distill dataset/ -m pretrained/ --teacher-3d videomv/ "
        f"--teacher-video {shlex.quote(str(out))} -o distilled/",
        options=run,
    )


@app.command("clip")
@command
def clip(
    *,
    source: SourceArgument,
    out: OutOption,
    text_layers: Annotated[
        int | None,
        typer.Option(
            help="Keep only the first layers of the text model: 23 of ViT-H/14 for VideoMV."
        ),
    ] = None,
    run: HubImport,
) -> None:
    """CLIP, an encoder of texts and images.

    Example: orster import clip laion/CLIP-ViT-H-14-laion2B-s32B-b79K --text-layers 23 -o clip/"""
    from orster_cli.diffusion.import_clip import import_clip
    from orster_cli.diffusion.published_models import CLIP

    _import_folder(
        "clip",
        source,
        CLIP,
        lambda given, folder: import_clip(given, folder, text_layers=text_layers),
        None,
        settings={"text_layers": text_layers},
        out=out,
        next_step=f"orster pretrain dataset/ -m videomv/ --encoder {shlex.quote(str(out))} -o pretrained/",
        options=run,
    )


def _import_folder(
    name: str,
    source: str,
    published: Published,
    read: Callable[[Path, Path], dict[str, Any]],
    parts: tuple[str, ...] | None,
    *,
    out: Path,
    next_step: str,
    options: HubImport,
    settings: dict[str, Any] | None = None,
) -> None:
    from orster_cli.artifacts.outputs import check_output
    from orster_cli.diffusion.hub import files_of, is_hub_id, locate
    from orster_cli.diffusion.published_models import licences_of
    from orster_cli.inputs.files import input_file

    check_output(out, kind="model", reads=[source])
    sink = Out(as_json=options.as_json, quiet=options.quiet)
    pinned = published.revision if source == published.hub else None
    if options.dry_run and options.fetch and is_hub_id(source):
        at = options.revision or pinned or "the head of its main branch"
        size = f"{published.size / 1e9:.1f} GB, about"
        what = f"would fetch {source} at {at} ({size}) and write model {out}"
        values = {"status": "dry run", "path": str(out), "fetch": source, "bytes": published.size}
        values["revision"] = at
        shown = {**values, "licences": licences_of(published)}
        sink.result(shown, "\n".join([what, *_licence_lines(licences_of(published))]))
        return
    found = locate(source, fetch=options.fetch, revision=options.revision, pinned=pinned)
    inputs = [
        input_file(p).model_copy(update={"name": p.relative_to(found.folder).as_posix()})
        for p in files_of(found.folder, parts)
    ]
    request = _Import(
        name=name,
        published=published,
        out=out,
        make=lambda folder, _: read(found.folder, folder),
        inputs=inputs,
        settings={
            "source": source if found.revision else None,
            "revision": found.revision,
            **(settings or {}),
        },
        licences=licences_of(published, found.folder, found.revision),
        next_step=next_step,
        options=options,
        sink=sink,
        reads=[source, found.folder],
    )
    _import(request)


def _import(request: _Import) -> None:
    from orster_cli.artifacts.store import begin

    sink, path = request.sink, str(request.out)
    draft = begin(
        request.out,
        kind="model",
        command=f"import {request.name}",
        config=request.settings,
        parents=request.parents,
        inputs=request.inputs,
        force=request.options.force,
        reporter=sink,
        reads=request.reads,
    )
    size = sum(entry.size for entry in request.inputs)
    about: dict[str, Any] = {"path": path, "licences": request.licences, "bytes": size}
    if draft is None:
        sink.report({"status": "up to date", **about}, f"{path}: up to date")
        return
    if request.options.dry_run:
        what = f"would write model {path} from {len(request.inputs)} files, {size:,} bytes"
        sink.result(
            {"status": "dry run", **about}, "\n".join([what, *_licence_lines(request.licences)])
        )
        return
    with draft:
        content = request.make(draft.dir, draft.scratch)
        artifact = draft.commit(content, licences=request.licences)
    lines = [
        f"{request.published.name}: {content['tensors']:,} tensors, "
        f"{content['parameters']:,} parameters",
        *_licence_lines(artifact.manifest.licences),
        f"model {artifact.id[:12]} in {path}",
        f"next: {request.next_step}",
    ]
    about["licences"] = artifact.manifest.licences
    sink.report({"status": "made", "id": artifact.id, **about, **content}, "\n".join(lines))


def _licence_lines(licences: list[str]) -> list[str]:
    return [f"licence: {text}" for text in licences]
