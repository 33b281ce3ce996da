"""An assumed orbit is checked against the pictures: what is wrong is found, and true orbits stand."""

import math
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch

from orster_cli.config.prepare import PrepareConfig
from orster_cli.construction.orbit_check import MIN_FRAMES, judge_orbit
from orster_cli.core.errors import InputError
from orster_cli.core.reporting import Silent
from orster_cli.core.types import OrbitClip
from orster_cli.dataset.views import NormalizedClip, normalize_object, render_view
from orster_cli.geometry.orbit import clip_times, orbit_azimuths, orbit_cameras
from orster_cli.gltf.load import load_gltf
from orster_cli.inputs.assumed_orbit import one_turn
from orster_cli.inputs.video import OrbitFlags, clip_from_frames
from tests.helpers.constructing import CREATURE, ball_clip

SIDE, COUNT = 64, 24
CFG = PrepareConfig(resolution=SIDE, supersample=2)
OBJECTS = (
    *("animal_horse", "critter_frog", "dino_trex", "sea_shark", "kenney_character"),
    *("cutefish_koi", "critter_wasp", "platformer_chest", "cyber_enemy_2legs"),
)


def _object(path: Path) -> NormalizedClip:
    return normalize_object(load_gltf(path), 0, CFG)


def _view(
    thing: NormalizedClip, turns: float = 1.0, elevation: float = 0.0, *, static: bool = False
) -> OrbitClip:
    cameras = orbit_cameras(
        orbit_azimuths(COUNT, turns=turns), elevation=elevation, width=SIDE, height=SIDE
    )
    times = torch.zeros(COUNT).double() if static else clip_times(COUNT)
    return render_view(thing, cameras, times, CFG, None)


@cache
def _creature(turns: float = 1.0, elevation: float = 0.0) -> OrbitClip:
    return _view(_object(CREATURE), turns, elevation)


def _opened(clip: OrbitClip, **given: float | None) -> tuple[OrbitClip, list[str]]:
    heard = Silent()
    flags = OrbitFlags(**given)
    return clip_from_frames(
        clip.frames, clip.alpha, flags, where="v", reporter=heard
    ), heard.warnings


def test_a_true_orbit_stands() -> None:
    found, said = _opened(_creature())
    assert torch.equal(found.cameras.w2c, _creature().cameras.w2c)
    assert said == []


def test_a_camera_that_stands_still_is_found() -> None:
    found, said = _opened(_creature(0.0))
    assert float(found.cameras.azimuths.abs().max()) < 1e-3
    assert "camera that stands still: taken as --turns 0" in said[0]
    kept, said = _opened(_creature(0.0), turns=1.0)  # what is given is kept
    assert float(kept.cameras.azimuths.abs().max()) > 170
    assert "try --turns 0" in said[0]


def test_the_other_direction_is_found() -> None:
    found, said = _opened(_creature(-1.0))
    assert torch.allclose(found.cameras.w2c, _creature(-1.0).cameras.w2c, atol=1e-5)
    assert "goes round clockwise: taken as such" in said[0]


@pytest.mark.slow
def test_another_elevation_is_found() -> None:
    found, said = _opened(_creature(1.0, 20.0))
    height = float(found.cameras.positions[:, 2].mean())
    assert math.degrees(math.asin(height / 2)) == pytest.approx(20, abs=5)
    assert "fit an elevation of" in said[0]


def test_shuffled_frames_are_refused() -> None:
    clip = _creature()
    order = torch.randperm(COUNT, generator=torch.Generator().manual_seed(3))
    given = (clip.frames[order], clip.alpha[order])
    with pytest.raises(InputError, match="not in order") as caught:
        clip_from_frames(*given, OrbitFlags(), where="v", reporter=Silent())
    assert caught.value.code == "E-ORBIT-ORDER"
    heard = Silent()
    clip_from_frames(*given, OrbitFlags(turns=1.0), where="v", reporter=heard)
    assert "not in order" in heard.warnings[0]


def _one_turn(
    frames: torch.Tensor, alpha: torch.Tensor, turns: float | None = None
) -> tuple[torch.Tensor, torch.Tensor, list[str]]:
    heard = Silent()
    progress = torch.arange(len(frames)).double() / len(frames)
    found = one_turn(frames, alpha, progress, OrbitFlags(turns=turns), "v", heard)
    return *found, heard.warnings


def _twice() -> tuple[torch.Tensor, torch.Tensor]:
    clip = _creature()
    return torch.cat([clip.frames] * 2), torch.cat([clip.alpha] * 2)


def _held() -> tuple[torch.Tensor, torch.Tensor]:
    """The turn, held at its end for 8 frames and before its beginning for 2."""
    every = [0] * 2 + [*range(COUNT)] + [COUNT - 1] * 8
    return _creature().frames[every], _creature().alpha[every]


