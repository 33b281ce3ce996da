"""`orster sample-video`: a text, an image or a static object to an orbital clip."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orster_cli.ui.options import SETTINGS, DeviceOption, OutOption, TemplateRun, command

if TYPE_CHECKING:
    from orster_cli.artifacts.manifest import InputFile, Parent
    from orster_cli.artifacts.store import Artifact, Draft
    from orster_cli.commands.stage import Stage
    from orster_cli.inputs.models import OpenedModel
    from orster_cli.sampling.sample_clips import SampledClip, Sampler, SampleRequest

CONDITION_PANEL = "What the video shows"
SHEET_FRAMES = 8


@dataclass(frozen=True, kw_only=True)
class ConditionOptions:
    """What is sampled, by which model."""

    text: Annotated[
        str | None,
        typer.Option("--text", "-t", help="A caption.", rich_help_panel=CONDITION_PANEL),
    ] = None
    image: Annotated[
        Path | None,
        typer.Option("--image", help="The first view.", rich_help_panel=CONDITION_PANEL),
    ] = None
    object_: Annotated[
        str | None,
        typer.Option(
            "--object",
            help="A static object: .glb, .gltf, .ply, clip/ or dataset#key.",
            rich_help_panel=CONDITION_PANEL,
        ),
    ] = None
    motion: Annotated[
        float | None,
        typer.Option(
            help="Strength of the motion: 0 at rest; 0.01 to 0.03 is usual.",
            rich_help_panel=CONDITION_PANEL,
        ),
    ] = None
    model: Annotated[
        Path | None, typer.Option("--model", "-m", help="Model (the one that orster ships).")
    ] = None
    seed: Annotated[int, typer.Option(min=0, help="Seed of the noise.")] = 0
    device: DeviceOption = "auto"


@dataclass(frozen=True, kw_only=True)
class SamplerOptions:
    """Options that are settings of [sample]."""

    frames: Annotated[
        int | None, typer.Option(help="Frames of the orbit.", rich_help_panel=SETTINGS)
    ] = None
    elevation: Annotated[
        float | None, typer.Option(help="Degrees above the horizon.", rich_help_panel=SETTINGS)
    ] = None
    radius: Annotated[
        float | None,
        typer.Option(help="Radius of the orbit, in object sizes.", rich_help_panel=SETTINGS),
    ] = None
    steps: Annotated[
        int | None, typer.Option(help="Denoising steps.", rich_help_panel=SETTINGS)
    ] = None
    scheduler: Annotated[
        str | None, typer.Option(help="ddim or dpm++.", rich_help_panel=SETTINGS)
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
    out: OutOption,
    sampler: SamplerOptions,
    guidance: Annotated[
        float | None,
        typer.Option(help="Guidance by each given condition (1: none).", rich_help_panel=SETTINGS),
    ] = None,
    seeds: Annotated[
        str | None, typer.Option(help="Several, as 0-7 or 1,5,9: a clip in OUT/seed-N for each.")
    ] = None,
    run: TemplateRun,
) -> None:
    """Sample an orbital video of a moving object.

    The condition is a text, an image or a static object.
    Examples: orster sample-video --text "a frog jumping" -o clip/ ; or --image x.png, --object y.glb"""
    from orster_cli.artifacts.outputs import check_output
    from orster_cli.commands.stage import Stage
    from orster_cli.inputs.models import SHIPPED, open_model_or_default, sampling_of

    flags = {**asdict(sampler), "motion": condition.motion}
    flags |= {f"guidance_{kind}": guidance for kind in ("text", "image", "object")}
    stage = Stage.open(
        "sample",
        command="sample-video",
        kind="clip",
        reads=[condition.image, condition.object_, condition.model or SHIPPED],
        out=out,
        flags={f"sample.{name}": value for name, value in flags.items()},
        model=sampling_of(condition.model),
        several=seeds is not None,
        **run.for_stage(),
    )
    seed = condition.seed
    numbers = [] if seeds is None else parse_seeds(seeds)
    for number in numbers:
        check_output(_seed_folder(out, number), kind="clip", reads=stage.reads)
    request = Request(condition)
    opened = open_model_or_default(condition.model)
    if seeds is None:
        made = sample_clip(stage, opened, request, seed)
        if made is not None:
            stage.done(
                made,
                summary=f"{made.content['frames']} frames, seed {seed}",
                next_step=f"orster construct {out} -o asset/, or look at {out / 'sheet.png'}",
                values=made.content,
            )
        return
    _several(stage, opened, request, numbers)


class Request:
    """The condition of a video, as the command line names it."""

    def __init__(self, condition: ConditionOptions) -> None:
        self.text, self.image = condition.text, condition.image
        self.static_object, self.device = condition.object_, condition.device
        self._sampler: Sampler | None = None

    def check(self) -> None:
        """ConfigError: no condition, or both an image and an object; InputError: no such image."""
        from orster_cli.core.errors import ConfigError, InputError

        if self.image is not None and self.static_object is not None:
            raise ConfigError("--image and --object are both given: give one of them")
        if self.text is None and self.image is None and self.static_object is None:
            raise ConfigError(
                "no condition is given: expected a text, an image or an object",
                hint='give --text "a frog jumping", --image x.png or --object y.glb',
            )
        if self.image is not None and not self.image.is_file():
            raise InputError(f"{self.image}: no such image")

    def origins(self, stage: Stage) -> tuple[list[Parent], list[InputFile]]:
        """Parents and input files of the condition, for the manifest."""
        from orster_cli.inputs.files import input_file

        if self.image is not None:
            return [], [input_file(self.image)]
        if self.static_object is not None:
            if Path(self.static_object).is_file():
                return [], [input_file(Path(self.static_object))]
            opened = self._clip(stage)
            return opened.parents, opened.inputs
        return [], []

    def read(self, stage: Stage, model: Sampler) -> SampleRequest:
        """The condition with its files read."""
        from orster_cli.io.images import read_image
        from orster_cli.sampling.objects import render_object_orbit
        from orster_cli.sampling.sample_clips import SampleRequest, cameras_for

        if self.image is not None:
            return SampleRequest(text=self.text, image=read_image(self.image))
        if self.static_object is None:
            return SampleRequest(text=self.text)
        if Path(self.static_object).is_file():
            cameras = cameras_for(model.bundle.facts, model.cfg)
            return SampleRequest(
                text=self.text, object_orbit=render_object_orbit(Path(self.static_object), cameras)
            )
        return SampleRequest(text=self.text, object_orbit=self._clip(stage).clip)

    def sampler(self, stage: Stage, opened: OpenedModel) -> Sampler:
        """The sampler; the model is read once."""
        from orster_cli.core.devices import choose_device
        from orster_cli.sampling.sample_clips import Sampler

        if self._sampler is None:
            self._sampler = Sampler(
                opened.load().whole(str(opened.path)),
                stage.resolved.config.sample,
                device=choose_device(self.device),
                reporter=stage.out,
            )
        return self._sampler

    def _clip(self, stage: Stage):  # type: ignore[no-untyped-def]
        from orster_cli.inputs.clips import open_clip
        from orster_cli.inputs.video import OrbitFlags

        assert self.static_object is not None
        return open_clip(self.static_object, OrbitFlags(), stage.out, default_view="static")


def plan_clip(
    stage: Stage, opened: OpenedModel, request: Request, seed: int, *, announce: bool = True
) -> Draft | None:
    """The draft of one clip; None when it is up to date, or in a dry run."""
    request.check()
    parents, inputs = request.origins(stage)
    return stage.plan(
        parents=[*opened.parents, *parents],
        inputs=[*opened.inputs, *inputs],
        seeds={"noise": seed},
        extra={
            "text": request.text,
            "object": request.static_object if "#" in str(request.static_object) else "",
        },
        announce=announce,
    )


def sample_clip(
    stage: Stage, opened: OpenedModel, request: Request, seed: int, *, announce: bool = True
) -> Artifact | None:
    """Sample one clip; None when it is up to date, or in a dry run."""
    draft = plan_clip(stage, opened, request, seed, announce=announce)
    if draft is None:
        return None
    with draft:
        sampler = request.sampler(stage, opened)
        given = request.read(stage, sampler)
        made = next(sampler.sample(given, [seed]))
        return _write(stage, draft, made, sampler, given)


def _seed_folder(folder: Path, seed: int) -> Path:
    return folder / f"seed-{seed:04d}"


def _several(stage: Stage, opened: OpenedModel, request: Request, seeds: list[int]) -> None:
    """Sample a clip for each seed below the output folder, `sample.batch` at once."""
    folder = stage.out_path
    waiting: list[tuple[int, Stage, Draft]] = []
    for seed in seeds:
        one = replace(stage, out_path=_seed_folder(folder, seed))
        draft = plan_clip(one, opened, request, seed, announce=False)
        if draft is not None:
            waiting.append((seed, one, draft))
    if waiting:
        sampler = request.sampler(stage, opened)
        given = request.read(stage, sampler)
        by_seed = {seed: (one, draft) for seed, one, draft in waiting}
        for made in sampler.sample(given, list(by_seed)):
            one, draft = by_seed[made.seed]
            with draft:
                _write(one, draft, made, sampler, given)
    text = f"{len(waiting)} clips made, {len(seeds) - len(waiting)} up to date, in {folder}"
    values = {"status": "made" if waiting else "up to date", "path": str(folder)}
    stage.out.report({**values, "seeds": seeds, "made": len(waiting)}, text)


def _write(
    stage: Stage, draft: Draft, made: SampledClip, sampler: Sampler, given: SampleRequest
) -> Artifact:
    import torch

    from orster_cli.io.clip_files import CONDITION, write_clip, write_priors
    from orster_cli.io.images import contact_sheet, write_png

    clip = made.clip
    write_clip(draft.dir, clip)
    write_priors(draft.dir, made.priors)
    if given.image is not None:
        write_png(draft.dir / CONDITION, given.image)
    pick = torch.linspace(0, len(clip) - 1, min(SHEET_FRAMES, len(clip))).round().long()
    row = [clip.frames[i] for i in pick]
    write_png(draft.dir / "sheet.png", contact_sheet([row], [clip.prompt or "no text"]))
    facts = sampler.bundle.facts
    content: dict[str, Any] = {
        "frames": len(clip),
        "resolution": clip.cameras.width,
        "prompt": clip.prompt,
        "seed": made.seed,
        "model_role": facts.role,
        "priors": {name: list(tokens.shape) for name, tokens in made.priors.items()},
    }
    return draft.commit(content, warnings=stage.out.warnings[:100])


def parse_seeds(text: str) -> list[int]:
    """ "0-7" or "1,5,9", or both: at most 10,000. ConfigError."""
    from orster_cli.core.errors import ConfigError

    found: list[int] = []
    for part in text.split(","):
        low, dash, high = part.strip().partition("-")
        high = high if dash else low
        if not (low.isdecimal() and high.isdecimal()) or int(high) - int(low) not in range(10_000):
            raise ConfigError(f"--seeds: expected 0-7 or 1,5,9, got {text!r}")
        found += range(int(low), int(high) + 1)
    return list(dict.fromkeys(found))
