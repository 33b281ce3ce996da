"""`orster generate`: sample-video, then construct, each with its own artifact."""

from __future__ import annotations

from typing import Annotated

import typer

from orster_cli.commands.condition_options import ConditionOptions, OptionalOut
from orster_cli.ui.options import SETTINGS, StageRun, command


@command
def generate(
    *,
    condition: ConditionOptions,
    out: OptionalOut = None,
    preset: Annotated[
        str | None,
        typer.Option(
            help="Preset of construct: fast (the default), balanced, fine or paper.",
            rich_help_panel=SETTINGS,
        ),
    ] = None,
    static_orbit: Annotated[
        bool, typer.Option(help="Also sample an orbit of the static object, for construct.")
    ] = True,
    run: StageRun,
) -> None:
    """Turn a text, image or static object into an animated asset.

    The same as sample-video into OUT/clip and construct into OUT/asset.
    Example: orster generate "a frog jumping" -o frog/"""
    from orster_cli.artifacts.outputs import check_collection, check_output
    from orster_cli.commands.construct import construct_asset, look_at
    from orster_cli.commands.sample_video import Sampling, sample_clip
    from orster_cli.commands.stage import Stage
    from orster_cli.config.load import preset_template
    from orster_cli.inputs.models import open_model_or_default, sampling_of
    from orster_cli.inputs.video import OrbitFlags

    condition = condition.with_text()
    named, out = out, out or condition.folder()
    model = condition.model_folder()
    read = [condition.image, condition.object_, model]
    check_collection(out, "a clip and an asset")
    check_output(out / "asset", kind="asset", reads=[*read, run.config])
    first = Stage.open(
        "sample",
        command="sample-video",
        kind="clip",
        reads=read,
        out=out / "clip",
        flags={"sample.motion": condition.motion},
        template=None,
        model=sampling_of(model),
        **run.for_stage(),
    )
    opened = open_model_or_default(model)
    sampling = Sampling.of(condition, opened, first)
    if named is None:
        first.out.info(f"writing {out}/ (choose another folder with -o)")
    sample_clip(first, sampling, condition.seed, announce=run.dry_run)
    if run.dry_run:
        return
    second = Stage.open(
        "construct",
        command="construct",
        kind="asset",
        reads=[out / "clip", model],
        out=out / "asset",
        flags={"construct.seed": condition.seed},
        template=preset_template(preset),
        model=sampling_of(model),  # for the static orbit
        **run.for_stage(),
    )
    artifact = construct_asset(
        second,
        [str(out / "clip")],
        OrbitFlags(),
        static_orbit=None,
        model=opened if static_orbit else None,
        device=condition.device,
        announce=False,
    )
    next_step = look_at(out / "asset")
    if artifact is None:
        values = {"status": "up to date", "path": str(out)}
        second.out.report(values, f"{out}: up to date; {next_step}")
        return
    second.done(
        artifact,
        summary=f"clip in {out / 'clip'}, {artifact.content['gaussians']} Gaussians",
        next_step=next_step,
        values=artifact.content | artifact.run,
    )
