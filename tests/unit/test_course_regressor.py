"""The network of the course of a known action: it moves the surface that is shown as the action goes.
How it is trained and kept."""

from __future__ import annotations

import json
import shutil
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from orster_cli.core.errors import InputError
from orster_cli.diffusion.bundle import Bundle, load_bundle, save_bundle
from orster_cli.diffusion.course_regressor import CourseRegressor, Surface
from orster_cli.diffusion.mini_encoder import new_mini
from orster_cli.diffusion.rest_regressor import RestConfig, RestRegressor
from orster_cli.diffusion.starts import Start
from orster_cli.sampling.known_actions import shape_of_subject
from orster_cli.training.muon import Muon
from orster_cli.training.prepared import Models
from orster_cli.training.start_model import start_or_new
from tests.helpers.known_actions import (
    WIDTH,
    course_regressor,
    knowing_model,
)
from tests.helpers.training import CFG, tiny_vae
from tools.course_data import POINTS, Tracks
from tools.regression import matrices_of
from tools.rest_data import Labels
from tools.train_course import CourseTraining, begin_with, features_of, shapes_of

OBJECTS, ACTIONS, MOMENTS = 8, 3, 16
HELD = (4, 2)  # object and action of the pair that is held out
ARM = POINTS // 4  # the first points of an object are its arm


def tracks(draw: torch.Generator) -> list[Tracks]:
    """Boxes of different sizes with an arm at their right: it is lifted, or reaches forward, or the
    whole object jumps, as high as it is tall. They stand with their arm down, and are bound with it out."""
    found = []
    for _ in range(OBJECTS):
        tall, long = 0.6 + 0.4 * torch.rand(2, generator=draw)
        body = (torch.rand(POINTS, 3, generator=draw) - 0.5) * torch.tensor([0.3, 0.3, 1.0]) * tall
        down, shoulder = (
            torch.rand(ARM, generator=draw) * long * 0.4,
            torch.tensor([0.3, 0, 0.2]) * tall,
        )
        angle = torch.pi * torch.linspace(0, 1, MOMENTS).mul(torch.pi).sin()[:, None] / 2
        nothing = torch.zeros(MOMENTS, ARM)
        lifted = torch.stack([down * angle.sin(), nothing, -down * angle.cos()], -1)
        forward = torch.stack([nothing, -down * angle.sin(), -down * angle.cos()], -1)
        high = tall * torch.linspace(0, 1, MOMENTS).mul(torch.pi).sin()[:, None] / 2
        clips = []
        for arm, jump in ((lifted, 0.0), (forward, 0.0), (lifted[:1].expand(MOMENTS, -1, -1), 1.0)):
            places = body.repeat(MOMENTS, 1, 1)
            places[:, :ARM] = shoulder + arm
            places[..., 2] += jump * high
            clips.append(places)
        bind = body.clone()
        bind[:ARM] = shoulder + torch.stack([down, 0 * down, 0 * down], -1)
        normals = torch.nn.functional.normalize(body, dim=-1)
        found.append(
            Tracks(torch.stack(clips).half(), normals.half().repeat(ACTIONS, 1, 1), bind, normals)
        )
    return found


def labels() -> Labels:
    pairs = [(who, action) for who in range(OBJECTS) for action in range(ACTIONS)]
    return Labels(
        start=torch.tensor([action for _, action in pairs]),
        held=torch.tensor([pair == HELD for pair in pairs]),
        packs=(0,) * ACTIONS,
        phrases=(("waving",), ("reaching",), ("jumping",)),
    )


@pytest.fixture(scope="module")
def taught() -> tuple[CourseRegressor, list[Tracks]]:
    shapes = OBJECTS * (1 + ACTIONS) - 1
    course = course_regressor(ACTIONS, shapes, OBJECTS)
    data = tracks(torch.Generator().manual_seed(0))
    training = CourseTraining(course.train(), data, labels(), seed=0)
    inner, others = matrices_of(course)
    assert not {id(course.out.weight), id(course.start_in.weight)} & {id(one) for one in inner}
    optimizer = Muon(inner, others, lr=3e-3, weight_decay=0.0)
    for _ in range(250):
        loss = training.loss()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    errors = training.held_out()
    assert errors["held_out"] < 0.1
    assert errors["from_bind"] < 0.3
    return course.eval(), data


def gone(course: CourseRegressor, shown: Surface, action: int) -> torch.Tensor:
    """[T,P,3] where all points of the object that is `shown` are."""
    far = course(course.see(shown), shown, torch.tensor([action]))
    return (shown.places[:, None] + far)[0]


@torch.no_grad()
def test_an_action_moves_the_object_that_is_shown_also_one_that_was_not_seen_in_it(
    taught: tuple[CourseRegressor, list[Tracks]],
) -> None:
    course, data = taught
    for who, one in enumerate(data):
        for action in range(ACTIONS):
            true = one.places[action].float()
            shown = Surface(true[None, 0], one.normals[action][None].float())
            errors = {
                k: float((gone(course, shown, k) - true).square().mean()) for k in range(ACTIONS)
            }
            assert min(errors, key=errors.__getitem__) == action
            far = float((true - true[0]).square().mean())
            assert errors[action] < (0.2 if (who, action) == HELD else 0.05) * far


@torch.no_grad()
def test_an_object_need_not_stand_as_the_action_begins(
    taught: tuple[CourseRegressor, list[Tracks]],
) -> None:
    """Shown with its arm out, it takes it down first."""
    course, data = taught
    for one in data:
        shown, true = Surface(one.bind[None], one.bind_normals[None].float()), one.places[1].float()
        far = float((true - one.bind).square().mean())
        assert float((gone(course, shown, 1) - true).square().mean()) < 0.2 * far


