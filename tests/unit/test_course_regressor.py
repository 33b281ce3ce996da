"""The course of a known action: that it moves the object which is shown as the action goes, and that a text
is sampled from it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from orster_cli.core.errors import InputError
from orster_cli.diffusion.bundle import Bundle, load_bundle, save_bundle
from orster_cli.diffusion.course_regressor import CourseRegressor
from orster_cli.diffusion.mini_encoder import new_mini
from orster_cli.geometry.orbit import clip_times
from orster_cli.sampling.sample_clips import cameras_for
from orster_cli.training.prepared import Models
from orster_cli.training.start_model import start_or_new
from tests.helpers.known_actions import (
    CHANNELS,
    LATENTS,
    WIDTH,
    course_regressor,
    knowing_model,
    request_of,
    sampled,
    sampler_of,
)
from tests.helpers.training import CFG, tiny_vae
from tools import course_data
from tools.course_data import FRAMES, SHOWN, SIDES, Frames, azimuths_of
from tools.rest_data import Labels
from tools.train_course import CourseTraining

OBJECTS, ACTIONS = 8, 3
HELD = (4, 2)  # object and action of the pair that is held out


def frames() -> tuple[Frames, Labels]:
    """Objects that look unlike from every side, and which each action changes in its own way, which comes
    and goes in time and is another from behind."""
    draw = torch.Generator().manual_seed(0)
    shape = (CHANNELS, LATENTS, LATENTS)
    looks, turned, ways, behind = (
        torch.randn(n, *shape, generator=draw) for n in (OBJECTS, OBJECTS, ACTIONS, ACTIONS)
    )
    pairs = [(who, action) for who in range(OBJECTS) for action in range(ACTIONS)]
    azimuths = torch.stack([azimuths_of(f"{who}.glb") for who, _ in pairs])
    times, sides = clip_times(FRAMES).float(), course_data.sides_of()
    around = torch.deg2rad(azimuths)[..., None, None, None]
    who, action = torch.tensor(pairs).T
    still = looks[who, None] + turned[who, None] * around.cos()
    seen = around[:, sides]
    far = (torch.pi * times).sin().view(1, -1, 1, 1, 1, 1)
    way = ways[action][:, None, None] + behind[action][:, None, None] * seen.sin()
    labels = Labels(
        start=action,
        held=torch.tensor([pair == HELD for pair in pairs]),
        packs=(0,) * ACTIONS,
        phrases=(("walking",), ("waving",), ("falling",)),
    )
    return Frames(still, still[:, sides] + far * way, azimuths, times, sides), labels


@pytest.fixture(scope="module")
def taught() -> tuple[CourseRegressor, Frames, Labels]:
    course = course_regressor(ACTIONS)
    training = CourseTraining(course.train(), *frames(), seed=0)
    optimizer = torch.optim.AdamW(course.parameters(), lr=3e-3)
    for _ in range(250):
        loss = training.loss()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    errors = training.held_out()
    assert errors["held_out"] < 0.35 * errors["at_rest"]
    return course.eval(), *frames()


def orbit_of(data: Frames, clip: int) -> tuple[torch.Tensor, ...]:
    """The object at rest and its animation [1,C,T,h,w] on a clip's orbit, its azimuths and times."""
    moments = torch.arange(FRAMES)
    still, moving = data.still[clip, data.sides[:, 0]], data.moving[clip, moments, 0]
    latents = [one.transpose(0, 1)[None] for one in (still, moving)]
    return *latents, data.azimuths[clip, :FRAMES][None], data.times[None]


@torch.no_grad()
def test_an_action_moves_the_object_that_is_shown_also_one_that_was_not_seen_in_it(
    taught: tuple[CourseRegressor, Frames, Labels],
) -> None:
    course, data, labels = taught
    for clip, action in enumerate(labels.start.tolist()):
        still, true, azimuths, times = orbit_of(data, clip)
        made = {k: course(still, azimuths, times, torch.tensor([k])) for k in range(ACTIONS)}
        errors = {k: float((one - true).square().mean()) for k, one in made.items()}
        assert min(errors, key=errors.__getitem__) == action
        at_rest = float((still - true).square().mean())
        assert errors[action] < (0.4 if labels.held[clip] else 0.1) * at_rest
    assert int(labels.held.sum()) == 1


