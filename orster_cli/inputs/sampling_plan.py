"""Clips to sample, from the names of their inputs: opens the model and the condition.

plan = plan_sampling(open_model("mini"), text="a frog jumping", reporter=reporter)
sampler = plan.sampler(SampleConfig(), device="auto", reporter=reporter)
sampled = next(sampler.sample(plan.condition(sampler), [seed]))
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orster_cli.core.errors import ConfigError, InputError
from orster_cli.core.names import printable
from orster_cli.core.reporting import Reporter
from orster_cli.inputs.clips import OpenedClip, open_clip
from orster_cli.inputs.files import input_file
from orster_cli.inputs.models import OpenedModel, check_samples
from orster_cli.inputs.objects import object_files
from orster_cli.inputs.prompts import check_prompt
from orster_cli.inputs.starts import OpenedStart, open_start, warn_of_own_cameras

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orster_cli.artifacts.manifest import InputFile, Parent
    from orster_cli.config.sample import SampleConfig
    from orster_cli.core.types import Cameras
    from orster_cli.sampling.moving import Moving
    from orster_cli.sampling.sample_clips import Sampler, SampleRequest
    from orster_cli.sampling.shown import Shown

NO_TEXT = (
    'no text is given: what the object does is left to the model (--text "walking" asks for it)'
)
NOTABLE = 0.1  # world units by which cameras are moved, from which on it is said
LIFT = "lift"  # folder of a model that makes objects of images
FIT_PIXELS = 256  # of the given object's own pictures, from which its Gaussians are fitted


@dataclass(frozen=True, kw_only=True)
class SamplingPlan:
    """Everything that a sampled clip depends on besides settings and seed, opened but not sampled.

    `static_object`: a mesh or PLY file, or the orbit of a static object; `object_name`: its
    ``dataset#key``, "" elsewhere; `start`: what sampling begins from, None: noise; `anyway`: also where the
    condition means nothing to the model."""

    model: OpenedModel
    text: str | None
    image: Path | None
    static_object: Path | OpenedClip | None
    object_name: str
    start: OpenedStart | None = None
    anyway: bool = False

    @property
    def mesh(self) -> Path | None:
        """The file of the object, where it is one."""
        given = self.static_object
        return given.mesh if isinstance(given, OpenedClip) else given

    @property
    def parents(self) -> list[Parent]:
        """The artifacts that are read."""
        given = self.static_object
        found = given.parents if isinstance(given, OpenedClip) else []
        return [*self.model.parents, *found, *(self.start.parents if self.start else [])]

    @property
    def inputs(self) -> list[InputFile]:
        """The files that are read and belong to no artifact."""
        given = self.static_object
        files = [input_file(self.image)] if self.image is not None else []
        files += object_files(given) if isinstance(given, Path) else []
        files += given.inputs if isinstance(given, OpenedClip) else []
        files += self.start.inputs if self.start else []
        return [*self.model.inputs, *files]

    @property
    def identity(self) -> dict[str, Any]:
        """What the clip depends on besides settings, seed, parents and inputs, for its manifest."""
        start = {} if self.start is None else {"start": self.start.key}
        return {"text": self.text, "object": self.object_name, **start}

    def sampler(self, cfg: SampleConfig, *, device: str, reporter: Reporter) -> Sampler:
        """The model, loaded on `device`."""
        from orster_cli.core.devices import choose_device
        from orster_cli.sampling.sample_clips import Sampler

        bundle = self.model.load_whole()
        if cfg.frames not in (0, bundle.facts.frames):
            reporter.warn(
                f"{cfg.frames} frames are asked for, the model was trained on clips of "
                f"{bundle.facts.frames}: the motion may fall apart"
            )
        return Sampler(bundle, cfg, device=choose_device(device), reporter=reporter)

    def condition(self, sampler: Sampler, seed: int = 0) -> SampleRequest:
        """The text, image or static object, read; warns of what is unlike all that the model was trained
        on. Of several objects that the text may mean, `seed` chooses one. InputError: it cannot be read, or
        shows nothing."""
        from orster_cli.inputs.unlike import warn_unlike

        request = self._request(sampler, seed)
        warn_unlike(
            request,
            sampler,
            image=self.image,
            # an object that the model makes of a text is not given
            given=request.object_orbit is not None and not self._regresses(sampler),
            made=self._regresses(sampler),
            anyway=self.anyway,
        )
        return request

    def _request(self, sampler: Sampler, seed: int) -> SampleRequest:
        from orster_cli.sampling.sample_clips import cameras_for

        cameras = cameras_for(sampler.bundle.facts, sampler.cfg)
        if self.start is None:
            return self._asked(sampler, cameras, seed)
        if self.start.clip is not None:
            warn_of_own_cameras(sampler.cfg, sampler.reporter)
        cameras = self.start.cameras(cameras)
        request = self._asked(sampler, cameras, seed)
        if sampler.goes_through_rest(request):
            # the object at rest is known, or not at all: it is not sampled, which would give another one
            rest = self.start.at_rest(cameras)
            if rest is None:
                sampler.reporter.warn(
                    "the clip to start from has no static orbit: its object at rest is not known to the "
                    "model, which moves one best; --object gives it"
                )
                request = replace(request, through_rest=False)
            else:
                request = replace(request, image=None, object_orbit=rest)
        begin = self.start.orbit(cameras if request.sees is None else request.sees)
        return replace(request, start=begin, strength=sampler.cfg.strength)

    def _asked(self, sampler: Sampler, cameras: Cameras, seed: int) -> SampleRequest:
        """The condition, without what sampling starts from."""
        from orster_cli.io.images import read_image
        from orster_cli.sampling.lifted import lift
        from orster_cli.sampling.objects import open_object
        from orster_cli.sampling.rest_orbits import regressed_object
        from orster_cli.sampling.sample_clips import SampleRequest
        from orster_cli.sampling.shown import Shown

        side = max(FIT_PIXELS, cameras.width)
        if isinstance(self.static_object, Path):
            given = open_object(self.static_object, up=sampler.cfg.up, reporter=sampler.reporter)
            moving = self._moving(sampler, given)
            return self._shown(sampler, cameras, given, side, moving=moving)
        if self.static_object is not None:
            orbit = self.static_object.clip
            moving = self._moving(sampler, Shown.of_orbit(orbit, self.object_name or "the object"))
            course = None if moving is None else moving.along(cameras)
            return SampleRequest(text=self.text, object_orbit=orbit, course=course)
        if self._regresses(sampler):
            phrase, start = self._subject(sampler, seed)
            made = regressed_object(sampler.bundle, cameras, phrase)
            moving = self._moving(sampler, made, start)
            return self._shown(sampler, cameras, made, cameras.width, moving=moving)
        image = None if self.image is None else read_image(self.image)
        net = sampler.bundle.lift
        if image is None or net is None or not self._makes(sampler):
            return SampleRequest(text=self.text, image=image)
        assert self.image is not None
        lifted = lift(net, image, cameras, where=self.image.name)
        sees = None if lifted.seen is None else lifted.seen.cameras(cameras)
        moving = self._moving(
            sampler, lifted.shown, nearly=math.inf
        )  # first as the picture shows it
        request = self._shown(sampler, cameras, lifted.shown, side, sees, moving)
        return replace(request, picture=image, glb=lifted.glb)

    def _shown(
        self,
        sampler: Sampler,
        cameras: Cameras,
        shown: Shown,
        side: int,
        sees: Cameras | None = None,
        moving: Moving | None = None,
    ) -> SampleRequest:
        """The request of what is `shown`, in the model's pixels and in `side` pixels, which goes on as it
        is `moving`. Where no cameras `sees` are given, the object stands where that has room, or the text's
        words (`Sampler.framing_of`)."""
        import torch

        from orster_cli.geometry.orbit import orbit_of
        from orster_cli.sampling.objects import framed
        from orster_cli.sampling.sample_clips import SampleRequest

        if sees is None:
            sees = cameras
            if self.start is None or self.start.clip is None:
                room = moving and moving.framing(orbit_of(cameras)[0])
                sees = framed(shown, cameras, sampler.framing_of(self.text, room))
            if not torch.allclose(sees.positions, cameras.positions, atol=NOTABLE):
                sampler.reporter.note(
                    "the object is shown with room for what the text's words do (sample.framing)"
                )
        return SampleRequest(
            text=self.text,
            object_orbit=shown(sees),
            object_views=shown(sees.resized(side, side)),
            sees=None if sees is cameras else sees,
            course=None if moving is None else moving.along(sees),
        )

    def _regresses(self, sampler: Sampler) -> bool:
        """Whether the object at rest is made of the text alone, by the model's regressor."""
        made_of_text = self.image is None and self.static_object is None and self.text is not None
        return made_of_text and sampler.bundle.rest is not None and self._makes(sampler)

    def _moving(
        self, sampler: Sampler, shown: Shown, start: int | None = None, **more: float
    ) -> Moving | None:
        """The object that is `shown` on its way through the action of the number `start`, or one that the
        model knows and the text says (`moving_as_said`); None: sampling begins otherwise."""
        from orster_cli.sampling.known_actions import moving_as_said

        if self.text is None or not self._follows(sampler):
            return None
        return moving_as_said(sampler.bundle, self.text, shown, sampler.reporter, start, **more)

    def _follows(self, sampler: Sampler) -> bool:
        """Whether sampling begins with how a known action goes, if it is one."""
        cfg = sampler.cfg
        known = sampler.bundle.course is not None and self.start is None
        return known and cfg.motion is None and cfg.course < 1

    def _makes(self, sampler: Sampler) -> bool:
        """Whether an object at rest may be made in one pass, and then be moved."""
        return self.start is None and sampler.cfg.through_rest != "off"

    def alike(self, sampler: Sampler, seeds: Sequence[int]) -> list[list[int]]:
        """`seeds` that have one condition together."""
        count = len(self._subjects(sampler)) if self._regresses(sampler) else 1
        groups: dict[int, list[int]] = {}
        for seed in seeds:
            groups.setdefault(seed % max(count, 1), []).append(seed)
        return list(groups.values())

    def _subjects(self, sampler: Sampler) -> list[tuple[str, int | None]]:
        """The subjects that the text may mean, as the regressor knows them, and `RestConfig.start_of` each:
        of several those that it knows to do what the text says, if any."""
        from orster_cli.diffusion.subjects import subject_of

        assert sampler.bundle.rest is not None
        config, text = sampler.bundle.rest.config, self.text or ""
        found = subject_of(text, config.subjects)
        phrases = [] if found is None else [found.phrase, *found.others]
        every = [(phrase, config.start_of(text, phrase)) for phrase in phrases]
        return [one for one in every if one[1] is not None] or every

    def _subject(self, sampler: Sampler, seed: int) -> tuple[str, int | None]:
        """What the regressor is told to make: one of `_subjects`, or the text where it names none."""
        from orster_cli.diffusion.known_texts import listed
        from orster_cli.inputs.unlike import MOST_ACTIONS

        every = self._subjects(sampler)
        if not every:
            return self.text or "", None
        assert sampler.bundle.rest is not None
        config = sampler.bundle.rest.config
        phrase, start = every[seed % len(every)]
        known, doing = config.actions_of(phrase), ""
        if start is not None:
            doing = f", {config.starts[start].phrases[0]}"
        elif known:
            doing = f"; of such objects it knows {listed(known, MOST_ACTIONS)}"
        several = f", one of {len(every)} that the text may mean (--seed)"
        sampler.reporter.info(f"the object is {phrase}{several if len(every) > 1 else ''}{doing}")
        return phrase, start


