"""The course of a known action: that it moves the surface of the object that is shown as the action goes,
and that sampling begins with what is seen of it."""

from __future__ import annotations

import json
import shutil
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from orster_cli.core.errors import InputError
from orster_cli.diffusion.bundle import Bundle, load_bundle, save_bundle
from orster_cli.diffusion.course_regressor import CourseRegressor, Surface, outline
from orster_cli.diffusion.mini_encoder import new_mini
from orster_cli.diffusion.rest_regressor import RestConfig, RestRegressor
from orster_cli.diffusion.starts import Start
from orster_cli.geometry.alignment import scaled_onto
from orster_cli.io.clip_files import COURSE, read_clip, write_clip
from orster_cli.sampling.known_actions import known_actions, shape_of_subject
from orster_cli.sampling.moving import Moving, moving, surface_of
from orster_cli.sampling.objects import open_object
from orster_cli.sampling.sample_clips import cameras_for
from orster_cli.training.muon import Muon
from orster_cli.training.prepared import Models
from orster_cli.training.start_model import start_or_new
from tests.helpers.constructing import CREATURE
from tests.helpers.known_actions import (
    WIDTH,
    course_regressor,
    knowing_model,
    request_of,
    sampled,
    sampler_of,
)
from tests.helpers.training import CFG, SIDE, tiny_vae
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


def moved_creature(std: float = 0.02) -> Moving:
    course = course_regressor(1)
    torch.nn.init.normal_(course.out.weight, std=std)
    return moving(course, open_object(CREATURE).mesh(), 0)


def test_a_mesh_is_moved_whole_and_stays_in_the_picture() -> None:
    goes, still = moved_creature(0.03), moved_creature(0.0)
    mesh = open_object(CREATURE).mesh()
    np.testing.assert_allclose(still.at(0.7).vertices, mesh.vertices, atol=1e-4)
    np.testing.assert_allclose(still.at(0.7).normals, mesh.normals, atol=1e-4)
    # vertices at one place, as at the seams of a texture, stay at one
    for time in (0.0, 0.31, 1.0):
        moved = goes.at(time)
        assert np.abs(moved.vertices - mesh.vertices).max() > 1e-3
        places, number = np.unique(mesh.vertices.round(5), axis=0, return_inverse=True)
        for axis in range(3):
            low, high = np.full(len(places), np.inf), np.full(len(places), -np.inf)
            np.minimum.at(low, number.reshape(-1), moved.vertices[:, axis])
            np.maximum.at(high, number.reshape(-1), moved.vertices[:, axis])
            assert (high - low).max() < 1e-4
    made = knowing_model()
    cameras = sampler_of(made).framing_of("a frog", goes.framing(0.0))
    assert cameras is not None
    sees = cameras.cameras(cameras_for(made.facts, sampler_of(made).cfg).resized(64, 64))
    shown = goes.along(sees)
    assert shown.alpha is not None
    assert float(shown.alpha.amax(dim=(0, 1))[[0, -1]].max()) == 0
    assert float(shown.alpha.mean()) > 0.02


def test_an_object_that_stands_nearly_as_its_action_begins_begins_just_as_it_stands() -> None:
    course = course_regressor(1)
    torch.nn.init.normal_(course.out.weight, std=0.02)
    mesh = open_object(CREATURE).mesh()
    free, held = moving(course, mesh, 0), moving(course, mesh, 0, nearly=10.0)
    off = (free.kept.places[0] - free.kept.rest).square().sum(-1).mean().sqrt()
    side = np.ptp(mesh.vertices, axis=0).max()
    assert float(off) > 0.01
    torch.testing.assert_close(held.kept.places[0], held.kept.rest, atol=1e-4, rtol=0)
    apart = (held.kept.places - free.kept.places).abs().mean(dim=(1, 2))
    assert float(apart[4:].max()) < 0.3 * float(apart[0])  # parts are found anew: not quite 0
    assert float(apart[0]) > float(apart[1]) > float(apart[2])
    other = moving(course, mesh, 0, nearly=0.5 * float(off) / float(side))
    torch.testing.assert_close(other.kept.places, free.kept.places)


