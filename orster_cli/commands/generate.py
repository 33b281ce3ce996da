"""`orster generate`: sample-video and construct in one, as the artifacts that they make."""

from __future__ import annotations

from typing import Annotated

import typer

from orster_cli.commands.sample_video import (
    ImageOption,
    ModelOption,
    MotionOption,
    ObjectOption,
    SeedOption,
    TextOption,
)
from orster_cli.ui.options import (
    ConfigOption,
    DeviceOption,
    DryRunOption,
    ForceOption,
    JsonOption,
    OutOption,
    QuietOption,
    SetOption,
)


def generate(
    out: OutOption,
    text: TextOption = None,
    image: ImageOption = None,
    object_: ObjectOption = None,
    model: ModelOption = None,
    preset: Annotated[
        str | None, typer.Option(help="Of construct: fast, balanced (the default), fine or paper.")
    ] = None,
    static_orbit: Annotated[
        bool, typer.Option(help="Sample the orbit of the object at rest too, for construct.")
    ] = True,
    motion: MotionOption = None,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    config: ConfigOption = None,
    assignments: SetOption = None,
    force: ForceOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """From a text, an image or a static object to an animated 3D asset: OUT/clip, OUT/asset.

    Example: orster generate --text "a frog jumping" -o frog/"""
    from orster_cli.artifacts.outputs import check_collection, check_output
    from orster_cli.commands.construct import construct_asset
    from orster_cli.commands.sample_video import Request, sample_clip
    from orster_cli.commands.stage import Stage
    from orster_cli.inputs.models import SHIPPED, open_model_or_default, sampling_of
    from orster_cli.inputs.video import OrbitFlags

    shared = {"config": config, "assignments": assignments, "force": force, "dry_run": dry_run,
              "as_json": as_json, "quiet": quiet}  # fmt: skip
    read = [image, object_, model or SHIPPED]
    check_collection(out, "a clip and an asset")
    check_output(out / "asset", kind="asset", reads=[*read, config])
    first = Stage.open(
        "sample",
        command="sample-video",
        kind="clip",
        reads=read,
        out=out / "clip",
        flags={"sample.motion": motion},
        template=None,
        model=sampling_of(model),
        **shared,  # type: ignore[arg-type]
    )
    opened = open_model_or_default(model)
    request = Request(text=text, image=image, object=object_, device=device)
    sample_clip(first, opened, request, seed, announce=dry_run)
    if dry_run:
        return
    second = Stage.open(
        "construct",
        command="construct",
        kind="asset",
        reads=[out / "clip", model or SHIPPED],
        out=out / "asset",
        flags={"construct.seed": seed},
        template=f"construct-{preset}" if preset else None,
        model=sampling_of(model),  # for the static orbit
        **shared,  # type: ignore[arg-type]
    )
    artifact = construct_asset(
        second,
        [str(out / "clip")],
        OrbitFlags(),
        static_orbit=None,
        model=opened if static_orbit else None,
        device=device,
        announce=False,
    )
    preview = out / "asset" / "preview.mp4"
    if artifact is None:
        values = {"status": "up to date", "path": str(out)}
        second.out.result(values, f"{out}: up to date; look at {preview}")
        return
    second.done(
        artifact,
        summary=f"clip in {out / 'clip'}, {artifact.content['gaussians']} Gaussians",
        next_step=f"look at {preview}",
        values=artifact.content,
    )