@torch.no_grad()
def test_neither_the_size_of_an_object_nor_its_place_matters(
    taught: tuple[CourseRegressor, list[Tracks]],
) -> None:
    course, data = taught
    shown = Surface(data[0].places[0, :1].float(), data[0].normals[:1].float())
    other = replace(shown, places=3 * shown.places + torch.tensor([5.0, -2.0, 1.0]))
    start = torch.tensor([0])
    torch.testing.assert_close(
        course(course.see(other), other, start),
        3 * course(course.see(shown), shown, start),
        atol=1e-4,
        rtol=1e-3,
    )


@torch.no_grad()
def test_an_object_of_a_text_goes_as_the_known_one_that_it_is_called(
    taught: tuple[CourseRegressor, list[Tracks]],
) -> None:
    """What is seen of its own shape would be wrong: it is made coarsely, with webs between limbs."""
    course, data = deepcopy(taught[0]), taught[1]
    course.known_features.copy_(features_of(course, data))
    course.known_shapes.copy_(shapes_of(data, labels(), course.config.points))
    config = RestConfig(
        text=WIDTH, pooled=WIDTH, rigs=(0,) * OBJECTS,
        subjects=tuple((f"a thing of kind {k}",) for k in range(OBJECTS)),
        starts=tuple(Start(0, phrases) for phrases in labels().phrases),
        done=tuple(
            tuple(k for k in range(ACTIONS) if (who, k) != HELD) for who in range(OBJECTS)
        ),
    )  # fmt: skip
    model = replace(knowing_model(), rest=RestRegressor(config), course=course)
    errors = torch.zeros(2)
    for who, one in enumerate(data):
        own = Surface(one.bind[None].float(), one.bind_normals[None].float())
        moved = Surface(1.7 * own.places + 0.3, own.normals)
        known = shape_of_subject(model, f"a thing of kind {who}")
        assert known is not None
        true = course(course.see(moved), moved, torch.tensor([1]))
        torch.testing.assert_close(
            course(known.of(moved), moved, torch.tensor([1])), true, atol=0.02, rtol=0.05
        )
        web = 0.5 * (moved.places[:, :ARM] + moved.places[:, ARM : 2 * ARM])  # from arm to body
        webbed = Surface(
            torch.cat([moved.places, web], dim=1),
            torch.cat([moved.normals, moved.normals[:, :ARM]], dim=1),
        )
        errors += torch.tensor(
            [
                float((course(seen, moved, torch.tensor([1])) - true).square().mean())
                for seen in (known.of(webbed), course.see(webbed))
            ]
        )
    assert errors[0] < 0.25 * errors[1]
    assert shape_of_subject(model, "a teapot") is None
    assert shape_of_subject(replace(model, course=None), "a thing of kind 0") is None


def test_known_shapes_are_those_that_were_trained_on() -> None:
    """Of each object its bind pose, then where each action begins that is not held out."""
    data = tracks(torch.Generator().manual_seed(0))
    found = shapes_of(data, labels(), 64)
    assert len(found) == OBJECTS * (1 + ACTIONS) - 1
    place = HELD[0] * (1 + ACTIONS)
    for row, pose in ((place, data[HELD[0]].bind), (place + 2, data[HELD[0]].places[1, 0])):
        seen = found[row].unflatten(0, (-1, 3))
        middle = (pose.float().amin(0) + pose.float().amax(0)) / 2
        side = (pose.float().amax(0) - pose.float().amin(0)).max()
        among = torch.cdist(seen, (pose.float() - middle) / side)
        assert float(among.amin(dim=1).max()) < 1e-3  # they are points of it
        assert float(among.amin(dim=0).max()) < 0.25  # and from everywhere


def test_it_is_kept_with_the_starts_that_it_was_trained_on(tmp_path: Path) -> None:
    made = knowing_model()
    save_bundle(made, tmp_path)
    again = load_bundle(tmp_path)
    assert made.course is not None
    assert again.course is not None
    shown = Surface(torch.rand(1, 20, 3), torch.rand(1, 20, 3))
    with torch.no_grad():
        found, wanted = (
            one(one.see(shown), shown, torch.tensor([1])) for one in (again.course, made.course)
        )
    torch.testing.assert_close(found, wanted)
    start = Bundle(**vars(made))
    cases = (({}, True), ({"vae": tiny_vae()}, True), ({"encoder": new_mini(WIDTH, 1)}, False))
    for parts, kept in cases:
        models = Models(start=start, **parts)  # type: ignore[arg-type]
        new = start_or_new(CFG.model, None, models, "4d", 0)  # type: ignore[arg-type]
        assert (new.course is not None) == kept
    config = tmp_path / "course" / "config.json"
    good = json.loads(config.read_text())
    for key, value in (
        ("width", 0), ("starts", "2"), ("version", 2), ("depth", 3), ("moments", 1)
    ):  # fmt: skip
        config.write_text(json.dumps({**good, key: value}))
        with pytest.raises(InputError, match=str(config)):
            load_bundle(tmp_path)
    shutil.rmtree(tmp_path / "course")
    assert load_bundle(tmp_path).course is None


@torch.no_grad()
def test_training_goes_on_with_more_blocks_from_where_it_was(
    taught: tuple[CourseRegressor, list[Tracks]],
) -> None:
    before, data = taught
    grown = CourseRegressor(replace(before.config, blocks=before.config.blocks + 2)).eval()
    begin_with(grown, before)
    shown = Surface(data[0].bind[None].float(), data[0].bind_normals[None].float())
    torch.testing.assert_close(gone(grown, shown, 1), gone(before, shown, 1))
    fewer = CourseRegressor(replace(before.config, blocks=1))
    with pytest.raises(RuntimeError, match="Unexpected key"):
        begin_with(fewer, before)
