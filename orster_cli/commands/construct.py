"""`orster construct`: orbital clips to an animated 3D asset."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orster_cli.ui.options import SETTINGS, DeviceOption, OutOption, Run, command

if TYPE_CHECKING:
    from orster_cli.artifacts.store import Artifact
    from orster_cli.commands.stage import Stage
    from orster_cli.core.types import OrbitClip
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
        float,
        typer.Option(help="Turns in the whole video; 0: a fixed camera.", rich_help_panel=ORBIT),
    ] = 1.0
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
            "--model", "-m", help="Model that samples the static orbit where none is given."
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(help="fast, balanced (the default), fine or paper.", rich_help_panel=SETTINGS),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed of the fit.", rich_help_panel=SETTINGS)
    ] = None,
    device: DeviceOption = "auto",
    orbit: OrbitOptions,
    run: Run,
) -> None:
    """Fit animated 3D Gaussians to orbital clips.

    A run that was stopped continues when the command is run again.
    Examples: orster construct dataset#frog-0 -o asset/ ; orster construct video.mp4 -o asset/"""
    from orster_cli.commands.stage import Stage
    from orster_cli.core.errors import ConfigError
    from orster_cli.inputs.models import open_model, sampling_of
    from orster_cli.inputs.video import OrbitFlags

    stage = Stage.open(
        "construct",
        command="construct",
        kind="asset",
        reads=[*clips, static_orbit, model],
        out=out,
        flags={"construct.seed": seed},
        template=preset_template(preset),
        model=None if model is None else sampling_of(model),
        **run.for_stage(),
    )
    if orbit.direction not in ("ccw", "cw"):
        raise ConfigError(f"--direction: expected ccw or cw, got {orbit.direction!r}")
    flags = OrbitFlags(
        elevation=orbit.elevation,
        radius=orbit.radius,
        fov=orbit.fov,
        azimuth_start=orbit.azimuth_start,
        turns=-orbit.turns if orbit.direction == "cw" else orbit.turns,
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
        next_step=f"look at {out / 'preview.mp4'}",
        values=content,
    )


def preset_template(preset: str | None) -> str | None:
    """The template of a preset's name. ConfigError: there is none."""
    from orster_cli.config.load import template_names
    from orster_cli.core.errors import ConfigError
    from orster_cli.core.names import did_you_mean

    if preset is None:
        return None
    prefix = "construct-"
    known = [name.removeprefix(prefix) for name in template_names() if name.startswith(prefix)]
    if preset not in known:
        raise ConfigError(
            f"--preset: no preset {preset!r}{did_you_mean(preset, known)}",
            hint=f"presets: {', '.join(known)}",
        )
    return f"{prefix}{preset}"


def construct_asset(
    stage: Stage,
    clips: list[str],
    orbit: OrbitFlags,
    *,
    static_orbit: str | None,
    model: OpenedModel | None,
    device: str,
    announce: bool = True,
) -> Artifact | None:
    """The asset of `clips`; None when it is up to date, or in a dry run."""
    import shutil
    from dataclasses import asdict

    from orster_cli.construct.fit_asset import ConstructInput
    from orster_cli.construct.fit_asset import construct as fit
    from orster_cli.core.devices import choose_device
    from orster_cli.inputs.clips import open_clip
    from orster_cli.io.clip_files import CONDITION

    orbit.check()
    opened = [open_clip(text, orbit, stage.out) for text in clips]
    still = (
        open_clip(static_orbit, orbit, stage.out, default_view="static") if static_orbit else None
    )
    static = still.clip if still else next((o.static for o in opened if o.static), None)
    model = model if static is None else None
    if static is None and model is None:
        stage.out.info("no static orbit: the object's shape comes from the moving frames alone")
    sources = [*opened, *([still] if still else [])]
    models = [] if model is None else [model]
    draft = stage.plan(
        parents=[parent for source in (*sources, *models) for parent in source.parents],
        inputs=[file for source in (*sources, *models) for file in source.inputs],
        seeds={"fit": stage.resolved.config.construct.seed},
        extra={
            "clips": [source.key for source in opened],
            "static": still.key if still else "",
            "orbit": asdict(orbit),
            **({} if model is None else {"sample": stage.resolved.section("sample")}),
        },
        announce=announce,
    )
    if draft is None:
        return None
    with draft:
        if model is not None:
            static = _sampled_orbit(stage, model, opened[0].clip, device)
        priors = opened[0].priors
        made = fit(
            ConstructInput(
                clips=[source.clip for source in opened],
                static=static,
                spatial_prior=priors.get("spatial"),
                temporal_prior=priors.get("temporal"),
            ),
            stage.resolved.config.construct,
            folder=draft.dir,
            scratch=draft.scratch,
            device=choose_device(device),
            reporter=stage.out,
            stop=stage.stop,
        )
        content = {**made.content, "prompt": opened[0].clip.prompt}
        if opened[0].condition is not None:
            shutil.copyfile(opened[0].condition, draft.dir / CONDITION)
        return draft.commit(content, run=made.run, warnings=stage.out.warnings[:100])


def _sampled_orbit(
    stage: Stage, model: OpenedModel, clip: OrbitClip, device: str
) -> OrbitClip | None:
    """An orbit of the static object, sampled from the first frame of `clip`; None, with a warning,
    where the sample shows no object on a plain background."""
    from dataclasses import replace

    from orster_cli.core.devices import choose_device
    from orster_cli.core.errors import InputError
    from orster_cli.io.matting import matte
    from orster_cli.sampling.sample_clips import Sampler, sample_static_orbit

    cfg = stage.resolved.config
    stage.out.info("sampling the static orbit from the first frame")
    sampler = Sampler(
        model.load().whole(str(model.path)),
        cfg.sample,
        device=choose_device(device),
        reporter=stage.out,
    )
    still = sample_static_orbit(sampler, clip, seed=cfg.construct.seed)
    try:
        found = matte(still.frames, where="sampled static orbit")
    except InputError as error:
        stage.out.warn(f"{error}; going on without it")
        return None
    return replace(still, frames=found.frames, alpha=found.alpha)