def test_sides_of_the_frames_are_those_that_the_orbit_has_then_and_the_objects_own() -> None:
    sides, azimuths = course_data.sides_of(), azimuths_of("a.glb")
    assert sides.shape == (FRAMES, SHOWN)
    assert azimuths.shape == (SIDES,)
    assert azimuths[sides[4, 0]] == pytest.approx(90)
    assert not set(azimuths.tolist()[FRAMES:]) & set(azimuths_of("b.glb").tolist()[FRAMES:])


@torch.no_grad()
def test_a_text_is_sampled_from_the_course_of_its_action() -> None:
    made = knowing_model()
    sampler = sampler_of(made, course=0.0)
    request = request_of(sampler)
    waving = request_of(sampler, "a frog waving").course
    assert request.course is not None
    assert waving is not None
    # not the pose in which it stands, but the action
    assert (request.course.start, waving.start) == (1, 0)
    cameras = cameras_for(made.facts, sampler.cfg)
    _, rest = sampler.conditions_for(request, [0], cameras)
    assert rest is not None
    seen = cameras.azimuths.float()[None], clip_times(len(cameras)).float()[None]
    assert made.course is not None
    course = made.course(rest, *seen, torch.tensor([1]))
    known = made.vae.decode(course[0].transpose(0, 1)).clamp(0, 1)
    torch.testing.assert_close(sampled(sampler, request), known, atol=1e-4, rtol=0)
    torch.testing.assert_close(sampled(sampler, request, 1), known, atol=1e-4, rtol=0)
    # the more steps change it, the more it is what noise alone gives
    free = sampled(sampler_of(made, course=1.0), replace(request, course=None))
    changed = [sampled(sampler_of(made, course=share), request) for share in (0.0, 0.5, 1.0)]
    torch.testing.assert_close(changed[2], free)
    apart = [float((one - free).square().mean()) for one in changed]
    assert apart[0] > apart[1] > apart[2] == 0
    # and the more so where it looks unlike what was seen doing that
    unlike = replace(request, course=replace(request.course, unlike=2.0))
    torch.testing.assert_close(sampled(sampler_of(made, course=0.25), unlike), changed[1])
    torch.testing.assert_close(sampled(sampler_of(made, course=0.75), unlike), free)


def test_what_is_no_known_action_or_should_move_otherwise_is_sampled_from_noise() -> None:
    made = knowing_model()
    for sampler, text in (
        (sampler_of(made), "a frog"),
        (sampler_of(made), "a frog dancing"),
        (sampler_of(made, motion=0.3), "a frog jumping"),
        (sampler_of(replace(made, course=None)), "a frog jumping"),
    ):
        assert request_of(sampler, text).course is None


def test_it_is_kept_with_the_latents_and_the_starts_that_it_was_trained_on(tmp_path: Path) -> None:
    made = knowing_model()
    save_bundle(made, tmp_path)
    again = load_bundle(tmp_path)
    assert made.course is not None
    assert again.course is not None
    draw = torch.Generator().manual_seed(0)
    still = torch.randn(1, CHANNELS, 2, LATENTS, LATENTS, generator=draw)
    seen = torch.tensor([[0.0, 50.0]]), torch.tensor([[0.0, 0.5]]), torch.tensor([1])
    with torch.no_grad():
        torch.testing.assert_close(again.course(still, *seen), made.course(still, *seen))
    start = Bundle(**vars(made))
    cases = (({}, True), ({"vae": tiny_vae()}, False), ({"encoder": new_mini(WIDTH, 1)}, False))
    for parts, kept in cases:
        models = Models(start=start, **parts)  # type: ignore[arg-type]
        new = start_or_new(CFG.model, None, models, "4d", 0)  # type: ignore[arg-type]
        assert (new.course is not None) == kept
    config = tmp_path / "course" / "config.json"
    good = json.loads(config.read_text())
    for key, value in (("width", 0), ("starts", "2"), ("version", 2), ("depth", 3)):
        config.write_text(json.dumps({**good, key: value}))
        with pytest.raises(InputError, match=str(config)):
            load_bundle(tmp_path)
    shutil.rmtree(tmp_path / "course")
    assert load_bundle(tmp_path).course is None
