"""The course of a known action where an object, its clip or the model is unlike others."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from orster_cli.core.errors import InputError, LimitError
from orster_cli.core.reporting import Silent
from orster_cli.core.types import Course
from orster_cli.diffusion.bundle import Bundle
from orster_cli.diffusion.course_regressor import CourseRegressor
from orster_cli.geometry.orbit import orbit_azimuths, orbit_cameras
from orster_cli.inputs.clips import OpenedClip
from orster_cli.inputs.models import OpenedModel
from orster_cli.inputs.sampling_plan import SamplingPlan
from orster_cli.inputs.sampling_request import Requests
from orster_cli.io.clip_files import COURSE, read_clip, write_clip
from orster_cli.sampling.known_actions import known_actions, moving_as_said
from orster_cli.sampling.moving import moving
from orster_cli.sampling.objects import open_object
from orster_cli.sampling.orbit_matching import matching_sides
from orster_cli.sampling.sample_clips import Sampler, SampleRequest
from orster_cli.sampling.sampled_clip import write_sampled
from orster_cli.sampling.shown import Shown
from tests.helpers.constructing import CREATURE
from tests.helpers.glb import TRIANGLE, Glb
from tests.helpers.known_actions import (
    course_regressor,
    knowing_model,
    request_of,
    sampled,
    sampler_of,
)
from tests.helpers.recording import Recorder
from tests.helpers.training import SIDE


def moved_a_little() -> CourseRegressor:
    course = course_regressor(2)
    torch.nn.init.normal_(course.out.weight, std=0.02)
    return course


def test_what_is_not_drawn_is_neither_moved_nor_given_room(tmp_path: Path) -> None:
    """A vertex of no triangle, and a clear box for collisions, far away: the cameras would go there."""
    alone, beside = Glb(), Glb()
    alone.mesh()
    beside.mesh(np.concatenate([TRIANGLE, [[900, 0, 0]]]), [0, 1, 2])
    beside.mesh(50 * TRIANGLE)["material"] = 0
    beside.root["nodes"].append({"mesh": 1})
    beside.root["scenes"][0]["nodes"] = [0, 1]
    clear = {"baseColorFactor": [1, 1, 1, 0]}
    beside.root["materials"] = [{"alphaMode": "BLEND", "pbrMetallicRoughness": clear}]
    a, b = (
        moving(moved_a_little(), open_object(glb.save(tmp_path / f"{i}.glb")).mesh(), 0)
        for i, glb in enumerate((alone, beside))
    )
    assert len(b.welded.places) == 3
    assert a.framing(0.0) == pytest.approx(b.framing(0.0))
    torch.testing.assert_close(a.kept.places, b.kept.places)


def test_of_many_places_some_are_moved_and_the_others_go_along(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mesh, course = open_object(CREATURE).mesh(), moved_a_little()
    every = moving(course, mesh, 0).course
    monkeypatch.setattr("orster_cli.sampling.moving.MOST", len(every.rest) // 2)
    found = moving(course, mesh, 0).course
    off, way = (found.places - every.places).norm(dim=-1), (every.places - every.rest).norm(dim=-1)
    assert 0 < float(off.mean()) < 0.05 * float(way.mean())


def of_a_clip(sampler: Sampler) -> SampleRequest:
    """For an object that an orbit from the front shows."""
    orbit = open_object(CREATURE)(orbit_cameras(orbit_azimuths(8), width=SIDE, height=SIDE))
    plan = SamplingPlan(
        model=OpenedModel(Path("tiny")), text="a frog jumping", image=None,
        static_object=OpenedClip(orbit), object_name="",
    )  # fmt: skip
    return Requests(plan, sampler).condition()


def test_an_object_of_a_clip_is_seen_by_the_cameras_that_are_asked_for() -> None:
    """Its own orbit begins elsewhere and has more frames."""
    sampler = sampler_of(knowing_model(), course=0.0, frames=4, azimuth_start=90.0)
    request = of_a_clip(sampler)
    assert request.course is not None
    (made,) = sampler.sample(request, [0])
    torch.testing.assert_close(request.course.cameras.w2c, made.clip.cameras.w2c)
    assert made.clip.course is request.course.course


@pytest.mark.parametrize(("frames", "turns"), [(1, 1.0), (2, 1.0), (12, 0.0), (12, 1.0)])
def test_what_is_seen_from_one_side_has_no_surface(frames: int, turns: float) -> None:
    """Of front and back alone a hull would be a cone; such an object moves as the diffusion says."""
    cameras = orbit_cameras(orbit_azimuths(frames, turns=turns), width=SIDE, height=SIDE)
    shown = Shown.of_orbit(open_object(CREATURE)(cameras), "an object")
    goes = moving_as_said(knowing_model(), "a frog jumping", shown, Silent())
    assert (goes is None) == (frames < 3 or turns == 0)


def test_what_is_too_unlike_is_not_moved_as_a_known_object() -> None:
    cameras = orbit_cameras(orbit_azimuths(12), width=SIDE, height=SIDE)
    shown = Shown.of_orbit(open_object(CREATURE)(cameras), "an object")
    model, text = knowing_model(), "a frog jumping"
    (action,) = known_actions(model, text, shown.mesh())[:1]
    for most in (0.9 * action.apart, 1.1 * action.apart):
        said = Recorder()
        goes = moving_as_said(model, text, shown, said, most=most)
        assert (goes is None) == (most < action.apart)
        assert any("too unlike" in note for note in said.notes) == (goes is None)


def test_room_is_made_for_the_elevation_of_the_cameras(tmp_path: Path) -> None:
    """A box that fits into the picture from the side and reaches beyond it from above."""
    glb, model = Glb(), knowing_model()
    assert model.course is not None
    torch.nn.init.zeros_(model.course.out.weight)
    corners = [[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)]
    glb.mesh(corners, [0, 1, 2, 5, 6, 7, 0, 3, 5, 4, 2, 7])["material"] = 0
    red = {"baseColorFactor": [1, 0, 0, 1]}
    glb.root["materials"] = [{"doubleSided": True, "pbrMetallicRoughness": red}]
    box = glb.save(tmp_path / "box.glb")
    goes = moving(model.course, open_object(box).mesh(), 1)
    expected = [goes.framing(elevation) for elevation in (0.0, 60.0)]
    assert expected[0][0] < expected[1][0] - 0.02
    for elevation, (log_far, *middle) in zip((0.0, 60.0), expected, strict=True):
        seen = request_of(sampler_of(model, course=0.0, elevation=elevation), given=box).sees
        assert seen is not None
        away = float((seen.positions[0] - torch.tensor(middle)).norm())
        assert away == pytest.approx(math.exp(log_far) * model.facts.radius, rel=1e-3)


@pytest.mark.parametrize("frames", [2, 3])
def test_few_frames(frames: int) -> None:
    sampler = sampler_of(knowing_model(), course=0.0, frames=frames)
    request = request_of(sampler)
    assert request.course is not None
    assert len(sampled(sampler, request)) == frames


def test_a_course_beyond_all_bounds_is_refused(tmp_path: Path) -> None:
    places = torch.rand(2, 5, 3)
    goes = Course(rest=places[0], places=1e30 * places)
    orbit = open_object(CREATURE)(orbit_cameras(orbit_azimuths(2), width=SIDE, height=SIDE))
    write_clip(tmp_path, replace(orbit, course=goes))
    with pytest.raises(InputError, match=f"{COURSE}: expected places at most"):
        read_clip(tmp_path)


@pytest.mark.parametrize(
    ("starts", "known", "subjects"), [(3, 3, 1), (1, 3, 1), (2, 2, 1), (2, 4, 1), (2, 3, 2)]
)
def test_a_course_of_another_training_than_its_objects_is_refused(
    starts: int, known: int, subjects: int
) -> None:
    """Numbers of the one would be out of bounds in the other, or mean something else."""
    whole = knowing_model()
    parts = Bundle(**vars(whole))
    assert parts.whole("model").course is whole.course
    with pytest.raises(InputError, match="course/ knows"):
        replace(parts, course=course_regressor(starts, known, subjects)).whole("model")


def test_an_object_of_few_frames_is_shown_beside_a_clip_of_many(tmp_path: Path) -> None:
    """On the sheet, by the sides that they look from."""
    sampler = sampler_of(knowing_model(), course=0.0, frames=12)
    orbit = open_object(CREATURE)(orbit_cameras(orbit_azimuths(8), width=SIDE, height=SIDE))
    plan = SamplingPlan(
        model=OpenedModel(Path("tiny")), text="a frog jumping", image=None,
        static_object=OpenedClip(orbit), object_name="",
    )  # fmt: skip
    request = Requests(plan, sampler).condition()
    (made,) = sampler.sample(request, [0])
    content = write_sampled(tmp_path, made, sampler.bundle.facts, request=request)
    assert (content["rendered"], content["further_orbits"]) == (True, 3)
    assert (tmp_path / "sheet.png").is_file()
    cameras = made.clip.cameras
    assert matching_sides(orbit.cameras, cameras[[0, 3, 6, 9]]).tolist() == [0, 2, 4, 6]


def test_a_rendered_clip_that_could_not_be_read_again_is_not_begun() -> None:
    sampler = sampler_of(knowing_model(), course=0.0, frames=128, pixels=2048)
    with pytest.raises(LimitError, match=r"sample\.pixels"):
        request_of(sampler)
