"""A fit of a clip whose object's course is known: it follows that where no frame tells otherwise."""

import math
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor

from orster_cli.config.prepare import PrepareConfig
from orster_cli.construction.fit import Fit
from orster_cli.construction.fit_asset import ConstructInput, as_the_course, construct
from orster_cli.construction.follow_course import KEYS, Guide, begins_at_rest
from orster_cli.construction.hull import SurfacePoints, surface_points
from orster_cli.construction.node_graph import build_nodes
from orster_cli.construction.recurrence import Recurrence
from orster_cli.construction.trainable_asset import TrainableAsset
from orster_cli.construction.training_views import build_views
from orster_cli.core.errors import Preempted
from orster_cli.core.reporting import Silent
from orster_cli.core.stopping import StopFlag
from orster_cli.core.types import Course, OrbitClip
from orster_cli.dataset.views import render_view
from orster_cli.geometry.orbit import clip_times, orbit_cameras
from orster_cli.io.clip_files import read_course
from orster_cli.splatting.gaussians4d import Timeline
from orster_cli.splatting.nodes import ControlNodes, rotations
from tests.helpers.constructing import CPU, TINY, creature_views
from tests.helpers.courses import HOPS, SIDE, WALKS, creature_course, placed_creature
from tests.helpers.recording import Recorder
from tests.helpers.stops import StopAfter

FEW = replace(
    TINY,
    nodes=60,
    leave=0.01,
    plane_resolution=16,
    time_resolution=8,
    static_steps=40,
    coarse_steps=20,
    fine_steps=40,
)


@cache
def _seen_from(azimuth: float) -> OrbitClip:
    """The walk before a camera that stands still."""
    cfg = PrepareConfig(resolution=SIDE, supersample=2)
    cameras = orbit_cameras(torch.full((8,), azimuth), width=SIDE, height=SIDE)
    return render_view(placed_creature(WALKS), cameras, clip_times(8), cfg, None)


def _fit(
    clip: OrbitClip, course: Course | None, weight: float = FEW.course, animation: int = WALKS
) -> Fit:
    cfg, static = replace(FEW, course=weight), creature_views(animation)["static"]
    views = build_views([clip], static, Recurrence(), mirror_weight=0.0, device=CPU)
    return Fit(cfg, views, TrainableAsset(_points(animation), cfg, course=course))


@cache
def _points(animation: int) -> SurfacePoints:
    return surface_points(creature_views(animation)["static"], FEW.gaussians)


def _begun(fit: Fit) -> Fit:
    """The same fit, whose motion has begun and which no frame has changed."""
    begun = Fit(fit.cfg, fit.views, TrainableAsset(_points(HOPS), fit.cfg, course=fit.model.course))
    begun.model.start_motion(begun.views.timeline)
    return begun


def _nodes_of(fit: Fit) -> ControlNodes:
    assert fit.model.motion is not None
    nodes = fit.model.motion.field.nodes
    assert nodes is not None
    return nodes


def _off(fit: Fit, course: Course) -> float:
    """RMS distance of the nodes from where they are on `course`."""
    guide, nodes, total = Guide(course, Timeline(), CPU), _nodes_of(fit), 0.0
    assert fit.model.motion is not None
    with torch.no_grad():
        for k in range(8):
            moved = fit.model.motion.field.node_deltas(k / 8)[:, :3]
            total += float((moved - guide.targets(nodes, k / 8)[0]).square().sum(-1).mean())
    return math.sqrt(total / 8)


def test_what_no_frame_shows_follows_the_course(tmp_path: Path) -> None:
    """Its purpose. Before a camera in front the legs swing along its view."""
    found = []
    for course in (None, creature_course()):
        fit = _fit(_seen_from(0.0), course)
        fit.run(tmp_path / str(course is None), Silent(), StopFlag())
        found.append(_off(fit, creature_course()))
    assert found[1] < 0.5 * found[0]


