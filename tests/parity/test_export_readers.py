"""Exported Gaussians as other software reads them: places, sizes, turns, colours, opacities, axes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from orster_cli.core.reporting import Silent
from orster_cli.core.types import Gaussians
from orster_cli.export.formats import FORMATS
from orster_cli.export.job import ExportJob
from orster_cli.export.options import ExportOptions
from orster_cli.export.run import export_asset
from orster_cli.geometry.similarity import Similarity
from tests.helpers import readers
from tests.helpers.assets import lopsided, moving
from tests.helpers.readers import Read, differences, expected, library

# the axes of the files, written out: rows are the file's x, y, z in ours
Y_UP = [[1, 0, 0], [0, 0, 1], [0, -1, 0]]
Y_DOWN = [[1, 0, 0], [0, 0, -1], [0, 1, 0]]
Z_UP = np.eye(3)
EXACT = {"places": 1e-6, "sizes": 1e-5, "colors": 1e-6, "opacities": 1e-6}
BYTES = {**EXACT, "colors": 0.6 / 255, "opacities": 0.6 / 255}  # three keeps colours in 8 bits
# 16 bits after the point; a size by steps of 1/16 of its logarithm; colours of -0.44 to 1.44 in 8 bits
SPZ = {"places": 1.4e-5, "sizes": 0.08, "colors": 1.9 / 255, "opacities": 0.6 / 255}
# 10 bits of a chunk's box and of its range of logarithms; 8 bits of its colours
PACKED = {"places": 8e-4, "sizes": 0.01, "colors": 0.6 / 255, "opacities": 0.6 / 255}
AT = 0.3


def export(folder: Path, name: str, world: Similarity | None = None, **options: object) -> Path:
    job = ExportJob(
        name="thing",
        asset=moving(lopsided(), amount=0.05),
        options=ExportOptions(at=AT, **options),  # type: ignore[arg-type]
        reporter=Silent(),
        frames=6,
        world=world or Similarity(),
    )
    return next(iter(export_asset(job, [FORMATS[name]], folder, force=False))).path


def now(time: float = AT) -> Gaussians:
    with torch.no_grad():
        return moving(lopsided(), amount=0.05).at(time)


def agrees(found: Read, matrix: object, bounds: dict[str, float], time: float = AT) -> None:
    away = differences(found, expected(now(time), matrix))
    assert {k: v for k, v in away.items() if v > bounds[k]} == {}, away


def test_the_comparison_sees_a_wrong_axis_sign_and_order() -> None:
    right = expected(now(), Y_UP)
    assert max(differences(right, right).values()) == 0
    mirrored = expected(now(), [[-1, 0, 0], [0, 0, 1], [0, -1, 0]])
    assert differences(mirrored, right)["places"] > 0.05
    turns = Read(right.means, right.covariances[:, ::-1, ::-1], right.colors, right.opacities)
    assert differences(turns, right)["sizes"] > 0.5
    swapped = Read(right.means, right.covariances, right.colors[:, ::-1], right.opacities)
    assert differences(swapped, right)["colors"] > 0.5


def test_glb_splats_in_three(tmp_path: Path) -> None:
    agrees(readers.three(export(tmp_path, "glb-splats")), Y_UP, BYTES)


def test_glb_splats_in_fourdgs(tmp_path: Path) -> None:
    found, about = readers.fourdgs_gltf(export(tmp_path, "glb-splats"))
    agrees(found, Y_UP, EXACT)
    assert about["coordinate_system"] == "y-up-right-handed"
    assert about["color_space"] == "srgb-rec709-display"


@pytest.mark.parametrize("reader", [readers.three, readers.gsply])
def test_spz_in_three_and_gsply(tmp_path: Path, reader: Callable[[Path], Read]) -> None:
    agrees(reader(export(tmp_path, "spz")), Y_UP, SPZ)


def test_spz_in_splat_transform(tmp_path: Path) -> None:
    found = readers.splat_transform(export(tmp_path, "spz"), tmp_path / "out.ply")
    agrees(found, Y_DOWN, SPZ)  # it turns the format's +Y up into a PLY's -Y up


@pytest.mark.parametrize("reader", [readers.gsply, readers.spz_js])
def test_compressed_ply_in_gsply_and_spz_js(tmp_path: Path, reader: Callable[[Path], Read]) -> None:
    agrees(reader(export(tmp_path, "compressed-ply")), Y_DOWN, PACKED)


def test_compressed_ply_in_splat_transform(tmp_path: Path) -> None:
    path = export(tmp_path, "compressed-ply", up="z")
    agrees(readers.splat_transform(path, tmp_path / "out.ply"), Z_UP, PACKED)


@pytest.mark.parametrize("reader", [readers.plain_ply, readers.gsply])
def test_a_ply_sequence_in_plyfile_and_gsply(
    tmp_path: Path, reader: Callable[[Path], Read]
) -> None:
    folder = export(tmp_path, "ply-sequence")
    agrees(reader(folder / "frame0004.ply"), Y_DOWN, EXACT, time=0.5)


def test_a_ply_sequence_in_three(tmp_path: Path) -> None:
    folder = export(tmp_path, "ply-sequence", up="y")
    agrees(readers.three(folder / "frame0004.ply"), Y_UP, BYTES, time=0.5)


def test_4dgs_is_valid_and_moves_between_keys(tmp_path: Path) -> None:
    files = library("fourdgs.keyframe_delta_file")
    path = export(tmp_path, "4dgs")
    report = library("fourdgs.validate").validate(path.read_bytes())
    assert [str(finding) for finding in report.findings] == []
    decoded, index = files.decode_indexed(path.read_bytes())
    assert len(index) == len(decoded.chunks) >= 6
    assert decoded.header.attributes == {
        "coordinate_system": "z-up-right-handed",
        "color_space": "srgb-rec709-display",
    }
    keys = [chunk.t0 for chunk in decoded.chunks]
    seconds = decoded.header.duration_sec
    assert seconds == pytest.approx(0.5)  # 6 frames at 12 a second, a loop
    bounds = {"places": 3e-3, "sizes": 0.05, "colors": 1.1 / 255, "opacities": 1.1 / 255}
    for second in (keys[0], keys[3] + 1e-9):
        state = files.render_at(decoded, second)
        sh = (state["rgb"] - 0.5) / readers.SH_C0
        found = Read.of(
            *(state["centers"], state["scales"], state["rotations"], sh, state["opacity"]),
            real_last=True,
        )
        agrees(found, Z_UP, bounds, time=second / seconds)
    between = (keys[3] + keys[4]) / 2
    centers = files.render_at(decoded, between)["centers"]
    wanted = now(between / seconds).means.numpy()
    still = files.render_at(decoded, keys[3])["centers"]
    assert np.abs(centers - wanted).max() < 0.5 * np.abs(still - wanted).max()


def test_4dgs_holds_its_places_at_high_frame_rates(tmp_path: Path) -> None:
    """The instants of its keys are kept in milliseconds."""
    files = library("fourdgs.keyframe_delta_file")
    decoded, _ = files.decode_indexed(export(tmp_path, "4dgs", fps=240.0).read_bytes())
    for number in (1, 3):
        key = decoded.chunks[number].t0
        centers = files.render_at(decoded, key + 1e-9)["centers"]
        wanted = now(number / len(decoded.chunks)).means.numpy()
        assert np.abs(centers - wanted).max() < 1e-3


def test_usd_has_the_schema_and_is_interpolated(tmp_path: Path) -> None:
    usd, geom, vol = (library(f"pxr.{name}") for name in ("Usd", "UsdGeom", "UsdVol"))
    stage = usd.Stage.Open(str(export(tmp_path, "usd")))
    context = library("pxr.UsdValidation")
    known = context.ValidationRegistry()
    validation = context.ValidationContext(known.GetOrLoadAllValidators())
    assert [error.GetErrorAsString() for error in validation.Validate(stage)] == []
    assert geom.GetStageUpAxis(stage) == "Z"
    assert stage.GetTimeCodesPerSecond() == 12
    # the sample at 6 is the one at 0 again: a player that shows the last frame would show it twice
    assert (stage.GetStartTimeCode(), stage.GetEndTimeCode()) == (0, 5)
    prim = stage.GetDefaultPrim()
    assert prim.GetTypeName() == "ParticleField3DGaussianSplat"
    splats = vol.ParticleField3DGaussianSplat(prim)
    codes = splats.GetPositionsAttr().GetTimeSamples()

    def read(code: float) -> Read:
        turns = [[*q.GetImaginary(), q.GetReal()] for q in splats.GetOrientationsAttr().Get(code)]
        return Read.of(
            np.array(splats.GetPositionsAttr().Get(code)),
            np.array(splats.GetScalesAttr().Get(code)),
            turns,
            np.array(splats.GetRadianceSphericalHarmonicsCoefficientsAttr().Get(code)),
            np.array(splats.GetOpacitiesAttr().Get(code)),
            real_last=True,
        )

    for code in (codes[0], codes[2]):
        agrees(read(code), Z_UP, EXACT, time=code / 6)
    between = read((codes[2] + codes[3]) / 2).means
    assert np.allclose(between, (read(codes[2]).means + read(codes[3]).means) / 2, atol=1e-6)
    wanted = now((codes[2] + codes[3]) / 12).means.numpy()
    assert np.abs(between - wanted).max() < 0.5 * np.abs(read(codes[2]).means - wanted).max()
    assert np.array_equal(splats.GetPositionsAttr().Get(), splats.GetPositionsAttr().Get(codes[0]))
    named = library("pxr.Usd").ColorSpaceAPI(prim).GetColorSpaceNameAttr().Get()
    assert named == "srgb_rec709_scene"
    assert library("pxr.Gf").ColorSpace.IsValid(named)
    low, high = splats.GetExtentAttr().Get(0)
    means = np.array(splats.GetPositionsAttr().Get(0))
    assert (np.array(low) < means.min(axis=0)).all()
    assert (np.array(high) > means.max(axis=0)).all()


@pytest.mark.parametrize("name", ["4dgs", "usd"])
def test_moving_formats_stand_in_the_world_of_given_cameras(tmp_path: Path, name: str) -> None:
    library({"4dgs": "fourdgs", "usd": "pxr.UsdVol"}[name])
    world = Similarity(scale=0.25, center=(3.0, -2.0, 5.0))
    path = export(tmp_path, name, world)
    if name == "4dgs":
        files = library("fourdgs.keyframe_delta_file")
        decoded, _ = files.decode_indexed(path.read_bytes())
        found = np.asarray(files.render_at(decoded, 0.0)["centers"])
    else:
        stage = library("pxr.Usd").Stage.Open(str(path))
        prim = library("pxr.UsdVol").ParticleField3DGaussianSplat(stage.GetDefaultPrim())
        found = np.array(prim.GetPositionsAttr().Get(0.0))
    wanted = 4 * now(0.0).means.numpy() + np.array(world.center)
    assert np.abs(found.mean(axis=0) - wanted.mean(axis=0)).max() < 2e-3
    assert np.abs(np.ptp(found, axis=0) - np.ptp(wanted, axis=0)).max() < 2e-2
