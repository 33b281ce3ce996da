"""`orster construct`: orbital clips to an animated 3D asset."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orster_cli.ui.options import SETTINGS, DeviceOption, OutOption, StageRun, command

if TYPE_CHECKING:
    from orster_cli.artifacts.store import Artifact
    from orster_cli.commands.stage import Planned, Stage
    from orster_cli.inputs.models import OpenedModel
    from orster_cli.inputs.video import OrbitFlags

ORBIT = "Camera orbit of a video"
ClipsArgument = Annotated[
    list[str], typer.Argument(help="Clips of one motion: clip/, dataset#key, video.mp4, or images.")
]


@dataclass(frozen=True, kw_only=True)
class OrbitOptions:
    """The camera path that a video without cameras is taken to have."""

    elevation: Annotated[
        float, typer.Option(help="Degrees above the horizon.", rich_help_panel=ORBIT)
    ] = 0.0
    radius: Annotated[
        float, typer.Option(help="Distance, in object sizes.", rich_help_panel=ORBIT)
    ] = 2.0
    fov: Annotated[float, typer.Option(help="Field of view, degrees.", rich_help_panel=ORBIT)] = (
        39.6
    )
    azimuth_start: Annotated[
        float, typer.Option(help="Azimuth of the first frame, degrees.", rich_help_panel=ORBIT)
    ] = 0.0
    turns: Annotated[
        str,
        typer.Option(
            help="Turns in the whole video; 0: a fixed camera; auto: one, checked against the pictures.",
            rich_help_panel=ORBIT,
        ),
    ] = "auto"
    direction: Annotated[
        str, typer.Option(help="ccw or cw, seen from above.", rich_help_panel=ORBIT)
    ] = "ccw"


@command
def construct(
    *,
    clips: ClipsArgument,
    out: OutOption,
    static_orbit: Annotated[
        str | None, typer.Option(help="Orbit of the object at time 0 (a clip like the others).")
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(
            "--model",
            "-m",
            help="Model that samples the static orbit where none is given: a folder, mini or none.",
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(help="fast (the default), balanced, fine or paper.", rich_help_panel=SETTINGS),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed of the fit.", rich_help_panel=SETTINGS)
    ] = None,
    device: DeviceOption = "auto",
    orbit: OrbitOptions,
    run: StageRun,
) -> None:
    """Fit animated 3D Gaussians to orbital clips.

    A run that was stopped continues when the command is run again.
    Examples: orster construct dataset#frog-00 -o asset/ ; orster construct video.mp4 -o asset/"""
    from orster_cli.commands.stage import Stage
    from orster_cli.config.load import preset_template
    from orster_cli.core.errors import ConfigError
    from orster_cli.inputs.models import open_model, settings_of_clips, static_orbit_model
    from orster_cli.inputs.video import OrbitFlags

    model = static_orbit_model(model, clips)
    stage = Stage.open(
        "construct",
        command="construct",
        kind="asset",
        reads=[*clips, static_orbit, model],
        out=out,
        flags={"construct.seed": seed},
        template=preset_template(preset),
        model=settings_of_clips(model, clips),
        **run.for_stage(),
    )
    if orbit.direction not in ("ccw", "cw"):
        raise ConfigError(f"--direction: expected ccw or cw, got {orbit.direction!r}")
    flags = OrbitFlags(
        elevation=orbit.elevation,
        radius=orbit.radius,
        fov=orbit.fov,
        azimuth_start=orbit.azimuth_start,
        turns=_turns(orbit),
    )
    artifact = construct_asset(
        stage,
        clips,
        flags,
        static_orbit=static_orbit,
        model=None if model is None else open_model(model),
        device=device,
    )
    if artifact is None:
        return
    content = artifact.content | artifact.run
    stage.done(
        artifact,
        summary=f"{content['gaussians']} Gaussians in {content['seconds']:.0f} s, "
        f"PSNR {content['psnr']:.2f} dB at the input frames",
        next_step=look_at(out),
        values=content,
    )


def _turns(orbit: OrbitOptions) -> float | None:
    """--turns with the sign of --direction; None: auto. ConfigError: it is no number."""
    from orster_cli.core.errors import ConfigError

    sign = -1.0 if orbit.direction == "cw" else 1.0
    if orbit.turns == "auto":
        return None if sign > 0 else sign  # a given direction is meant
    try:
        return sign * float(orbit.turns)
    except ValueError:
        raise ConfigError(
            f"--turns: expected a number of turns or auto, got {orbit.turns!r}"
        ) from None


def look_at(asset: Path) -> str:
    """What to open first: the viewer, or the preview of an asset without one."""
    page = asset / "viewer.html"
    found = page if page.is_file() else asset / "preview.mp4"
    return f"{'open' if found == page else 'look at'} {shlex.quote(str(found))}"


def construct_asset(
    stage: Stage,
    clips: list[str],
    orbit: OrbitFlags,
    *,
    static_orbit: str | None,
    model: OpenedModel | None,
    device: str,
    announce: bool = True,
    plans: list[Planned] | None = None,
) -> Artifact | None:
    """The asset of `clips`; None when there was nothing to do. `plans`: as for `Stage.plan`."""
    from orster_cli.core.devices import choose_device
    from orster_cli.inputs.clips import open_clip
    from orster_cli.inputs.construct_plan import plan_construct, run_construct

    orbit.check()
    if not stage.dry_run:
        choose_device(device)  # before anything is said or sampled
    opened = [open_clip(text, orbit, stage.out) for text in clips]
    still = (
        open_clip(static_orbit, orbit, stage.out, default_view="static") if static_orbit else None
    )
    plan = plan_construct(
        opened,
        stage.resolved.config,
        static_orbit=still,
        model=model,
        orbit=orbit,
        reporter=stage.out,
    )
    draft = stage.plan(
        parents=plan.parents,
        inputs=plan.inputs,
        seeds=plan.seeds,
        extra=plan.identity,
        announce=announce,
        plans=plans,
    )
    if draft is None:
        return None
    with draft:
        made = run_construct(
            plan,
            draft.dir,
            scratch=draft.scratch,
            device=device,
            reporter=stage.out,
            stop=stage.stop,
        )
        return draft.commit(made.content, run=made.run, warnings=stage.out.warnings[:100])