def test_a_clip_keeps_how_its_points_go(tmp_path: Path) -> None:
    goes = moved_creature(0.02)
    cameras = cameras_for(knowing_model().facts, sampler_of(knowing_model()).cfg)
    clip = goes.along(cameras)
    assert clip.course is not None
    write_clip(tmp_path, clip)
    again = read_clip(tmp_path).course
    assert again is not None
    torch.testing.assert_close(again.places, clip.course.places)
    # they lie on the surface, at rest and then
    for points, mesh in ((again.rest, goes.welded.mesh), (again.places[5], goes.at(5 / 15))):
        low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
        assert (points.numpy() > low - 1e-3).all()
        assert (points.numpy() < high + 1e-3).all()
        apart = np.linalg.norm(points.numpy()[:, None] - mesh.vertices[None, ::7], axis=-1)
        assert apart.min(axis=1).max() < 0.2
    torch.testing.assert_close(again.at(5 / 15), again.places[5], atol=1e-5, rtol=0)
    between = again.at(5.5 / 15) - (again.places[5] + again.places[6]) / 2
    assert float(between.abs().max()) < 0.1
    from safetensors.torch import save_file

    for bad in ({"rest": again.rest}, {"rest": again.rest, "places": again.places[:, :5]}):
        save_file({k: v.contiguous() for k, v in bad.items()}, tmp_path / COURSE)
        with pytest.raises(InputError, match=COURSE):
            read_clip(tmp_path)


@torch.no_grad()
def test_sampling_begins_with_the_course_of_what_the_text_says() -> None:
    made = knowing_model()
    sampler = sampler_of(made, course=0.0)
    request, waving = (request_of(sampler, text) for text in ("a frog jumping", "a frog waving"))
    assert request.course is not None
    assert waving.course is not None
    assert made.course is not None
    # not the pose in which it stands, but the action
    goes = moving(made.course, open_object(CREATURE).mesh(), 1)
    cameras = cameras_for(made.facts, sampler.cfg) if request.sees is None else request.sees
    fine = cameras.resized(sampler.cfg.pixels, sampler.cfg.pixels)
    torch.testing.assert_close(request.course.over(), goes.along(fine).over())
    assert float((waving.course.over() - request.course.over()).abs().max()) > 0.05
    (clip,) = sampler.sample(request, [0])
    assert clip.clip.course is request.course.course
    # the more steps change it, the more it is what noise alone gives
    free = sampled(sampler_of(made, course=1.0), replace(request, course=None))
    changed = [sampled(sampler_of(made, course=share), request) for share in (0.1, 0.5, 1.0)]
    torch.testing.assert_close(changed[2], free)
    apart = [float((one - free).square().mean()) for one in changed]
    assert apart[0] > apart[1] > apart[2] == 0


def test_what_no_step_changes_is_not_blurred_by_the_frame_vae() -> None:
    """The clip is what was rendered, with its opacities, in as many pixels as are asked for."""
    made = knowing_model()
    for pixels, expected in ((SIDE, SIDE), (48, 48), (16, SIDE)):  # no fewer than the model has
        sampler = sampler_of(made, course=0.0, pixels=pixels)
        request = request_of(sampler)
        assert request.course is not None
        assert request.object_orbit is not None
        for one in sampler.sample(request, [0, 1]):
            torch.testing.assert_close(one.clip.frames, request.course.frames)
            assert one.clip.alpha is request.course.alpha
            assert one.clip.frames.shape[-1] == expected
            assert one.clip.prompt == "a frog jumping"
            assert one.static is not None
            assert one.static.frames.shape[-1] == expected
            first, still = one.clip.over()[0], one.static.over()[0]
            assert float((first - still).abs().mean()) < 0.05  # where it is at rest
    sampler = sampler_of(made, course=0.25)
    (decoded,) = sampler.sample(request_of(sampler), [0])
    assert decoded.clip.alpha is None
    assert decoded.clip.frames.shape[-1] == SIDE


