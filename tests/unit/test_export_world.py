"""Files of an asset whose cameras had another scale and centre: in the world of these, or in ours."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from plyfile import PlyData
from torch import Tensor

from orster_cli.core.errors import InputError
from orster_cli.core.reporting import Silent
from orster_cli.core.types import FitScale, Gaussians, OrbitClip
from orster_cli.export.compressed_ply import read_compressed_ply
from orster_cli.export.formats import FORMATS, parse_formats
from orster_cli.export.job import ExportJob
from orster_cli.export.options import ExportOptions
from orster_cli.export.run import Exported, export_asset
from orster_cli.export.splats import read_splat_glb
from orster_cli.export.spz import read_spz
from orster_cli.export.world import world_of_files
from orster_cli.geometry.orbit import orbit_cameras
from orster_cli.geometry.similarity import Similarity
from orster_cli.gltf.load import load_gltf
from orster_cli.io.ply import read_ply
from orster_cli.io.transforms_json import read_transforms, write_transforms
from orster_cli.metrics.psnr import psnr
from orster_cli.splatting.gaussians4d import Gaussians4D
from orster_cli.splatting.low_pass import with_low_pass, without_low_pass
from orster_cli.splatting.render_asset import render_frame
from tests.helpers.assets import asset_artifact, ellipsoid, lopsided, moving
from tests.helpers.cli import orster
from tests.helpers.recording import Recorder

AT, SIDE = 0.3, 96
WORLDS = {
    "4 long, off the centre": Similarity(scale=0.25, center=(3.0, -2.0, 5.0)),
    "a fifth long": Similarity(scale=5.0, center=(-0.1, 0.4, 0.05)),
}
each_world = pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS.keys())


def asset() -> Gaussians4D:
    """Fitted at 128 pixels, as assets are: its low-pass is a size too."""
    found = moving(lopsided(500), amount=0.02)
    fitted = FitScale(focal=200.0, radius=2.0, eps2d=0.3, antialiased=True)
    return replace(found, canonical=replace(found.canonical, fitted=fitted))


def exported(
    name: str,
    folder: Path,
    world: Similarity,
    thing: Gaussians4D | None = None,
    **options: object,
) -> Exported:
    job = ExportJob(
        name="thing",
        asset=thing or asset(),
        options=ExportOptions(at=AT, size=(SIDE, SIDE), **options),  # type: ignore[arg-type]
        reporter=Silent(),
        frames=4,
        world=world,
    )
    return next(iter(export_asset(job, [FORMATS[name]], folder, force=False)))


def pictures(gaussians: Gaussians, world: Similarity) -> Tensor:
    """[2,4,H,W] the Gaussians from cameras that stand in `world`."""
    ours = orbit_cameras(torch.tensor([30.0, 150.0]), elevation=20, width=SIDE, height=SIDE)
    cameras = world.inverse().cameras(ours)
    with torch.no_grad():
        drawn = [render_frame(gaussians, cameras, i) for i in range(2)]
    return torch.stack([torch.cat(one) for one in drawn])


@each_world
@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("ply-sequence", lambda path: read_ply(path / "frame0001.ply")),
        ("glb-splats", read_splat_glb),
        ("spz", read_spz),
        ("compressed-ply", lambda path: read_compressed_ply(path, up="z")),
    ],
)
def test_the_cameras_that_were_given_see_the_gaussians(
    world: Similarity, name: str, read: Callable[[Path], Gaussians], tmp_path: Path
) -> None:
    made = exported(name, tmp_path, world, up="z", times=(AT,) if name == "ply-sequence" else None)
    assert made.outcome.psnr > 38  # the file's own check knows its world
    held = with_low_pass(asset().at(AT))
    wanted = pictures(without_low_pass(held), Similarity())
    found = read(made.path)
    near = float(psnr(pictures(without_low_pass(found), world), wanted).mean())
    assert near > 38
    ours = float(psnr(pictures(without_low_pass(found), Similarity()), wanted).mean())
    assert ours < 15  # it is elsewhere, or of another size


def test_places_and_sizes_are_those_of_the_world(tmp_path: Path) -> None:
    world = WORLDS["4 long, off the centre"]
    made = exported("ply-sequence", tmp_path, world, up="z", times=(AT,))
    rows = PlyData.read(made.path / "frame0001.ply")["vertex"]
    held = with_low_pass(asset().at(AT))
    places = np.stack([rows[axis] for axis in "xyz"], axis=1)
    assert np.allclose(places, 4 * held.means.numpy() + np.array(world.center), atol=1e-5)
    assert np.allclose(np.exp(rows["scale_0"]), 4 * held.log_scales[:, 0].exp(), rtol=1e-4)


@each_world
def test_transforms_are_read_and_written_in_the_world(world: Similarity, tmp_path: Path) -> None:
    ours = orbit_cameras(torch.tensor([10.0, 200.0]), elevation=5, width=SIDE, height=SIDE)
    theirs = world.inverse().cameras(ours)
    times = torch.tensor([0.2, 0.7])
    blank = OrbitClip(frames=torch.zeros(2, 3, SIDE, SIDE), alpha=None, cameras=theirs, times=times)
    write_transforms(tmp_path / "path.json", blank, ["0.png", "1.png"])
    made = exported(
        "transforms", tmp_path, world, camera=str(tmp_path / "path.json"), times=(0.2, 0.7)
    )
    assert made.outcome.facts["poses"] < 1e-5
    found = read_transforms(made.path)
    assert torch.allclose(found.cameras.w2c, theirs.w2c, atol=1e-4)
    assert found.alpha is not None
    with torch.no_grad():
        drawn = [render_frame(asset().at(float(t)), ours, i) for i, t in enumerate(times)]
    wanted = torch.stack([rgb for rgb, _ in drawn])
    assert float(psnr(found.frames * found.alpha, wanted).mean()) > 40
    orbit = exported("transforms", tmp_path / "orbit", world)  # an orbit is around the object
    eyes = read_transforms(orbit.path).cameras.c2w[:, :3, 3]
    middle = torch.tensor(world.center)
    away = (eyes - middle).norm(dim=1) * world.scale
    assert torch.allclose(away, away[:1].expand(len(away)), rtol=1e-4)


@pytest.mark.slow
def test_a_surface_stands_in_the_world(tmp_path: Path) -> None:
    world, thing = WORLDS["4 long, off the centre"], moving(ellipsoid(1500), amount=0.05)
    ours = exported("glb", tmp_path / "ours", Similarity(), thing, times=(0.0, 0.5))
    theirs = exported("glb", tmp_path / "theirs", world, thing, times=(0.0, 0.5))
    for clip, most in ((None, 1e-5), (0, 1e-3)):  # at rest, moved
        first, second = (load_gltf(made.path).evaluate(clip, 0.1) for made in (ours, theirs))
        away = np.abs(second.vertices - (4 * first.vertices + np.array(world.center)))
        assert np.quantile(away, 0.999) < most  # a few have other nearest Gaussians by rounding
    assert theirs.outcome.psnr == pytest.approx(ours.outcome.psnr, abs=0.05)


@pytest.mark.parametrize(
    ("names", "own_mesh", "said"),
    [
        ("ply-sequence,mp4", False, "ply-sequence"),
        ("mp4,html", False, ""),
        ("glb", False, "glb"),
        ("glb", True, ""),
    ],
)
def test_the_world_is_said_of_files_that_have_one(names: str, own_mesh: bool, said: str) -> None:
    world, told = WORLDS["4 long, off the centre"], Recorder()
    formats, value = parse_formats(names), world.value()

    def found(value: object, options: ExportOptions) -> Similarity:
        return world_of_files(value, formats, options, told, own_mesh=own_mesh, where="asset")

    assert found(value, ExportOptions()) == world
    assert len(told.lines) == bool(said)
    if said:
        assert told.lines[0].startswith(f"{said}: ")
        assert "the object at (3, -2, 5) and 4 long" in told.lines[0]
    assert found(value, ExportOptions(frame="orster")) == Similarity()
    assert found(None, ExportOptions()) == Similarity()
    assert len(told.lines) == bool(said)


@pytest.mark.slow
def test_the_manifest_says_which_world(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = WORLDS["4 long, off the centre"]
    asset_artifact(tmp_path / "moved", asset(), similarity=world.value())
    words = ("export", tmp_path / "moved", "--to", "ply-sequence", "--times", "0", "--up", "z")
    middles = {}
    for frame in ("", "orster"):  # the world of the cameras, unless it is said
        out = tmp_path / (frame or "input")
        flag = ("--frame", frame) if frame else ()
        said = orster(capsys, *map(str, (*words, *flag, "-o", out)))
        assert said.code == 0, said.err
        assert ("the object at (3, -2, 5) and 4 long" in said.err) == (not frame)
        middles[frame] = read_ply(out / "moved-ply" / "frame0001.ply").means.mean(dim=0)
    assert torch.allclose(middles[""], 4 * middles["orster"] + torch.tensor(world.center))
    refused = orster(capsys, *map(str, (*words, "--frame", "inptu", "-o", tmp_path / "no")))
    assert refused.code == 2
    assert "input" in refused.err


@pytest.mark.parametrize(
    "value",
    [
        {"scale": 0.0, "center": [0, 0, 0]},
        {"scale": float("nan"), "center": [0, 0, 0]},
        {"scale": 1.0, "center": [0, 0]},
        {"scale": 1.0, "center": "012"},
        {"center": [0, 0, 0]},
        [1.0],
        "1",
    ],
)
def test_a_damaged_similarity_is_an_error(value: object) -> None:
    with pytest.raises(InputError, match="asset: similarity: expected"):
        Similarity.of(value, where="asset")


def test_a_similarity_comes_back_from_a_manifest() -> None:
    world = WORLDS["a fifth long"]
    assert Similarity.of(json.loads(json.dumps(world.value())), where="asset") == world
    assert Similarity.of(None, where="asset") == Similarity()