def test_the_frames_correct_a_wrong_course(tmp_path: Path) -> None:
    """One that goes half as high as the creature hops. A short fit goes a part of the way only."""
    true, wrong = creature_course(1.0, HOPS), creature_course(0.5, HOPS)
    fit = _fit(creature_views(HOPS)["dynamic"], wrong, 1.0, HOPS)
    begun = _off(_begun(fit), true)
    fit.run(tmp_path, Silent(), StopFlag())
    assert _off(fit, true) < 0.75 * begun


def test_a_motion_may_begin_elsewhere_than_the_object_at_rest_stands(tmp_path: Path) -> None:
    """As of an object that is given in its bind pose: its static orbit is no moment of the motion, and
    the frames that show the first one are not pulled to it."""
    placed, own = placed_creature(WALKS), creature_course()
    late = [(k + 4) % 16 for k in range(17)]  # begins with the legs apart
    course = Course(rest=own.rest, places=own.places[late])
    assert begins_at_rest(own)
    assert not begins_at_rest(course)
    cameras = orbit_cameras(torch.arange(8) * 45.0, width=SIDE, height=SIDE)
    times, cfg = torch.arange(8) / 8, PrepareConfig(resolution=SIDE, supersample=2)
    clip = replace(render_view(placed, cameras, (times + 0.25) % 1, cfg, None), times=times)
    static, errors = creature_views(WALKS)["static"], []
    for apart in (False, True):
        views = build_views(
            [clip], static, Recurrence(), mirror_weight=0.0, begins_at_rest=not apart, device=CPU
        )
        assert {view.phase for view in views.static} == {None}
        assert (None in {view.phase for view in views.observed}) == apart
        many = replace(FEW, coarse_steps=60, fine_steps=160)
        fit = Fit(many, views, TrainableAsset(_points(WALKS), many, course=course))
        fit.run(tmp_path / str(apart), Silent(), StopFlag())
        first = views.driving[0]
        with torch.no_grad():
            shown = fit.render(fit.model.at(first.phase), first)
        made = shown.rgb[0] + (1 - shown.alpha[0])
        errors.append(float((made - first.rgb).square().mean()))
    assert errors[1] < 0.75 * errors[0]


def test_without_a_course_or_its_weight_all_is_as_it_was(tmp_path: Path) -> None:
    clip = creature_views()["dynamic"]
    fits = [_fit(clip, None), _fit(clip, creature_course(), 0.0)]
    for number, fit in enumerate(fits):
        fit.run(tmp_path / str(number), Silent(), StopFlag())
    first, second = (fit.state() for fit in fits)
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


@pytest.mark.slow
def test_it_resumes_to_the_same_bytes(tmp_path: Path) -> None:
    clip = creature_views()["dynamic"]
    whole = _fit(clip, creature_course())
    whole.run(tmp_path / "a", Silent(), StopFlag())
    for after in (50, 20):
        with pytest.raises(Preempted):
            _fit(clip, creature_course()).run(tmp_path / "b", Silent(), StopAfter(after))
    last = _fit(clip, creature_course())
    last.run(tmp_path / "b", Silent(), StopFlag())
    first, second = whole.state(), last.state()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


def _turned(degrees: float) -> Tensor:
    angle = math.radians(degrees)
    return torch.tensor(
        [
            [math.cos(angle), -math.sin(angle), 0.0],
            [math.sin(angle), math.cos(angle), 0.0],
            [0.0, 0.0, 1.0],
        ]
    )


