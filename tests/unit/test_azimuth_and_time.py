"""The grid of (azimuth, time) frames: azimuth and time are two variables, and clips are paths in it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from orster_cli.config.load import resolve
from orster_cli.config.prepare import PrepareConfig, check_grid
from orster_cli.core.errors import ConfigError, InputError
from orster_cli.core.reporting import Silent
from orster_cli.core.stopping import StopFlag
from orster_cli.core.types import OrbitClip
from orster_cli.dataset.merge import Part, merge
from orster_cli.dataset.reader import Dataset
from orster_cli.dataset.views import normalize_object, render_normalized, render_views, view_cameras
from orster_cli.geometry.orbit import grid_path
from orster_cli.gltf.load import load_gltf
from orster_cli.gltf.scene import Scene
from orster_cli.mesh_render.render import render_mesh
from orster_cli.training.frame_cache import FrameCache
from orster_cli.training.latents import LatentCache
from tests.helpers.preparing import TINY, copies, run
from tests.helpers.training import tiny_vae

T = TINY.frames
SQUARE = replace(TINY, grid=T, elevation=20.0)
HOP = 1  # the animation of the creature that moves all of it


@pytest.fixture(scope="module")
def views(creature: Path) -> dict[str, OrbitClip]:
    return render_views(load_gltf(creature), HOP, SQUARE)


@pytest.fixture(scope="module")
def prepared(creature: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset with a grid and azimuth jitter, four samples."""
    root = tmp_path_factory.mktemp("grid")
    run(copies(creature, root / "objects", 2), root, grid=2 * T, azimuth_jitter=True)
    return root / "out"


def same(a: OrbitClip, b: OrbitClip, which: list[int]) -> bool:
    """Whether `a` is the frames `which` of `b`, bit for bit."""
    assert a.alpha is not None
    assert b.alpha is not None
    pairs = (
        (a.frames, b.frames),
        (a.alpha, b.alpha),
        (a.cameras.w2c, b.cameras.w2c),
        (a.cameras.K, b.cameras.K),
        (a.times, b.times),
    )
    return all(torch.equal(x, y[which]) for x, y in pairs)


