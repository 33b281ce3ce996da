"""`orster sample-video`: a text, an image or a static object to an orbital clip."""

from __future__ import annotations

import shlex
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orster_cli.commands.condition_options import ConditionOptions, OptionalOut
from orster_cli.ui.options import SETTINGS, TemplateRun, command

if TYPE_CHECKING:
    from orster_cli.artifacts.store import Artifact, Draft
    from orster_cli.commands.stage import Planned, Stage
    from orster_cli.inputs.models import OpenedModel
    from orster_cli.inputs.sampling_plan import SamplingPlan
    from orster_cli.sampling.sample_clips import SampledClip, Sampler, SampleRequest

ALIKE = 0.5  # share of the steps below which clips that begin with one course are much alike


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
        _texts(stage, condition, open_model_or_default(model), listed, start)
        return
    numbers = [] if seeds is None else parse_seeds(seeds)
    for number in numbers:
        check_output(_seed_folder(out, number), kind="clip", reads=stage.reads)
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
    _several(stage, sampling, numbers)


@dataclass
class Sampling:
    """What the command samples; the model is loaded when the first clip needs it."""

    plan: SamplingPlan
    device: str
    _sampler: Sampler | None = None

    @classmethod
    def of(
        cls,
        given: ConditionOptions,
        model: OpenedModel,
        stage: Stage,
        *,
        start: str | None = None,
    ) -> Sampling:
        """The condition of a command line, and what to `start` from. ConfigError, InputError: none, or none
        that can be opened."""
        from orster_cli.inputs.sampling_plan import plan_sampling

        plan = plan_sampling(
            model,
            text=given.text,
            image=given.image,
            static_object=given.object_,
            start=start,
            anyway=given.anyway,
            reporter=stage.out,
        )
        return cls(plan, given.device)

    def sampler(self, stage: Stage) -> Sampler:
        """The model, loaded once; it stops between two steps, and leaves the clips that it finished."""
        from orster_cli.core.stopping import StopsAtSteps

        if self._sampler is None:
            cfg, reporter = stage.resolved.config.sample, StopsAtSteps(stage.out, stage.stop)
            self._sampler = self.plan.sampler(cfg, device=self.device, reporter=reporter)
        return self._sampler

    def draft(
        self,
        stage: Stage,
        seed: int,
        *,
        announce: bool = True,
        plans: list[Planned] | None = None,
    ) -> Draft | None:
        """The draft of one clip; None when there is nothing to do. `plans`: as for `Stage.plan`."""
        return stage.plan(
            parents=self.plan.parents,
            inputs=self.plan.inputs,
            seeds={"noise": seed},
            extra=self.plan.identity,
            announce=announce,
            plans=plans,
        )


def sample_clip(
    stage: Stage,
    sampling: Sampling,
    seed: int,
    *,
    announce: bool = True,
    plans: list[Planned] | None = None,
) -> Artifact | None:
    """Make one clip; None when there was nothing to do. `plans`: as for `Stage.plan`."""
    draft = sampling.draft(stage, seed, announce=announce, plans=plans)
    if draft is None:
        return None
    with draft:
        sampler = sampling.sampler(stage)
        condition = sampling.plan.condition(sampler, seed)
        made = next(sampler.sample(condition, [seed]))
        return _write(stage, draft, made, sampler, condition, sampling.plan.mesh)


def _seed_folder(folder: Path, seed: int) -> Path:
    return folder / f"seed-{seed:04d}"


def _several(stage: Stage, sampling: Sampling, seeds: list[int]) -> None:
    """A clip for each seed below the output folder, several at once where the settings say so."""
    folder = stage.out_path
    waiting: list[tuple[int, Stage, Draft]] = []
    plans: list[Planned] = []
    for seed in seeds:
        one = replace(stage, out_path=_seed_folder(folder, seed))
        draft = sampling.draft(one, seed, announce=False, plans=plans)
        if draft is not None:
            waiting.append((seed, one, draft))
    if plans:
        _say_plans(stage, plans, len(seeds))
        return
    if waiting:
        sampler = sampling.sampler(stage)
        by_seed = {seed: (one, draft) for seed, one, draft in waiting}
        for alike in sampling.plan.alike(sampler, list(by_seed)):
            condition = sampling.plan.condition(sampler, alike[0])
            if condition.course and len(alike) > 1 and sampler.cfg.course < ALIKE:
                stage.out.note(
                    "clips that begin with the course of one known action are much alike: "
                    "sample.course=1 samples each from noise alone"
                )
            for made in sampler.sample(condition, alike):
                one, draft = by_seed[made.seed]
                with draft:
                    _write(one, draft, made, sampler, condition, sampling.plan.mesh)
    text = f"{len(waiting)} clips made, {len(seeds) - len(waiting)} up to date, in {folder}"
    values = {"status": "made" if waiting else "up to date", "path": str(folder)}
    stage.out.report({**values, "seeds": seeds, "made": len(waiting)}, text)


def _texts(
    stage: Stage,
    condition: ConditionOptions,
    model: OpenedModel,
    texts: list[str],
    start: str | None,
) -> None:
    """A clip of each text below the output folder; all texts are checked before the first is sampled, and
    the model is loaded once."""
    from orster_cli.artifacts.outputs import check_output
    from orster_cli.inputs.prompts import folders_of

    stages = [replace(stage, out_path=stage.out_path / name) for name in folders_of(texts)]
    for one in stages:
        check_output(one.out_path, kind="clip", reads=stage.reads)
    given = [replace(condition, text=text) for text in texts]
    every = [Sampling.of(one, model, stage, start=start) for one in given]
    made = 0
    plans: list[Planned] = []
    for number, (one, sampling) in enumerate(zip(stages, every, strict=True)):
        if number:
            sampling._sampler = every[
                number - 1
            ]._sampler  # loaded once, at the first that needs it
        clip = sample_clip(one, sampling, condition.seed, announce=False, plans=plans)
        made += clip is not None
    if plans:
        _say_plans(stage, plans, len(texts))
        return
    values = {"status": "made" if made else "up to date", "path": str(stage.out_path)}
    text = f"{made} clips made, {len(texts) - made} up to date, in {stage.out_path}"
    stage.out.report({**values, "made": made, "clips": [str(one.out_path) for one in stages]}, text)


def _say_plans(stage: Stage, plans: list[Planned], asked: int) -> None:
    """What a dry run would make of the `asked` clips, as one result."""
    done = asked - len(plans)
    values = {"status": "dry run", "path": str(stage.out_path), "up_to_date": done}
    text = f"{len(plans)} clips would be made, {done} are up to date, in {stage.out_path}"
    parts = [*(plan.lines for plan in plans), plans[0].settings, text]
    stage.out.result({**values, "clips": [plan.values for plan in plans]}, "\n\n".join(parts))


def _write(
    stage: Stage,
    draft: Draft,
    made: SampledClip,
    sampler: Sampler,
    condition: SampleRequest,
    mesh: Path | None,
) -> Artifact:
    from orster_cli.sampling.sampled_clip import write_sampled

    content = write_sampled(draft.dir, made, sampler.bundle.facts, request=condition, mesh=mesh)
    return draft.commit(content, warnings=stage.out.warnings[:100])