def test_nodes_turn_as_the_points_around_them() -> None:
    """Once and a half around, so that their quaternions leave the half sphere of rest."""
    rest = torch.rand(300, 3, generator=torch.Generator().manual_seed(0)) - 0.5
    places = torch.stack([rest @ _turned(540 * k / 128).T for k in range(129)])
    guide = Guide(Course(rest=rest, places=places), Timeline(), CPU)
    nodes = build_nodes(rest, guide.paths(rest, 8), 20)
    quats = torch.stack([guide.targets(nodes, k / KEYS)[1] for k in range(KEYS + 1)])
    for k in range(0, KEYS + 1, 4):
        shifts = guide.targets(nodes, k / KEYS)[0]
        expected = _turned(540 * k / KEYS)
        assert torch.allclose(rotations(quats[k]), expected.expand(20, 3, 3), atol=0.1)
        away = nodes.positions + shifts - nodes.positions @ expected.T
        assert float(away.norm(dim=1).max()) < 0.02
    assert float((quats[1:] * quats[:-1]).sum(-1).min()) > 0.9


def test_limbs_that_touch_at_rest_and_part_share_no_nodes() -> None:
    rest = torch.rand(400, 3, generator=torch.Generator().manual_seed(0))
    rest[:, 0] = torch.cat([0.1 * rest[:200, 0], 0.1 * rest[200:, 0] + 0.11])
    away = torch.zeros(400, 3)
    away[200:, 0] = 1.0
    places = torch.stack([rest + k / 4 * away for k in range(5)])
    guide = Guide(Course(rest=rest, places=places), Timeline(), CPU)
    nodes = build_nodes(rest, guide.paths(rest, 8), 40)
    followed = nodes.positions[nodes.index.long()][..., 0] > 0.105
    own = (rest[:, 0] > 0.105)[:, None].expand_as(followed)
    assert float(((followed != own) * nodes.weights).sum(dim=1).max()) < 1e-3


def test_a_loop_is_closed_and_its_cycles_are_averaged() -> None:
    rest = torch.rand(50, 3, generator=torch.Generator().manual_seed(0))
    wave = torch.tensor([0.3 * math.sin(4 * math.pi * k / 32) for k in range(33)])
    drift = torch.linspace(0, 0.02, 33)
    along = torch.tensor([0.0, 0.0, 1.0])
    course = Course(rest=rest, places=rest + (wave + drift)[:, None, None] * along)
    assert course.seam < 0.1
    guide = Guide(course, Timeline(looping=True, cycles=2), CPU)
    nodes = build_nodes(rest, rest, 10)
    begin, quarter, end = (guide.targets(nodes, phase)[0] for phase in (0.0, 0.25, 1.0))
    assert torch.allclose(begin, end, atol=1e-6)
    assert torch.allclose(quarter, begin + 0.3 * along, atol=0.01)
    looping = Recurrence(looping=True, mirror_azimuth=0.0, mirror_shift=0.5)
    assert as_the_course(looping, course) is looping
    one_way = Course(rest=rest, places=rest + torch.linspace(0, 1, 33)[:, None, None] * along)
    opened = as_the_course(looping, one_way)
    assert not opened.looping
    assert opened.mirror_azimuth is None, "half a cycle later, of which there are none"
    # pictures of it standing elsewhere hide a loop
    assert as_the_course(Recurrence(), course).looping
    assert not as_the_course(Recurrence(), one_way).looping


def test_a_fit_without_nodes_knows_where_the_motion_begins_too(tmp_path: Path) -> None:
    """It does not follow the course, and the object at rest is no moment of the motion all the same."""
    own = creature_course()
    course = Course(rest=own.rest, places=own.places[[(k + 4) % 16 for k in range(17)]])
    clip = replace(creature_views(WALKS)["dynamic"], course=course)
    static = creature_views(WALKS)["static"]
    for nodes in (0, 60):
        said, folder = Recorder(), tmp_path / str(nodes)
        folder.mkdir()
        cfg = replace(FEW, nodes=nodes, along=False, static_steps=2, coarse_steps=2, fine_steps=2)
        construct(
            ConstructInput(clips=[clip], static=static), cfg, folder=folder,
            scratch=folder / "scratch", device=CPU, reporter=said, stop=StopFlag(),
        )  # fmt: skip
        assert any(line.startswith("motion loops") for line in said.lines), said.lines
        kept = read_course(folder)
        assert kept is not None
        torch.testing.assert_close(kept.places, course.places)
