"""`orster sample-video`: a text, an image or a static object to an orbital clip."""

from __future__ import annotations

import shlex
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from orster_cli.commands.condition_options import ConditionOptions, OptionalOut
from orster_cli.ui.options import SETTINGS, TemplateRun, command


@dataclass(frozen=True, kw_only=True)
class SamplerOptions:
    """Options that are settings of [sample]."""

    frames: Annotated[
        int | None, typer.Option(min=2, help="Frames of the orbit.", rich_help_panel=SETTINGS)
    ] = None
    elevation: Annotated[
        float | None, typer.Option(help="Degrees above the horizon.", rich_help_panel=SETTINGS)
    ] = None
    radius: Annotated[
        float | None,
        typer.Option(help="Radius of the orbit, in object sizes.", rich_help_panel=SETTINGS),
    ] = None
    azimuth_start: Annotated[
        float | None,
        typer.Option(help="Azimuth of the first frame, degrees.", rich_help_panel=SETTINGS),
    ] = None
    turns: Annotated[
        float | None,
        typer.Option(
            help="Turns of the camera; negative: clockwise, 0: it stands still.",
            rich_help_panel=SETTINGS,
        ),
    ] = None
    strength: Annotated[
        float | None,
        typer.Option(
            help="How much of --start to change: above 0, and at most 1.", rich_help_panel=SETTINGS
        ),
    ] = None
    steps: Annotated[
        int | None, typer.Option(help="Denoising steps.", rich_help_panel=SETTINGS)
    ] = None
    scheduler: Annotated[
        str | None, typer.Option(help="ddim or dpm++.", rich_help_panel=SETTINGS)
    ] = None
    up: Annotated[
        str | None,
        typer.Option(help="Axis of a .ply that points up: z, y or -y.", rich_help_panel=SETTINGS),
    ] = None
    batch: Annotated[int | None, typer.Option(help="Videos at once.", rich_help_panel=SETTINGS)] = (
        None
    )
    offload: Annotated[
        bool | None,
        typer.Option(
            "--offload",
            help="Keep on the GPU only the part that works, to save memory.",
            rich_help_panel=SETTINGS,
        ),
    ] = None


@command
def sample_video(
    *,
    condition: ConditionOptions,
    out: OptionalOut = None,
    start: Annotated[
        str | None,
        typer.Option(
            "--start",
            help="Begin from a clip, or from an asset seen by these cameras, with noise of --strength.",
        ),
    ] = None,
    sampler: SamplerOptions,
    guidance: Annotated[
        float | None,
        typer.Option(help="Guidance by each given condition (1: none).", rich_help_panel=SETTINGS),
    ] = None,
    seeds: Annotated[
        str | None, typer.Option(help="Several, as 0-7 or 1,5,9: a clip in OUT/seed-N for each.")
    ] = None,
    texts: Annotated[
        Path | None,
        typer.Option(
            "--texts", help="A file with a text in each line: a clip in OUT/TEXT for each."
        ),
    ] = None,
    run: TemplateRun,
) -> None:
    """Sample an orbital video of a moving object.

    The condition is a text, an image or a static object.
    Examples: orster sample-video "a frog jumping" -o clip/ ; or --image x.png, --object y.glb"""
    from orster_cli.artifacts.outputs import check_output
    from orster_cli.commands.sampling import (
        Sampling,
        sample_clip,
        sample_seeds,
        sample_texts,
        seed_folder,
    )
    from orster_cli.commands.stage import Stage
    from orster_cli.core.errors import ConfigError
    from orster_cli.inputs.models import name_of_model, open_model_or_default, sampling_of
    from orster_cli.inputs.prompts import parse_seeds, read_texts

    condition = condition.with_text()
    if texts is not None and (condition.text is not None or seeds is not None):
        raise ConfigError("--texts: not with another text or --seeds")
    if seeds is not None and condition.seed:
        raise ConfigError("--seed: not with --seeds, which lists all of them")
    if sampler.strength is not None and start is None:
        raise ConfigError(
            "--strength: of what?", hint="give a clip or an asset to begin from: --start asset/"
        )
    listed = [] if texts is None else read_texts(texts)
    default = condition.folder("-clip", start) if texts is None else Path(f"{texts.stem}-clips")
    named, out = out, out or default
    model = condition.model_folder()
    flags = {**asdict(sampler), "motion": condition.motion}
    flags |= {f"guidance_{kind}": guidance for kind in ("text", "image", "object")}
    stage = Stage.open(
        "sample",
        command="sample-video",
        kind="clip",
        reads=[condition.image, condition.object_, model, texts, start],
        out=out,
        flags={f"sample.{name}": value for name, value in flags.items()},
        model=sampling_of(model),
        several=seeds is not None or texts is not None,
        **run.for_stage(),
    )
    seed = condition.seed
    if listed:
        sample_texts(stage, condition, open_model_or_default(model), listed, start)
        return
    numbers = [] if seeds is None else parse_seeds(seeds)
    for number in numbers:
        check_output(seed_folder(out, number), kind="clip", reads=stage.reads)
    sampling = Sampling.of(condition, open_model_or_default(model), stage, start=start)
    if named is None:
        stage.out.info(f"writing {out}/ (choose another folder with -o)")
    if seeds is None:
        made = sample_clip(stage, sampling, seed)
        if made is not None:
            name = shlex.quote(name_of_model(model))
            stage.done(
                made,
                summary=f"{made.content['frames']} frames, seed {seed}",
                next_step=f"orster construct {shlex.quote(str(out))} -m {name} -o asset/, "
                f"or look at {out / 'sheet.png'}",
                values=made.content,
            )
        return
    sample_seeds(stage, sampling, numbers)
