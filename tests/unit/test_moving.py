"""An object on its way through a known action: that its mesh moves whole, that sampling begins with it, and
which known object shows the way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from orster_cli.core.errors import InputError
from orster_cli.diffusion.course_regressor import outline
from orster_cli.geometry.alignment import scaled_onto
from orster_cli.io.clip_files import COURSE, read_clip, write_clip
from orster_cli.sampling.known_actions import known_actions
from orster_cli.sampling.moving import Moving, moving, surface_of
from orster_cli.sampling.objects import open_object
from orster_cli.sampling.sample_clips import cameras_for
from tests.helpers.constructing import CREATURE
from tests.helpers.known_actions import (
    course_regressor,
    knowing_model,
    request_of,
    sampled,
    sampler_of,
)
from tests.helpers.training import SIDE


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