def test_a_turn_that_is_shown_twice_is_used_once() -> None:
    even = [i / COUNT for i in range(COUNT)]
    kept, way, (said,) = _one_turn(*_twice())
    assert kept.tolist() == list(range(COUNT))
    assert way.tolist() == pytest.approx(even)
    assert said == (
        f"v: the pictures come again after {COUNT} of {2 * COUNT} frames: the first {COUNT} are used, as "
        "one turn"
    )


def test_a_turn_that_is_held_at_its_ends_is_that_between_them() -> None:
    kept, way, (said,) = _one_turn(*_held())
    assert kept.tolist() == list(range(2, COUNT + 2))
    assert way.tolist() == pytest.approx([i / COUNT for i in range(COUNT)])
    assert said == (
        f"v: 10 of its {COUNT + 10} frames hold the picture at its ends: the turn is taken to go from "
        f"frame 2 to {COUNT + 2}"
    )


def test_a_true_orbit_is_one_turn() -> None:
    clip = _creature()
    kept, _, said = _one_turn(clip.frames, clip.alpha)
    assert (len(kept), said) == (COUNT, [])
    ball = ball_clip(COUNT, side=32)  # all of its pictures are equal
    assert ball.alpha is not None
    kept, _, said = _one_turn(ball.frames, ball.alpha)
    assert (len(kept), said) == (COUNT, [])


@pytest.mark.slow
def test_turns_that_are_given_count_all_frames() -> None:
    kept, _, (said,) = _one_turn(*_twice(), turns=1.0)
    assert len(kept) == 2 * COUNT  # what is given is kept
    assert said.endswith("--turns counts all of them; give 2 times one turn")
    kept, _, (said,) = _one_turn(*_held(), turns=1.0)
    assert len(kept) == COUNT + 10
    assert "--turns counts them too" in said


@pytest.mark.slow
@pytest.mark.parametrize("given", [_twice, _held])
def test_what_is_left_of_a_video_is_the_true_orbit(
    given: Callable[[], tuple[torch.Tensor, torch.Tensor]],
) -> None:
    clip = _creature()
    found = clip_from_frames(*given(), OrbitFlags(), where="v", reporter=Silent())
    assert torch.allclose(found.cameras.w2c, clip.cameras.w2c, atol=1e-6)
    assert torch.equal(found.frames, clip.frames)
    assert found.times.tolist() == pytest.approx(clip.times.tolist(), abs=1e-6)


@pytest.mark.slow
def test_half_a_turn_is_said() -> None:
    found, said = _opened(_view(_object(CREATURE), 0.5, static=True))
    assert "fit half a turn rather than one: try --turns 0.5" in said[0]
    assert float(found.cameras.azimuths.abs().max()) > 170  # said, not done: the gain is no proof
    assert _opened(_view(_object(CREATURE), 0.5, static=True), turns=0.5)[1] == []


def test_what_pictures_cannot_tell_is_left_as_assumed() -> None:
    for clip in (ball_clip(COUNT, side=32), ball_clip(MIN_FRAMES - 1, side=32)):
        found, said = _opened(clip)
        assert torch.allclose(found.cameras.w2c, clip.cameras.w2c, atol=1e-6)
        assert said == []


@pytest.mark.slow
@pytest.mark.parametrize("name", OBJECTS)
def test_true_orbits_of_real_objects_stand(name: str, shared_data: Path) -> None:
    thing = _object(shared_data / "glb" / f"{name}.glb")
    for static in (False, True):
        clip = _view(thing, static=static)
        found = judge_orbit(
            clip.frames,
            clip.alpha,
            orbit_azimuths(COUNT),
            elevation=0.0,
            radius=2.0,
            fov_deg=39.6,
        )
        assert found.kind == "", found


@pytest.mark.slow
def test_most_wrong_orbits_of_real_objects_are_found(shared_data: Path) -> None:
    hits = dict.fromkeys(("still", "reversed", "elevation", "order"), 0)
    for name in OBJECTS:
        thing = _object(shared_data / "glb" / f"{name}.glb")
        true = _view(thing)
        order = torch.randperm(COUNT, generator=torch.Generator().manual_seed(1))
        wrong = {
            "still": _view(thing, 0.0),
            "reversed": _view(thing, -1.0),
            "elevation": _view(thing, 1.0, 30.0),
        }
        given = {kind: (clip.frames, clip.alpha) for kind, clip in wrong.items()}
        given["order"] = (true.frames[order], true.alpha[order])
        for kind, (frames, alpha) in given.items():
            found = judge_orbit(
                frames,
                alpha,
                orbit_azimuths(COUNT),
                elevation=0.0,
                radius=2.0,
                fov_deg=39.6,
            )
            hits[kind] += found.kind == kind
    assert hits["order"] == len(OBJECTS)
    assert min(hits.values()) >= 6, hits  # 8, 6, 8 and 9 of 9 when this was written
