"""What a `SamplingPlan` asks a model for: its text, image or object, opened, and shown to the cameras of a
clip.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from orster_cli.core.frames import squared
from orster_cli.core.types import Cameras, OrbitClip
from orster_cli.diffusion.known_texts import listed
from orster_cli.diffusion.subjects import left_out_of, subject_of
from orster_cli.geometry.orbit import orbit_of
from orster_cli.geometry.similarity import Similarity
from orster_cli.inputs.clips import OpenedClip
from orster_cli.inputs.sampling_plan import SamplingPlan
from orster_cli.inputs.starts import warn_of_own_cameras
from orster_cli.inputs.unlike import MOST_ACTIONS, warn_unlike
from orster_cli.io.clip_files import check_size
from orster_cli.io.images import read_image
from orster_cli.sampling.known_actions import (
    NEARLY,
    UNLIKE,
    moving_as_said,
    shape_of_subject,
)
from orster_cli.sampling.lifted import lift
from orster_cli.sampling.moving import KnownShape, Moving
from orster_cli.sampling.objects import open_object, room, seen_whole
from orster_cli.sampling.rest_surface import as_file, regressed_object
from orster_cli.sampling.sample_clips import Sampler, SampleRequest, cameras_for
from orster_cli.sampling.shown import Shown

MOST_OTHERS = 4  # objects that a text may mean as well, which are listed
NOTABLE = 0.1  # world units by which cameras are moved, from which on it is said


@dataclass(frozen=True)
class Requests:
    """Of a `plan`, to a `sampler`, by seeds."""

    plan: SamplingPlan
    sampler: Sampler

    def condition(self, seed: int = 0) -> SampleRequest:
        """The text, image or static object, read; warns of what is unlike all that the model was trained
        on. Of several objects that the text may mean, and of several known ways to do what it says, `seed`
        chooses one. InputError: it cannot be read, or shows nothing."""
        request = self._request(seed)
        frames, trained = self.sampler.cfg.frames, self.sampler.bundle.facts.frames
        if frames not in (0, trained) and not self.sampler.stays_as_known(request):
            self.sampler.reporter.warn(
                f"{frames} frames are asked for, the model was trained on clips of {trained}: the motion "
                "may fall apart"
            )
        warn_unlike(
            request,
            self.sampler,
            image=self.plan.image,
            # an object that the model makes of a text is not given
            given=request.object_orbit is not None and not self._regresses,
            made=self._regresses,
            anyway=self.plan.anyway,
        )
        return request

    def conditions(self, seeds: Sequence[int]) -> Iterator[tuple[SampleRequest, list[int]]]:
        """The condition of each of `seeds`, those together that have one."""
        groups: dict[int, list[int]] = {}
        for seed in seeds:
            groups.setdefault(seed % self._objects, []).append(seed)
        for group in groups.values():
            first = self.condition(group[0])
            ways: dict[int, list[int]] = {}
            for seed in group:
                ways.setdefault(seed // self._objects % first.ways, []).append(seed)
            for number, some in enumerate(ways.values()):
                yield (self.condition(some[0]) if number else first), some

    def _request(self, seed: int) -> SampleRequest:
        sampler, begin = self.sampler, self.plan.start
        cameras = cameras_for(sampler.bundle.facts, sampler.cfg)
        if begin is None:
            return self._asked(cameras, seed)
        if begin.clip is not None:
            warn_of_own_cameras(sampler.cfg, sampler.reporter)
        cameras = begin.cameras(cameras)
        request = self._asked(cameras, seed)
        if sampler.goes_through_rest(request):
            # the object at rest is known, or not at all: it is not sampled, which would give another one
            rest = begin.at_rest(cameras)
            if rest is None:
                sampler.reporter.warn(
                    "the clip to start from has no static orbit: its object at rest is not known to the "
                    "model, which moves one best; --object gives it"
                )
                request = replace(request, through_rest=False)
            else:
                request = replace(request, image=None, object_orbit=rest)
        orbit = begin.orbit(cameras if request.sees is None else request.sees)
        return replace(request, start=orbit, strength=sampler.cfg.strength)

    def _asked(self, cameras: Cameras, seed: int) -> SampleRequest:
        """The condition, without what sampling starts from."""
        plan, sampler = self.plan, self.sampler
        if plan.mesh is not None:
            given = open_object(plan.mesh, up=sampler.cfg.up, reporter=sampler.reporter)
            return self.of_shown(given, cameras, seed)
        if isinstance(plan.static_object, OpenedClip):
            still = plan.static_object.static
            orbit = squared(plan.static_object.clip if still is None else still)
            given = Shown.of_orbit(orbit, plan.object_name or "the object")
            moving = self._moving(given, seed)
            if moving is None:
                return SampleRequest(text=plan.text, object_orbit=orbit)
            # with room for what it does, which the pictures that are given have not
            request = self._shown(cameras, given.from_its_surface(), moving)
            return replace(request, object_views=orbit)
        if self._regresses:
            phrase, start = self._subject(seed)
            made = regressed_object(sampler.bundle, phrase)
            known = shape_of_subject(sampler.bundle, phrase)
            moving = self._moving(made, seed // self._objects, start, known=known)
            return replace(self._shown(cameras, made, moving), glb=as_file(made.mesh()))
        image = None if plan.image is None else read_image(plan.image)
        net = sampler.bundle.lift
        if plan.image is None or image is None or net is None or not self._makes:
            return SampleRequest(text=plan.text, image=image)
        lifted = lift(net, image, cameras, where=plan.image.name, reporter=sampler.reporter)
        # first as the picture shows it
        moving = self._moving(lifted.shown, seed, nearly=math.inf, most=UNLIKE)
        request = self._shown(cameras, lifted.shown, moving, lifted.seen)
        return replace(request, picture=image, glb=lifted.glb)

    def of_shown(self, given: Shown, cameras: Cameras, seed: int = 0) -> SampleRequest:
        """Of an object that is `given`, from the usual `cameras` of a clip."""
        return self._shown(cameras, given, self._moving(given, seed))

    def _shown(
        self,
        cameras: Cameras,
        shown: Shown,
        moving: Moving | None = None,
        seen: Similarity | None = None,
    ) -> SampleRequest:
        """The request of what is `shown`, which goes on as it is `moving`. `seen` brings the usual cameras
        to where it is seen from; None: it stands where its motion has room, or the text's words
        (`Sampler.framing_of`)."""
        cfg, facts = self.sampler.cfg, self.sampler.bundle.facts
        side = max(cfg.pixels, cameras.width)
        if seen is None:
            seen = self._place(cameras, shown, moving)
        sees = seen.cameras(cameras)
        check_size(len(cameras), side, side, "sample.pixels and frames")
        courses: list[OrbitClip] = []
        orbits = cfg.orbits if cfg.course == 0 else 1
        for number in range(orbits) if moving is not None else ():
            ahead = cfg.azimuth_start + 360 * number / orbits
            around = cameras_for(facts, replace(cfg, azimuth_start=ahead))
            courses.append(moving.along(seen.cameras(around).resized(side, side)))
        return SampleRequest(
            text=self.plan.text,
            object_orbit=shown(sees),
            object_views=shown(sees.resized(side, side)),
            sees=None if seen == Similarity() else sees,
            course=courses[0] if courses else None,
            ways=1 if moving is None else moving.ways,
            further=tuple(replace(one, course=None) for one in courses[1:]),  # that of the first
        )

    def _place(self, cameras: Cameras, shown: Shown, moving: Moving | None) -> Similarity:
        """What brings the usual `cameras` to where what is `shown` is seen whole and has room."""
        seen, reporter = Similarity(), self.sampler.reporter
        if self.plan.start is not None and self.plan.start.clip is not None:
            return seen
        elevation = orbit_of(cameras)[0]
        wanted = moving and moving.framing(elevation)
        seen = room(shown, cameras, self.sampler.framing_of(self.plan.text, wanted))
        if seen == Similarity() and elevation != 0:
            seen = seen_whole(shown, cameras)
            if seen != Similarity():
                reporter.note(
                    f"the object is shown from {seen.scale:.2g} times as far: from this elevation more of "
                    "it is seen"
                )
        elif not torch.allclose(seen.cameras(cameras).positions, cameras.positions, atol=NOTABLE):
            reporter.note(
                "the object is shown with room for what the text's words do (sample.framing)"
            )
        return seen

    @property
    def _regresses(self) -> bool:
        """Whether the object at rest is made of the text alone, by the model's regressor."""
        plan = self.plan
        of_text = plan.image is None and plan.static_object is None and plan.text is not None
        return of_text and self.sampler.bundle.rest is not None and self._makes

    @property
    def _objects(self) -> int:
        """How many objects the text may mean, of which the seed chooses one."""
        return max(len(self._subjects()), 1) if self._regresses else 1

    def _moving(
        self,
        shown: Shown,
        seed: int,
        start: int | None = None,
        *,
        nearly: float = NEARLY,
        known: KnownShape | None = None,
        most: float = math.inf,
    ) -> Moving | None:
        """The object that is `shown`, or the `known` one, on its way through the action of the number
        `start`, or one that the model knows and the text says (`moving_as_said`); None: sampling begins
        otherwise."""
        if self.plan.text is None or not self._follows:
            return None
        return moving_as_said(
            self.sampler.bundle,
            self.plan.text,
            shown,
            self.sampler.reporter,
            start,
            seed=seed,
            nearly=nearly,
            known=known,
            most=most,
        )

    @property
    def _follows(self) -> bool:
        """Whether sampling begins with how a known action goes, if it is one."""
        cfg = self.sampler.cfg
        known = self.sampler.bundle.course is not None and self.plan.start is None
        return known and cfg.motion is None and cfg.course < 1

    @property
    def _makes(self) -> bool:
        """Whether an object at rest may be made in one pass, and then be moved."""
        return self.plan.start is None and self.sampler.cfg.through_rest != "off"

    def _subjects(self) -> list[tuple[str, int | None]]:
        """The subjects that the text may mean, as the regressor knows them, and `RestConfig.start_of` each:
        of several those that it knows to do what the text says, if any."""
        assert self.sampler.bundle.rest is not None
        config, text = self.sampler.bundle.rest.config, self.plan.text or ""
        found = subject_of(text, config.subjects)
        phrases = [] if found is None else [found.phrase, *found.others]
        every = [(phrase, config.start_of(text, phrase)) for phrase in phrases]
        return [one for one in every if one[1] is not None] or every

    def _subject(self, seed: int) -> tuple[str, int | None]:
        """What the regressor is told to make: one of `_subjects`, or the text where it names none."""
        every = self._subjects()
        if not every:
            return self.plan.text or "", None
        assert self.sampler.bundle.rest is not None
        config = self.sampler.bundle.rest.config
        phrase, start = every[seed % len(every)]
        does, doing, said = config.actions_of(phrase), "", start
        if start is None and self._follows and not config.said_in(self.plan.text or ""):
            start = config.quiet_of(phrase)
        if start is not None:
            doing = f", {config.starts[start].phrases[0]}"
        if said is None and does:
            doing += f"; of such objects it knows {listed(does, MOST_ACTIONS)}"
        others = [f"--seed {k}: {one}" for k, (one, _) in enumerate(every) if one != phrase]
        several = f", one of {len(every)} that the text may mean ({listed(others, MOST_OTHERS)})"
        self.sampler.reporter.info(f"the object is {phrase}{several if others else ''}{doing}")
        actions = () if said is None else config.starts[said].phrases
        own = next(phrases for phrases in config.subjects if phrases[0] == phrase)
        known = self.sampler.bundle.known
        texts = None if known is None else known.texts
        left = [  # words that it does not know are told elsewhere
            word
            for word in left_out_of(self.plan.text or "", own, actions)
            if texts is None or not texts.unknown(word)
        ]
        if left:
            self.sampler.reporter.warn(
                f"of the text {', '.join(map(repr, left))} is left out: the model makes the objects "
                "that it knows as they are, one at a time"
            )
        return phrase, start
