"""What `sample-video` and `generate` sample: one clip, or one for each of several seeds or texts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orster_cli.artifacts.store import Artifact, Draft
    from orster_cli.commands.condition_options import ConditionOptions
    from orster_cli.commands.stage import Planned, Stage
    from orster_cli.inputs.models import OpenedModel
    from orster_cli.inputs.sampling_plan import SamplingPlan
    from orster_cli.sampling.sample_clips import SampledClip, Sampler, SampleRequest


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
        from orster_cli.inputs.sampling_request import Requests

        sampler = sampling.sampler(stage)
        condition = Requests(sampling.plan, sampler).condition(seed)
        made = next(sampler.sample(condition, [seed]))
        return _write(stage, draft, made, sampler, condition, sampling.plan.mesh)


def seed_folder(folder: Path, seed: int) -> Path:
    return folder / f"seed-{seed:04d}"


def sample_seeds(stage: Stage, sampling: Sampling, seeds: list[int]) -> None:
    """A clip for each seed below the output folder, several at once where the settings say so."""
    folder = stage.out_path
    waiting: list[tuple[int, Stage, Draft]] = []
    plans: list[Planned] = []
    for seed in seeds:
        one = replace(stage, out_path=seed_folder(folder, seed))
        draft = sampling.draft(one, seed, announce=False, plans=plans)
        if draft is not None:
            waiting.append((seed, one, draft))
    if plans:
        _say_plans(stage, plans, len(seeds))
        return
    if waiting:
        from orster_cli.inputs.sampling_request import Requests

        sampler = sampling.sampler(stage)
        by_seed = {seed: (one, draft) for seed, one, draft in waiting}
        same, known = 0, False
        for condition, alike in Requests(sampling.plan, sampler).conditions(list(by_seed)):
            if condition.course is not None:
                same, known = same + len(alike) - 1, sampler.stays_as_known(condition)
            for made in sampler.sample(condition, alike):
                one, draft = by_seed[made.seed]
                with draft:
                    _write(one, draft, made, sampler, condition, sampling.plan.mesh)
        if same:
            how = "are the same as" if known else "begin as"
            stage.out.note(
                f"{same} of {len(by_seed)} clips {how} another one: the action is known in no other way "
                "(sample.course=1 samples each from noise alone)"
            )
    text = f"{len(waiting)} clips made, {len(seeds) - len(waiting)} up to date, in {folder}"
    values = {"status": "made" if waiting else "up to date", "path": str(folder)}
    stage.out.report({**values, "seeds": seeds, "made": len(waiting)}, text)


def sample_texts(
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
