"""Assets whose motion is the course that their frames were rendered along."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor

from orster_cli.config.construct import ConstructConfig
from orster_cli.config.prepare import PrepareConfig
from orster_cli.construction.asset import load_asset, save_asset
from orster_cli.construction.fit import Fit
from orster_cli.construction.fit_asset import Constructed, ConstructInput, construct
from orster_cli.construction.follow_course import tracked_nodes
from orster_cli.construction.hull import surface_points
from orster_cli.construction.recurrence import Recurrence
from orster_cli.construction.trainable_asset import TrainableAsset
from orster_cli.construction.training_views import build_views
from orster_cli.core.errors import InputError, Preempted
from orster_cli.core.reporting import Silent
from orster_cli.core.stopping import StopFlag
from orster_cli.core.types import Course, OrbitClip
from orster_cli.dataset.views import render_view
from orster_cli.geometry.orbit import orbit_azimuths, orbit_cameras
from orster_cli.metrics.psnr import psnr
from orster_cli.splatting.gaussians4d import Gaussians4D, Timeline
from orster_cli.splatting.nodes import ControlNodes, rotations
from orster_cli.splatting.render_asset import render_clip
from orster_cli.splatting.tracks import TrackedNodes
from tests.helpers.constructing import CPU, TINY, creature_views
from tests.helpers.courses import HOPS, SIDE, creature_course, placed_creature
from tests.helpers.recording import Recorder
from tests.helpers.stops import StopAfter

STEPS: ConstructConfig = replace(
    TINY, nodes=40, leave=0.01, canonical="static", static_steps=60, coarse_steps=20, fine_steps=60
)


def _one_node(deltas: Tensor) -> TrackedNodes:
    alone = ControlNodes(torch.zeros(1, 3), torch.zeros(1, 1), torch.ones(1, 1), torch.zeros(1, 0))
    return TrackedNodes(alone, deltas, periodic=False)


def test_nodes_are_where_they_are_known_to_be_and_go_smoothly_between() -> None:
    times = torch.linspace(0, 1, 9)
    path = torch.zeros(9, 1, 10)
    path[:, 0, 2] = (2 * math.pi * times).sin()
    once = _one_node(path)
    loop = TrackedNodes(once.nodes, path[:-1], periodic=True)
    for tracks in (once, loop):
        for k, time in enumerate(times.tolist()):
            torch.testing.assert_close(tracks.node_deltas(time), path[k], atol=1e-6, rtol=0)
    assert float(loop.node_deltas(1 / 16)[0, 2]) == pytest.approx(math.sin(math.pi / 8), abs=0.02)
    assert float(loop.node_deltas(15 / 16)[0, 2]) == pytest.approx(-math.sin(math.pi / 8), abs=0.02)
    for wrong in (path[:1], path[..., :9], path[:, :0]):
        with pytest.raises(ValueError, match="tracks: expected"):
            _one_node(wrong)


@pytest.mark.parametrize("animation", [0, HOPS])
def test_what_follows_a_course_goes_as_its_points_go(animation: int) -> None:
    """At its moments and between them, also where the motion loops."""
    course = creature_course(1.0, animation)
    for timeline in (Timeline(), Timeline(looping=True)):
        tracks = tracked_nodes(course, timeline, course.rest)
        assert tracks.periodic == timeline.looping
        still = torch.zeros(len(course.rest), 3)
        quats = torch.tensor([1.0, 0.0, 0.0, 0.0]).expand(len(course.rest), 4)
        far = (course.places - course.rest).norm(dim=-1).max()
        for time in (0.0, 0.25, 0.4, 0.9):
            means, _, _ = tracks.nodes(tracks.node_deltas(time), course.rest, quats, still)
            off = (means - course.at(time)).norm(dim=-1)
            assert float(off.max()) < 0.05 * far


def test_a_course_that_nearly_loops_is_bent_at_its_ends_alone() -> None:
    rest = torch.rand(50, 3, generator=torch.Generator().manual_seed(0))
    wave = (2 * math.pi * torch.linspace(0, 1, 17)).sin()[:, None, None]
    drift = 0.02 * torch.linspace(0, 1, 17)[:, None, None]
    course = Course(rest=rest, places=rest + 0.3 * wave + drift)
    assert course.loops
    closed = course.closed()
    torch.testing.assert_close(closed.places[0], closed.places[-1])
    torch.testing.assert_close(closed.places[4:13], course.places[4:13])
    assert float((closed.places - course.places).abs().max()) < 0.011
    away = Course(rest=rest, places=rest + torch.linspace(0, 1, 17)[:, None, None])
    assert not away.loops


def test_what_turns_once_around_ends_as_it_began() -> None:
    rest = torch.rand(200, 3, generator=torch.Generator().manual_seed(0)) - 0.5
    angles = torch.linspace(0, 2 * math.pi, 17)
    turns = torch.zeros(17, 3, 3)
    turns[:, 0, 0] = turns[:, 1, 1] = angles.cos()
    turns[:, 1, 0], turns[:, 0, 1], turns[:, 2, 2] = angles.sin(), -angles.sin(), 1.0
    course = Course(rest=rest, places=torch.einsum("kij,pj->kpi", turns, rest))
    tracks = tracked_nodes(course, Timeline(looping=True), rest)
    assert not tracks.periodic  # one turn is half of one of quaternions
    turned = rotations(tracks.node_deltas(31 / 32)[:, 3:7] + torch.tensor([1.0, 0.0, 0.0, 0.0]))
    assert float((turned[:, 0, 0] - math.cos(math.pi / 16)).abs().max()) < 0.1


def test_a_still_loop_of_two_moments_keeps_both() -> None:
    rest = torch.rand(20, 3, generator=torch.Generator().manual_seed(0))
    tracks = tracked_nodes(
        Course(rest=rest, places=rest.repeat(2, 1, 1)), Timeline(looping=True), rest
    )
    assert not tracks.periodic
    torch.testing.assert_close(tracks.node_deltas(0.5), torch.zeros(20, 10), atol=1e-5, rtol=0)


@cache
def _orbits(animation: int) -> list[OrbitClip]:
    """Two orbits of the creature, rendered along its course."""
    cfg, out = PrepareConfig(resolution=SIDE, supersample=2), []
    for start in (0.0, 180.0):
        cameras = orbit_cameras(orbit_azimuths(8, start=start), width=SIDE, height=SIDE)
        times = torch.arange(8) / 8
        clip = render_view(placed_creature(animation), cameras, times, cfg, None)
        out.append(clip if out else replace(clip, course=creature_course(1.0, animation)))
    return out


def _made(
    folder: Path, clips: list[OrbitClip], cfg: ConstructConfig = STEPS, prior: Tensor | None = None
) -> tuple[Recorder, Constructed]:
    folder.mkdir()
    said = Recorder()
    made = construct(
        ConstructInput(clips=clips, static=creature_views(HOPS)["static"], spatial_prior=prior), cfg,
        folder=folder, scratch=folder / "scratch", device=CPU, reporter=said, stop=StopFlag(),
    )  # fmt: skip
    return said, made


def _between(asset: Gaussians4D) -> float:
    """PSNR half way between the frames, from where none of them was seen then."""
    cfg = PrepareConfig(resolution=SIDE, supersample=2)
    cameras = orbit_cameras(orbit_azimuths(8, start=90.0), width=SIDE, height=SIDE)
    times = (torch.arange(8) + 0.5) / 8
    true = render_view(placed_creature(HOPS), cameras, times, cfg, None)
    return float(psnr(render_clip(asset, cameras, times).frames, true.over(torch.ones(3))).mean())


def test_an_asset_of_rendered_frames_moves_as_their_course_between_them_too(tmp_path: Path) -> None:
    """Its purpose. A motion that is learned from eight moments is further from it."""
    found = {}
    for along in (True, False):  # where the settings name no nodes, too
        folder = tmp_path / str(along)
        cfg = replace(STEPS, along=along, nodes=0 if along else STEPS.nodes)
        said, _ = _made(folder, _orbits(HOPS), cfg)
        assert any(line.startswith("the motion is the course") for line in said.lines) == along
        asset = load_asset(folder)
        assert isinstance(asset.motion.field, TrackedNodes) == along
        found[along] = _between(asset)
    assert found[True] > found[False] + 1


def test_frames_without_opacities_and_several_courses_teach_the_motion(tmp_path: Path) -> None:
    sampled = [replace(clip, frames=clip.over(torch.ones(3)), alpha=None) for clip in _orbits(HOPS)]
    two = [replace(clip, course=creature_course(1.0, HOPS)) for clip in _orbits(HOPS)]
    few = replace(STEPS, static_steps=4, coarse_steps=2, fine_steps=2)
    for number, clips in enumerate(([*_orbits(HOPS)[:1], *sampled[1:]], two)):
        _made(tmp_path / str(number), clips, few)
        assert not isinstance(load_asset(tmp_path / str(number)).motion.field, TrackedNodes)


@pytest.mark.parametrize("along", [True, False])
def test_priors_are_used_where_there_is_a_field(tmp_path: Path, along: bool) -> None:
    few = replace(STEPS, static_steps=4, coarse_steps=2, fine_steps=2, along=along)
    _, made = _made(tmp_path / "made", _orbits(HOPS), few, torch.zeros(4, 8))
    assert made.content["priors"] == ([] if along else ["spatial"])


def test_it_is_kept_and_files_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    few = replace(STEPS, static_steps=4, coarse_steps=2, fine_steps=2)
    _made(tmp_path / "made", _orbits(HOPS), few)
    asset = load_asset(tmp_path / "made")
    save_asset(tmp_path, asset)
    again = load_asset(tmp_path)
    assert isinstance(again.motion.field, TrackedNodes)
    for time in (0.0, 0.3, 0.99):
        torch.testing.assert_close(again.at(time).means, asset.at(time).means)
        torch.testing.assert_close(again.at(time).quats, asset.at(time).quats)
    path = tmp_path / "asset.json"
    good = json.loads(path.read_text())
    assert good["version"] == 5
    moments = good["field"]["moments"]
    for field in (
        {"moments": moments + 1, "periodic": True},
        {"moments": moments, "periodic": "yes"},
        {"moments": moments},
        {**good["field"], "width": 8},
    ):
        path.write_text(json.dumps({**good, "field": field}))
        with pytest.raises(InputError, match="does not fit"):
            load_asset(tmp_path)
    path.write_text(json.dumps({**good, "version": 4}))
    with pytest.raises(InputError, match="deformation config"):
        load_asset(tmp_path)


def _fit(*, looping: bool = False, along: bool = True) -> Fit:
    cfg, static = replace(STEPS, static_steps=10, coarse_steps=0), creature_views(HOPS)["static"]
    points, loop = surface_points(static, cfg.gaussians), Recurrence(looping=looping)
    views = build_views(_orbits(HOPS), static, loop, mirror_weight=0.0, device=CPU)
    course = creature_course(1.0, HOPS)
    return Fit(cfg, views, TrainableAsset(points, cfg, course=course, along=along))


@pytest.mark.parametrize("looping", [False, True])
def test_a_stopped_fit_goes_on_to_the_same_bytes(tmp_path: Path, looping: bool) -> None:
    whole = _fit(looping=looping)
    whole.run(tmp_path / "a", Silent(), StopFlag())
    with pytest.raises(Preempted):
        _fit(looping=looping).run(tmp_path / "b", Silent(), StopAfter(30))
    last = _fit(looping=looping)
    last.run(tmp_path / "b", Silent(), StopFlag())
    first, second = whole.state(), last.state()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []
    for phase in (0.1, 0.95):
        assert torch.equal(whole.model.at(phase).means, last.model.at(phase).means)


def test_a_fit_that_was_begun_with_a_field_goes_on_along_the_course(tmp_path: Path) -> None:
    """As an older version began it."""
    with pytest.raises(Preempted):
        _fit(along=False).run(tmp_path, Silent(), StopAfter(30))
    last, said = _fit(), Recorder()
    last.run(tmp_path, said, StopFlag())
    assert any(line.startswith("resuming from step 31") for line in said.lines), said.lines
    assert isinstance(last.model.result().motion.field, TrackedNodes)
