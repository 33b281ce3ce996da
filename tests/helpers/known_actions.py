"""A tiny model that makes a frog of a text, and knows how it jumps."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from functools import cache
from pathlib import Path

import torch

from orster_cli.config.sample import SampleConfig
from orster_cli.core.reporting import Silent
from orster_cli.diffusion.bundle import WholeBundle
from orster_cli.diffusion.course_regressor import CourseConfig, CourseRegressor, Surface, outline
from orster_cli.diffusion.rest_regressor import RestRegressor
from orster_cli.diffusion.starts import Start
from orster_cli.inputs.models import OpenedModel
from orster_cli.inputs.sampling_plan import SamplingPlan
from orster_cli.inputs.sampling_request import Requests
from orster_cli.sampling.sample_clips import Sampler, SampleRequest
from tests.helpers.constructing import CREATURE
from tests.helpers.solids import half_axes, solids, taught_rest
from tests.helpers.training import merged

WIDTH = 12  # of the encoder
CPU = torch.device("cpu")


def course_regressor(starts: int, known: int = 3, subjects: int = 1) -> CourseRegressor:
    torch.manual_seed(0)
    config = CourseConfig(
        starts=starts, known=known, subjects=subjects, width=64, blocks=2, shape=64
    )
    return CourseRegressor(config).eval()


@cache
def _frog(starts: tuple[Start, ...]) -> RestRegressor:
    return taught_rest(solids((("a frog",),), (0,), starts, ((0, 1),)), WIDTH, steps=120)


def knowing_model() -> WholeBundle:
    """Its frog waves (0) and jumps (1)."""
    starts = (Start(0, ("waving",)), Start(0, ("jumping",)))
    rest = deepcopy(_frog(starts))
    course = course_regressor(2)
    torch.nn.init.normal_(course.out.weight, std=0.02)
    ball = torch.nn.functional.normalize(torch.randn(1, 1024, 3), dim=-1)
    frog = Surface(half_axes(0) * ball, ball)  # as the regressor makes it
    course.known_shapes.copy_(outline(frog, course.config.points)[0].flatten().expand(3, -1))
    with torch.no_grad():
        course.known_features.copy_(course.see(frog).features)
    return replace(merged("4d"), rest=rest, course=course)


def sampler_of(made: WholeBundle, device: torch.device = CPU, **settings: object) -> Sampler:
    cfg = SampleConfig(steps=4, **settings)  # type: ignore[arg-type]
    return Sampler(made, cfg, device=device, reporter=Silent())


def request_of(
    sampler: Sampler, text: str = "a frog jumping", given: Path | None = CREATURE
) -> SampleRequest:
    """Of a text, for the object in the file `given`; None: the model makes it."""
    plan = SamplingPlan(
        model=OpenedModel(Path("tiny")), text=text, image=None, static_object=given, object_name=""
    )
    return Requests(plan, sampler).condition()


def sampled(sampler: Sampler, request: SampleRequest, seed: int = 0) -> torch.Tensor:
    """The frames of the clip of a `seed`."""
    (made,) = sampler.sample(request, [seed])
    return made.clip.frames
