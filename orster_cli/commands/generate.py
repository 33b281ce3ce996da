"""`orster generate`: sample-video, then construct, each with its own artifact."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orster_cli.commands.condition_options import ConditionOptions, OptionalOut
from orster_cli.ui.options import SETTINGS, StageRun, command

if TYPE_CHECKING:
    from orster_cli.commands.stage import Planned, Stage
    from orster_cli.core.stopping import StopFlag
    from orster_cli.inputs.models import OpenedModel

ORBITS, FIRST = "orbits", "first"  # folder of the further orbits; the asset that they start from
FIRST_PRESET = "fast"


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
    orbits: Annotated[
        int,
        typer.Option(
            min=1,
            max=4,
            help="Orbits to sample and fit of a motion that the model does not know: more than one "
            "smooths, and gains 0.1 dB at most. Of a known action there are sample.orbits.",
            rich_help_panel=SETTINGS,
        ),
    ] = 1,
    run: StageRun,
) -> None:
    """Turn a text, image or static object into an animated asset.

    The same as sample-video into OUT/clip and construct into OUT/asset. With --orbits N, unless the model
    knows the action, an asset of the first orbit is seen from further round and sampled again, into
    OUT/orbits.
    Example: orster generate "a frog jumping" -o frog/"""
    from orster_cli.artifacts.outputs import check_collection, check_output
    from orster_cli.commands.construct import construct_asset, look_at
    from orster_cli.commands.sampling import Sampling, sample_clip
    from orster_cli.inputs.models import open_model_or_default
    from orster_cli.inputs.video import OrbitFlags

    condition = condition.with_text()
    named, out = out, out or condition.folder()
    model = condition.model_folder()
    condition = replace(condition, model=model)  # also where a clip is the object of the next orbit
    read = [condition.image, condition.object_, model]
    check_collection(out, "a clip and an asset")
    further = _further_folders(out, orbits)
    for folder in (out / "asset", *([out / ORBITS / FIRST] if further else [])):
        check_output(folder, kind="asset", reads=[*read, run.config])
    for folder in further:
        check_output(folder, kind="clip", reads=[*read, run.config])
    first = _sample_stage(run, out / "clip", condition, [])
    opened = open_model_or_default(model)
    sampling = Sampling.of(condition, opened, first)
    if named is None:
        first.out.info(f"writing {out}/ (choose another folder with -o)")
    reads = [out / "clip", *further]
    second = _construct_stage(run, out / "asset", reads, condition, preset, first.stop)
    plans: list[Planned] = []
    sample_clip(first, sampling, condition.seed, announce=False, plans=plans)
    if further and not plans and _is_rendered(out / "clip"):
        first.out.note("the action is known: no further orbits are sampled (sample.orbits)")
        further = {}
    if further and not plans:
        for step in _sample_further(
            first, condition, opened, run, further, plans, static_orbit=static_orbit
        ):
            second.out.goes_on_from(step.out)
    second.out.goes_on_from(first.out)
    if plans:  # what follows from this one cannot be opened yet
        config = second.resolved.section("construct")
        named = f"that clip and {len(further)} further orbits" if further else "that clip"
        text = f"would write asset {second.out_path} from {named}\n\n{second.settings()}"
        asset = {"path": str(second.out_path), "config": config}
        plans[0].say(second.out, {"asset": asset}, text)
        return
    artifact = construct_asset(
        second,
        [str(clip) for clip in (out / "clip", *further)],
        OrbitFlags(),
        static_orbit=None,
        model=opened if static_orbit else None,
        device=condition.device,
        announce=run.dry_run,
    )
    if run.dry_run:
        return
    next_step = look_at(out / "asset")
    if (out / "asset" / "object.glb").is_file():
        whole, file = shlex.quote(str(out)), shlex.quote(f"{out.absolute().name}.glb")
        next_step += f", or orster export {whole} -o {file}"
    if artifact is None:
        values = {"status": "up to date", "path": str(out)}
        second.out.report(values, f"{out}: up to date; {next_step}")
        return
    shown = f"{1 + len(further)} clips in {out}" if further else f"clip in {out / 'clip'}"
    second.done(
        artifact,
        summary=f"{shown}, {artifact.content['gaussians']} Gaussians",
        next_step=next_step,
        values=artifact.content | artifact.run,
    )


def _sample_stage(
    run: StageRun,
    out: Path,
    condition: ConditionOptions,
    starts: list[Path],
    azimuth_start: float | None = None,
    stop: StopFlag | None = None,
) -> Stage:
    """The stage that samples the clip `out` from `starts`. `stop`: that of the command's first stage."""
    from orster_cli.commands.stage import Stage
    from orster_cli.inputs.models import sampling_of

    model = condition.model_folder()
    return Stage.open(
        "sample",
        command="sample-video",
        kind="clip",
        reads=[condition.image, condition.object_, model, *starts],
        out=out,
        flags={"sample.motion": condition.motion, "sample.azimuth_start": azimuth_start},
        template=None,
        model=sampling_of(model),
        stop=stop,
        **run.for_stage(),
    )