def test_paths_through_the_grid() -> None:
    assert grid_path(3, 3) == [0 * 3 + 0, 1 * 3 + 1, 2 * 3 + 2]
    assert grid_path(3, 3, start=1, direction=-1) == [1 * 3 + 0, 0 * 3 + 1, 2 * 3 + 2]
    assert grid_path(3, 3, start=2, direction=0) == [6, 7, 8]
    assert grid_path(3, 3, start=1, moment=2) == [1 * 3 + 2, 2 * 3 + 2, 0 * 3 + 2]
    assert grid_path(2, 6, start=4) == [4 * 2 + 0, 1 * 2 + 1]  # 120 degrees apart: three at a step
    assert grid_path(4, 3, start=2, direction=0) == [8, 9, 10, 11]  # a still camera needs no orbit
    for frames, azimuths in ((4, 4), (4, 8), (5, 10)):
        for direction in (-1, 1):
            path = grid_path(frames, azimuths, direction=direction)
            assert [k % frames for k in path] == list(range(frames))
            assert len({k // frames for k in path}) == frames


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"frames": 4, "azimuths": 6}, "an orbit of 4 frames is not on a grid of 6 azimuths"),
        ({"frames": 4, "azimuths": 2}, "an orbit of 4 frames is not on a grid of 2 azimuths"),
        ({"frames": 4, "azimuths": 4, "start": 4}, "start 4 is not one of 4"),
        ({"frames": 4, "azimuths": 4, "start": -1}, "start -1 is not one of 4"),
        ({"frames": 4, "azimuths": 4, "direction": 2}, "-1, 0 or 1, got 2"),
        ({"frames": 4, "azimuths": 4, "moment": 4}, "moment 4 is not one of 4"),
        ({"frames": 0, "azimuths": 4}, "expected a grid"),
    ],
)
def test_paths_outside_the_grid(given: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        grid_path(**given)


def test_azimuth_and_time_are_two_variables(creature: Path, views: dict[str, OrbitClip]) -> None:
    """Equal azimuth: one camera, the object moves. Equal moment: one mesh, the camera moves."""
    grid = views["grid"]
    assert len(grid) == T * T
    w2c = grid.cameras.w2c.reshape(T, T, 4, 4)
    times = grid.times.reshape(T, T)
    frames = grid.frames.reshape(T, T, *grid.frames.shape[1:])
    placed = normalize_object(load_gltf(creature), HOP, SQUARE)
    for k in range(T):
        assert torch.equal(w2c[k], w2c[k, :1].expand(T, 4, 4))
        assert torch.equal(times[:, k], times[:1, k].expand(T))
        turned = (grid.cameras.azimuths.reshape(T, T)[k] - 360 * k / T).abs() % 360
        assert torch.minimum(turned, 360 - turned).max() < 1e-4
        alone = render_mesh(placed.mesh(k / (T - 1)), grid.cameras[k::T], supersample=1)
        assert torch.equal(frames[:, k], alone.rgb)
        others = [j for j in range(T) if j != k]
        assert all((frames[j, k] != frames[k, k]).any() for j in others)  # the camera moved
        others = [j for j in others if {j, k} != {0, T - 1}]  # the hop ends as it begins
        assert all((frames[k, j] != frames[k, k]).any() for j in others)  # the object moved


@pytest.mark.parametrize("azimuths", [T, 2 * T])
def test_the_three_views_are_paths_through_the_grid(creature: Path, azimuths: int) -> None:
    scene = load_gltf(creature)
    views = render_views(scene, HOP, replace(SQUARE, grid=azimuths))
    alone = render_views(scene, HOP, replace(SQUARE, grid=0))
    assert list(views) == [*alone, "grid"]
    paths = {
        "dynamic": grid_path(T, azimuths),
        "static": grid_path(T, azimuths, moment=0),
        "front": grid_path(T, azimuths, direction=0),
    }
    for name, path in paths.items():
        assert same(views[name], views["grid"], path)
        assert same(views[name], alone[name], list(range(T)))  # and what they are without a grid


def test_with_jitter_the_orbit_starts_at_the_nearest_azimuth_of_the_grid() -> None:
    free = replace(SQUARE, azimuth_jitter=True, grid=0)
    cfg = replace(free, grid=6 * T)
    starts = set()
    for key in "abcdefgh":
        drawn = view_cameras(free, key)["dynamic"][0].azimuths[0]
        views = view_cameras(cfg, key)
        start = views["dynamic"][0].azimuths[0]
        assert abs((start - drawn + 180) % 360 - 180) <= 360 / (6 * T) / 2 + 1e-4
        first = round(float(start) / 360 * 6 * T) % (6 * T)
        path = grid_path(T, 6 * T, start=first)
        assert torch.equal(views["dynamic"][0].w2c, views["grid"][0].w2c[path])
        assert torch.equal(views["front"][0].w2c, views["grid"][0].w2c[:T])
        starts.add(first)
    assert len(starts) > 4


def test_a_grid_that_the_orbit_is_not_on_leaves_it_as_it_is(creature: Path) -> None:
    scene, cfg = load_gltf(creature), replace(SQUARE, azimuth_jitter=True)
    views = render_views(scene, HOP, replace(cfg, grid=3), key="pet")
    alone = render_views(scene, HOP, replace(cfg, grid=0), key="pet")
    assert len(views["grid"]) == 3 * T
    for name, clip in alone.items():
        assert same(views[name], clip, list(range(T)))


def test_the_mesh_of_a_moment_is_evaluated_once(
    creature: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    placed = normalize_object(load_gltf(creature), HOP, SQUARE)
    seconds: list[float] = []
    evaluate = Scene.evaluate

    def counted(scene: Scene, clip: int | None, when: float) -> object:
        seconds.append(when)
        return evaluate(scene, clip, when)

    monkeypatch.setattr(Scene, "evaluate", counted)
    render_normalized(placed, SQUARE)
    assert len(seconds) == len(set(seconds)) == T


def test_the_dataset_gives_back_the_grid_and_the_paths_through_it(prepared: Path) -> None:
    dataset = Dataset.read(prepared)
    assert dataset.info("pet1-01")["frames"] == {
        "dynamic": T, "static": T, "front": T, "grid": 2 * T * T,
    }  # fmt: skip
    grid = dataset.clip("pet1-01", "grid")
    assert same(
        dataset.grid_clip("pet1-01", direction=0), dataset.clip("pet1-01", "front"), [*range(T)]
    )
    for asked in (
        {},
        {"start": 5},
        {"start": 2, "direction": -1},
        {"start": 7, "direction": 0},
        {"start": 3, "moment": 2},
    ):
        clip = dataset.grid_clip("pet1-01", **asked)  # type: ignore[arg-type]
        assert same(clip, grid, grid_path(T, 2 * T, **asked))  # type: ignore[arg-type]
    start = round(float(dataset.clip("pet1-01").cameras.azimuths[0]) / 360 * 2 * T) % (2 * T)
    assert same(dataset.grid_clip("pet1-01", start=start), dataset.clip("pet1-01"), [*range(T)])
    with pytest.raises(InputError, match="start 8 is not one of 8 azimuths"):
        dataset.grid_clip("pet1-01", start=8)


def test_a_dataset_without_a_grid_says_so(creature: Path, tmp_path: Path) -> None:
    run(copies(creature, tmp_path / "objects", 1), tmp_path)
    dataset = Dataset.read(tmp_path / "out")
    with pytest.raises(InputError, match="there is none") as caught:
        dataset.grid_clip("pet0-00")
    assert "prepare.grid" in (caught.value.hint or "")
    with pytest.raises(InputError, match="has no view 'grid'"):
        dataset.clip("pet0-00", "grid")


def test_the_grid_changes_neither_curation_nor_what_else_is_stored(
    creature: Path, tmp_path: Path
) -> None:
    objects = copies(creature, tmp_path / "objects", 1)
    strict = {"still_ssim": 0.5}  # drops one of the two clips
    plain = run(objects, tmp_path / "plain", **strict)
    gridded = run(objects, tmp_path / "gridded", grid=T, **strict)
    assert (plain.kept, plain.dropped) == (gridded.kept, gridded.dropped) == (1, 1)
    assert plain.content["dropped"] == gridded.content["dropped"]
    one, other = Dataset.read(tmp_path / "plain/out"), Dataset.read(tmp_path / "gridded/out")
    (key,) = one.keys()
    assert one.info(key)["motion"] == other.info(key)["motion"]
    for view in ("dynamic", "static", "front"):
        assert same(one.clip(key, view), other.clip(key, view), [*range(T)])


def test_a_dataset_without_a_grid_is_recorded_as_it_always_was(
    creature: Path, tmp_path: Path
) -> None:
    """Its id and "up to date" follow from these names; they are those of the first release."""
    names = [
        "frames", "resolution", "elevation", "azimuth_jitter", "seed", "eval_views", "eval_times",
        "supersample", "renderer", "device", "curate", "still_ssim", "broken_ssim", "blocklist",
        "shard_samples",
    ]  # fmt: skip
    resolved = resolve(assignments=["prepare.grid=0"])
    assert sorted(resolved.recorded("prepare")) == sorted(names)
    assert resolve(assignments=["prepare.grid=8"]).recorded("prepare")["grid"] == 8
    assert resolved.section("prepare")["grid"] == 0  # `config show` lists it
    objects = copies(creature, tmp_path / "objects", 1)
    plain, gridded = run(objects, tmp_path / "a"), run(objects, tmp_path / "b", grid=T)
    assert sorted(plain.content["settings"]) == sorted(names)
    assert gridded.content["settings"]["grid"] == T
    parts = [
        Part(name=name, dataset=Dataset.read(tmp_path / name / "out"), content=made.content)
        for name, made in (("a", plain), ("b", gridded))
    ]
    (tmp_path / "merged").mkdir()
    with pytest.raises(ConfigError, match="grid 4 and None"):
        merge(parts, tmp_path / "merged", reporter=Silent())
    content = merge(parts[1:], tmp_path / "merged", reporter=Silent())
    assert content["settings"]["grid"] == T
    merged = Dataset.read(tmp_path / "merged")
    assert len(merged.clip("pet0-01", "grid")) == T * T


def test_a_grid_of_any_size_that_can_be_read() -> None:
    check_grid(PrepareConfig())
    check_grid(PrepareConfig(frames=24, grid=24))
    for cfg in (PrepareConfig(frames=32, grid=313), PrepareConfig(resolution=1024, grid=24)):
        with pytest.raises(ConfigError, match="expected at most"):
            check_grid(cfg)


def test_orbits_that_begin_beside_the_grid_are_refused() -> None:
    """Where they are paths through it, each begins at the azimuth that its name says."""
    square = PrepareConfig(frames=8, grid=8, azimuths=(0, 90, 315))
    check_grid(square)
    check_grid(replace(square, azimuths=(10, 100), azimuth_jitter=True))
    check_grid(replace(square, azimuths=(0, 10), grid=9))  # no path through it
    for azimuths, jitter, got in (((0, 10), False, 10), ((20,), False, 20), ((10, 30), True, 20)):
        wrong = replace(square, azimuths=azimuths, azimuth_jitter=jitter)
        with pytest.raises(ConfigError, match=rf"multiples of 45 degrees.*got {got}$"):
            check_grid(wrong)


def test_times_beyond_a_clip_are_refused() -> None:
    for times in ("-0.1", "0.5,1.5"):
        with pytest.raises(ConfigError, match=r"prepare\.eval_times"):
            resolve(assignments=[f"prepare.eval_times=[{times}]"])
    assert resolve(assignments=["prepare.eval_times=[0,1]"]).config.prepare.eval_times == (0, 1)
    assert "eval" not in view_cameras(replace(TINY, eval_views=2, eval_times=()))


def test_latents_hold_the_grid_and_decoded_frames_do_not(prepared: Path) -> None:
    """The frame VAE learns from the three views; the grid's pixels are needed once, for its latents."""
    dataset, vae = Dataset.read(prepared), tiny_vae()
    cache = LatentCache(dataset, "grid", vae, 16)
    assert cache.views("pet0-00") == ("dynamic", "static", "front", "grid")
    cache.fill(vae, device=torch.device("cpu"), reporter=Silent(), stop=StopFlag())
    grid = cache.read("pet0-00", "grid", 0)
    front = cache.read("pet0-00", "front", 0)
    path = grid_path(T, 2 * T, direction=0)
    torch.testing.assert_close(grid.latents[path], front.latents)
    assert torch.equal(grid.w2c[path], front.w2c)
    assert FrameCache(dataset, "grid", 16).count == len(dataset) * 3 * T


def test_times_that_do_not_repeat_are_no_grid(prepared: Path, tmp_path: Path) -> None:
    index = json.loads((prepared / "index.json").read_text())
    shard = bytearray((prepared / index["samples"][0]["shard"]).read_bytes())
    text = Dataset.read(prepared).sample_json("pet0-00")["views"]["grid"]["times"]
    written = json.dumps(text, separators=(",", ":")).encode()
    place = shard.index(written)
    assert written.endswith(b"1.0]")
    shard[place : place + len(written)] = written[:-4] + b"0.5]"
    (tmp_path / "shards").mkdir()
    (tmp_path / index["samples"][0]["shard"]).write_bytes(shard)
    (tmp_path / "index.json").write_text(json.dumps({"samples": index["samples"][:1]}))
    with pytest.raises(InputError, match="its times do not repeat"):
        Dataset.read(tmp_path).grid_clip("pet0-00")