def test_what_is_no_known_action_or_should_move_otherwise_is_sampled_from_noise() -> None:
    made = knowing_model()
    for sampler, text in (
        (sampler_of(made), "a frog"),
        (sampler_of(made), "a frog dancing"),
        (sampler_of(made, motion=0.3), "a frog jumping"),
        (sampler_of(replace(made, course=None)), "a frog jumping"),
    ):
        assert request_of(sampler, text).course is None


def test_the_object_of_most_like_shape_shows_the_way() -> None:
    """Of two rigs that jump it is that of the creature's own shape, in its bind pose or as it begins."""
    made = knowing_model()
    assert made.rest is not None
    mesh = open_object(CREATURE).mesh()
    course = course_regressor(2, known=4)
    own = outline(surface_of(mesh), course.config.points)[0].flatten()
    starts = made.rest.config.starts
    config = replace(
        made.rest.config,
        subjects=(("a frog",), ("a bull",)),
        rigs=(0, 1),
        starts=tuple(replace(one, rig=rig, phrases=("jumping",)) for rig, one in enumerate(starts)),
        done=((0,), (1,)),
    )
    made.rest.config = config
    for place in range(4):  # bind pose and begin of one, then of the other
        course.known_shapes.copy_(torch.stack([own * (k == place) for k in range(4)]))
        found = known_actions(replace(made, course=course), "it is jumping", mesh)[0]
        assert (found.start, found.like) == (place // 2, config.subjects[place // 2][0])
        assert found.apart < 1e-3
        (larger,) = known_actions(
            replace(made, course=course), "it is jumping", mesh.transformed(3.0, np.ones(3))
        )
        assert larger.apart == pytest.approx(found.apart, abs=1e-3)


def test_of_objects_that_are_as_like_the_one_that_is_called_the_same_shows_the_way() -> None:
    """Words count for less than a shape that is clearly another."""
    made = knowing_model()
    assert made.rest is not None
    mesh = open_object(CREATURE).mesh()
    course = course_regressor(2, known=4)
    own = outline(surface_of(mesh), course.config.points)[0]
    starts = made.rest.config.starts
    made.rest.config = replace(
        made.rest.config,
        subjects=(("a green frog",), ("a black bull",)),
        rigs=(0, 1),
        starts=tuple(replace(one, rig=rig, phrases=("jumping",)) for rig, one in enumerate(starts)),
        done=((0,), (1,)),
    )
    other = own.clone()
    other[:, 2] *= 0.4
    model = replace(made, course=course)
    for shapes, text, expected in (
        ((own, 1.002 * own), "a bull jumping", ["a black bull", "a green frog"]),
        ((own, 1.002 * own), "a black thing jumping", ["a black bull", "a green frog"]),
        ((own, 1.002 * own), "a frog jumping", ["a green frog"]),
        ((own, other), "a bull jumping", ["a green frog"]),
    ):
        course.known_shapes.copy_(torch.stack([one.flatten() for one in shapes for _ in range(2)]))
        assert [one.like for one in known_actions(model, text, mesh)] == expected


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


def test_points_are_scaled_and_shifted_onto_the_surface_that_they_are_of() -> None:
    """Also where the surface lacks a part, or has one too many."""
    surface = surface_of(open_object(CREATURE).mesh(), 4000).places[0].double().numpy()
    some = (surface[::16] - 0.4) / 2.5
    for left in (surface, surface[surface[:, 2] < np.quantile(surface[:, 2], 0.9)]):
        scale, shift = scaled_onto(some, left)
        assert scale == pytest.approx(2.5, rel=0.02)
        np.testing.assert_allclose(shift, 0.4, atol=0.02)
    scale, shift = scaled_onto(np.zeros((5, 3)), surface)  # of no size
    assert np.isfinite([scale, *shift]).all()


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
