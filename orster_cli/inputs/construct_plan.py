"""An asset to fit, from opened clips: the static orbit or the model that samples it, then the fit.

plan = plan_construct([open_clip("dataset#frog", orbit, reporter)], config, orbit=orbit, reporter=reporter)
content = run_construct(plan, folder, scratch=scratch, device="auto", reporter=reporter)
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orster_cli.config.load import section_values
from orster_cli.core.errors import InputError
from orster_cli.core.reporting import Reporter
from orster_cli.core.stopping import StopFlag, StopsAtSteps
from orster_cli.geometry.similarity import Similarity
from orster_cli.inputs.clips import OpenedClip
from orster_cli.inputs.models import OpenedModel
from orster_cli.inputs.video import OrbitFlags

SAMPLED_ORBIT = "static-orbit.safetensors"  # in scratch

if TYPE_CHECKING:
    from torch import Tensor

    from orster_cli.artifacts.manifest import InputFile, Parent
    from orster_cli.config.schema import Config
    from orster_cli.construction.fit_asset import Constructed
    from orster_cli.core.types import OrbitClip


@dataclass(frozen=True, kw_only=True)
class ConstructPlan:
    """Everything that an asset depends on, opened but not fitted.

    `static`: the orbit of the object at time 0, `static_key` its key in a dataset; `model` samples it
    where there is none."""

    config: Config
    clips: list[OpenedClip]
    static: OrbitClip | None
    static_orbit: OpenedClip | None
    model: OpenedModel | None
    orbit: OrbitFlags

    @property
    def parents(self) -> list[Parent]:
        """The artifacts that are read."""
        return [parent for one in self._sources for parent in one.parents]

    @property
    def inputs(self) -> list[InputFile]:
        """The files that are read and belong to no artifact."""
        return [file for one in self._sources for file in one.inputs]

    @property
    def seeds(self) -> dict[str, int]:
        return {"fit": self.config.construct.seed}

    @property
    def identity(self) -> dict[str, Any]:
        """What the asset depends on besides its settings, parents and inputs, for its manifest."""
        sampled = {} if self.model is None else {"sample": section_values(self.config.sample)}
        return {
            "clips": [one.key for one in self.clips],
            "static": self.static_orbit.key if self.static_orbit else "",
            "orbit": self.orbit.value(),
            **sampled,
        }

    @property
    def _sources(self) -> list[OpenedClip | OpenedModel]:
        given = (self.static_orbit, self.model)
        return [*self.clips, *(one for one in given if one is not None)]


def plan_construct(
    clips: Sequence[OpenedClip],
    config: Config,
    *,
    static_orbit: OpenedClip | None = None,
    model: OpenedModel | None = None,
    orbit: OrbitFlags,
    reporter: Reporter,
) -> ConstructPlan:
    """The static orbit of `static_orbit` or, without one, of the first clip that brings one; `model` is
    used only where there is none. The plan's orbit is that of the first video without cameras (given as
    `orbit`, or what its pictures showed); without such a video the asset does not depend on it. Clips of
    camera files share the world of the first one."""
    clips, static_orbit = _in_one_world(clips, static_orbit, reporter)
    opened = [*clips, *([static_orbit] if static_orbit else [])]
    assumed = [one.assumed_orbit for one in opened if one.assumed_orbit is not None]
    orbit = assumed[0] if assumed else OrbitFlags()
    given = [static_orbit.clip] if static_orbit else [one.static for one in clips if one.static]
    static = given[0] if given else None
    model = model if static is None else None
    _check_alike(clips, reporter)
    if static is None and model is None:
        reporter.note(
            "no static orbit: the object's shape comes from the moving frames alone, and most steps of the "
            "static stage go to the coarse one"
        )
    return ConstructPlan(
        config=config,
        clips=list(clips),
        static=static,
        static_orbit=static_orbit,
        model=model,
        orbit=orbit,
    )


def run_construct(
    plan: ConstructPlan,
    folder: Path,
    *,
    scratch: Path,
    device: str,
    reporter: Reporter,
    stop: StopFlag | None = None,
) -> Constructed:
    """Fit the asset and write it into `folder`. `scratch`: a folder for
    checkpoints. Errors as `construct.fit_asset.construct`."""
    from orster_cli.construction.fit_asset import ConstructInput, construct
    from orster_cli.core.devices import choose_device
    from orster_cli.gltf.packing import keep_object
    from orster_cli.io.clip_files import CONDITION

    static = plan.static
    if plan.model is not None:
        stopping = reporter if stop is None else StopsAtSteps(reporter, stop)
        static = _sampled_once(plan, plan.model, scratch, device, stopping)
    if static is not None and static.alpha is None and plan.static_orbit is None:
        static = _matted(static, reporter)
    first = plan.clips[0]
    given = ConstructInput(
        clips=[clip for one in plan.clips for clip in (one.clip, *one.further)],
        static=static,
        spatial_prior=joined_prior(plan.clips, "spatial", reporter),
        temporal_prior=joined_prior(plan.clips, "temporal", reporter),
        title=first.clip.prompt or _name_of(first),
    )
    try:
        made = construct(
            given,
            plan.config.construct,
            folder=folder,
            scratch=scratch,
            device=choose_device(device),
            reporter=reporter,
            stop=stop or StopFlag(),
        )
    except InputError as error:
        raise _of_samples(error, plan.clips) from error
    if first.condition is not None:
        shutil.copyfile(first.condition, folder / CONDITION)
    keep_object(folder, first.mesh)
    content = {**made.content, "prompt": first.clip.prompt}
    if first.similarity != Similarity():
        content["similarity"] = first.similarity.value()
    return replace(made, content=content)


def _in_one_world(
    clips: Sequence[OpenedClip], static_orbit: OpenedClip | None, reporter: Reporter
) -> tuple[list[OpenedClip], OpenedClip | None]:
    """Clips of camera files with the similarity of the first of them, since one motion has one world. Says
    where clips that follow our conventions stand beside them."""
    opened = [*clips, *([static_orbit] if static_orbit else [])]
    foreign = [one for one in opened if one.foreign]
    if len({one.similarity for one in foreign}) == 0:
        return list(clips), static_orbit
    shared = foreign[0].similarity
    if len(foreign) < len(opened) and shared != Similarity():
        reporter.warn(
            "clips with cameras of another scale or centre stand beside clips that follow our conventions: "
            "they are taken to show one object, at the origin, 1 long"
        )

    def moved(one: OpenedClip) -> OpenedClip:
        if not one.foreign or one.similarity == shared:
            return one
        theirs = one.similarity.inverse().cameras(one.clip.cameras)
        clip = replace(one.clip, cameras=shared.cameras(theirs))
        return replace(one, clip=clip, similarity=shared)

    return [moved(one) for one in clips], None if static_orbit is None else moved(static_orbit)


def joined_prior(clips: Sequence[OpenedClip], name: str, reporter: Reporter) -> Tensor | None:
    """The tokens [M,P] of the prior `name` of all `clips` that have it, pooled where there are more than
    the field takes; None: no clip has it. Clips of another model, whose tokens differ in width from the
    first ones, are left out with a warning."""
    import torch

    from orster_cli.splatting.st_hexplane import MAX_TOKENS, pool_tokens

    found = [one.priors[name] for one in clips if name in one.priors]
    if not found:
        return None
    alike = [tokens for tokens in found if tokens.shape[1] == found[0].shape[1]]
    if len(alike) < len(found):
        left_out = len(found) - len(alike)
        reporter.warn(
            f"{name} prior: {left_out} of {len(found)} clips are of another model; not used"
        )
    share = MAX_TOKENS // len(alike)  # pooled one by one: neighbouring tokens are of one clip
    if share < 1:
        alike, share = alike[:MAX_TOKENS], 1
    if sum(len(tokens) for tokens in alike) > MAX_TOKENS:
        alike = [pool_tokens(tokens, share) for tokens in alike]
    return torch.cat(alike)


def _check_alike(clips: Sequence[OpenedClip], reporter: Reporter) -> None:
    """InputError: the clips differ in size. Says what several lengths are taken for."""
    sizes = {
        (clip.cameras.width, clip.cameras.height): _name_of(one)
        for one in clips
        for clip in (one.clip, *one.further)
    }
    if len(sizes) > 1:
        shown = ", ".join(f"{name} has {w}x{h}" for (w, h), name in sizes.items())
        raise InputError(f"the clips differ in size: {shown} pixels", hint="use clips of one size")
    lengths = list(dict.fromkeys(len(c) for one in clips for c in (one.clip, *one.further)))
    if len(lengths) > 1:
        shown = " and ".join(map(str, lengths))
        reporter.note(f"clips of {shown} frames: each is taken to last the whole motion")


def _name_of(one: OpenedClip) -> str:
    names = [parent.name for parent in one.parents] + [file.name for file in one.inputs]
    return f"{names[0] if names else 'a clip'}{'#' if one.key else ''}{one.key}"


def _of_samples(error: InputError, clips: Sequence[OpenedClip]) -> InputError:
    """`error`; where sampled frames show no object on a plain background, with a hint to the model."""
    folders = [one.sampled for one in clips if one.sampled is not None]
    if not folders or not error.code.startswith("E-MATTE"):
        return error
    return InputError(
        f"{error}; a model sampled these frames",
        hint=f"look at {folders[0] / 'sheet.png'}: a model that is trained longer, another seed or another "
        "text gives an object on a plain background",
        code=error.code,
    )


def _sampled_once(
    plan: ConstructPlan, model: OpenedModel, scratch: Path, device: str, reporter: Reporter
) -> OrbitClip:
    """`_sampled_orbit`, kept in `scratch`: a run that is resumed does not sample it again."""
    import torch

    from orster_cli.core.types import Cameras, OrbitClip
    from orster_cli.io.tensors import read_tensors, write_tensors

    path, cameras = scratch / SAMPLED_ORBIT, plan.clips[0].clip.cameras
    if path.is_file():
        kept = read_tensors(path)
        height, width = kept["frames"].shape[-2:]
        return OrbitClip(
            frames=kept["frames"],
            alpha=kept.get("alpha"),
            cameras=Cameras(K=kept["K"], w2c=kept["w2c"], width=width, height=height),
            times=torch.zeros(len(cameras)),
            prompt=plan.clips[0].clip.prompt,
        )
    made = _sampled_orbit(plan, model, device, reporter)
    tensors = {"frames": made.frames, "K": made.cameras.K, "w2c": made.cameras.w2c}
    if made.alpha is not None:
        tensors["alpha"] = made.alpha
    scratch.mkdir(parents=True, exist_ok=True)
    write_tensors(path, tensors)
    return made


def _sampled_orbit(
    plan: ConstructPlan, model: OpenedModel, device: str, reporter: Reporter
) -> OrbitClip:
    """The object of the first clip at rest, sampled from its first frame."""
    from orster_cli.core.devices import choose_device
    from orster_cli.sampling.sample_clips import Sampler
    from orster_cli.sampling.static_orbit import sample_static_orbit

    reporter.info("sampling the static orbit from the first frame")
    sampler = Sampler(
        model.load_whole(), plan.config.sample, device=choose_device(device), reporter=reporter
    )
    return sample_static_orbit(sampler, plan.clips[0].clip, seed=plan.config.construct.seed)


def _matted(static: OrbitClip, reporter: Reporter) -> OrbitClip | None:
    """A sampled static orbit with alpha; None, with a warning, where the samples do not show an object on a
    plain background."""
    from orster_cli.io.matting import matte

    try:
        found = matte(static.frames, where="sampled static orbit")
    except InputError as error:
        reporter.warn(f"{error}; going on without it")
        return None
    return replace(static, frames=found.frames, alpha=found.alpha)