def _construct_stage(
    run: StageRun,
    out: Path,
    clips: list[Path],
    condition: ConditionOptions,
    preset: str | None,
    stop: StopFlag,
) -> Stage:
    """The stage that constructs `clips` into `out`. `stop`: that of the command's first stage."""
    from orster_cli.commands.stage import Stage
    from orster_cli.config.load import preset_template
    from orster_cli.inputs.models import sampling_of

    model = condition.model_folder()
    return Stage.open(
        "construct",
        command="construct",
        kind="asset",
        reads=[*clips, model],
        out=out,
        flags={"construct.seed": condition.seed},
        template=preset_template(preset),
        model=sampling_of(model),  # for the static orbit
        stop=stop,
        **run.for_stage(),
    )


def _further_folders(out: Path, orbits: int) -> dict[Path, float]:
    """Where the clips of the orbits after the first go, and how many degrees each is ahead of it."""
    ahead = [360.0 * number / orbits for number in range(1, orbits)]
    return {out / ORBITS / f"clip-{round(degrees):03d}": degrees for degrees in ahead}


def _is_rendered(clip: Path) -> bool:
    """Whether a `clip` is a known action, of which nothing was sampled."""
    from orster_cli.artifacts.manifest import MANIFEST, read_manifest

    made = (clip / MANIFEST).is_file()
    return made and bool(read_manifest(clip).content.get("rendered"))


def _sample_further(
    first: Stage,
    condition: ConditionOptions,
    model: OpenedModel,
    run: StageRun,
    folders: dict[Path, float],
    plans: list[Planned],
    *,
    static_orbit: bool,
) -> list[Stage]:
    """Sample `folders` (see `_further_folders`) of the motion in the clip that `first` made: each starts
    from a quick asset of that clip, seen by its own cameras. The stages that it took, the last first.

    A dry run ends at the first that it would write, and puts it into `plans`."""
    from orster_cli.commands.construct import construct_asset
    from orster_cli.commands.sampling import Sampling, sample_clip
    from orster_cli.inputs.video import OrbitFlags
    from orster_cli.io.clip_files import CAMERAS, STATIC

    clip = first.out_path
    asset = clip.parent / ORBITS / FIRST
    stages = [_construct_stage(run, asset, [clip], condition, FIRST_PRESET, first.stop)]
    construct_asset(
        stages[0],
        [str(clip)],
        OrbitFlags(),
        static_orbit=None,
        model=model if static_orbit else None,
        device=condition.device,
        announce=False,
        plans=plans,
    )
    if plans:
        return stages
    still = clip / STATIC
    if condition.object_ is None:
        # an image shows the first view of the first orbit alone
        at_rest = str(still) if (still / CAMERAS).is_file() else None
        condition = replace(condition, image=None, object_=at_rest)
    begin = first.resolved.config.sample.azimuth_start
    for folder, ahead in folders.items():
        azimuth = begin + ahead
        stage = _sample_stage(run, folder, condition, [asset], azimuth, first.stop)
        sampling = Sampling.of(condition, model, stage, start=str(asset))
        sample_clip(stage, sampling, condition.seed, announce=False, plans=plans)
        stages.insert(0, stage)
        if plans:
            break
    return stages