def plan_sampling(
    model: OpenedModel,
    *,
    text: str | None = None,
    image: Path | None = None,
    static_object: str | OpenedClip | None = None,
    object_name: str = "",
    start: str | None = None,
    anyway: bool = False,
    reporter: Reporter,
) -> SamplingPlan:
    """The condition found; `static_object`: a .glb, .gltf or .ply file, or any form that `open_clip`
    takes; `start`: as for `open_start`. ConfigError: no condition, or an image and an object at once;
    InputError: no such file, a model that samples nothing or, unless `anyway`, a text of which the model
    knows no word or a blank image."""
    if image is not None and static_object is not None:
        raise ConfigError("an image and an object are both given: give one of them")
    if text is None and image is None and static_object is None and start is None:
        raise ConfigError(
            "no condition is given: expected a text, an image or an object",
            hint='give a text ("a frog jumping"), an image (x.png) or an object (y.glb)',
        )
    check_samples(model, reporter)
    lifts = image is not None and (model.path / LIFT).is_dir()
    if text is None and (static_object is not None or lifts):
        reporter.note(NO_TEXT)
    if text is not None:
        pictured = image is not None or static_object is not None
        begun = start is not None
        check_prompt(text, model.path, anyway=anyway, with_picture=pictured, with_start=begun)
    if image is not None:
        from orster_cli.inputs.pictures import check_image_file

        check_image_file(image, reporter, anyway=anyway)
    found: Path | OpenedClip | None = None
    if isinstance(static_object, OpenedClip):
        found = static_object
    elif static_object is not None and Path(static_object).is_file():
        found = Path(static_object)
    elif static_object is not None:
        from orster_cli.inputs.video import OrbitFlags

        if "#" not in static_object and not Path(static_object).exists():
            raise InputError(
                f"{printable(static_object)}: no such object",
                hint="give a .glb, .gltf or .ply file, a clip/ or dataset#key",
            )

        found = open_clip(static_object, OrbitFlags(), reporter, default_view="static")
        object_name = static_object
    return SamplingPlan(
        model=model,
        text=text,
        image=image,
        static_object=found,
        object_name=object_name if "#" in object_name else "",
        start=None if start is None else open_start(start, reporter),
        anyway=anyway,
    )
