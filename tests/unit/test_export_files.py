"""Files of Gaussians and pictures, and what is asked of them: axes, moments, options, cleaning."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from plyfile import PlyData

from orster_cli.artifacts.lock import WriterLock
from orster_cli.construction.node_graph import build_nodes
from orster_cli.core.errors import ConfigError, GateError, InputError, LimitError
from orster_cli.core.reporting import Silent
from orster_cli.core.types import Gaussians
from orster_cli.export.cleaning import clean
from orster_cli.export.formats import FORMATS, parse_formats
from orster_cli.export.job import ExportJob
from orster_cli.export.measure import mean_psnr, splat_images
from orster_cli.export.moments import check_moves, frame_moments, key_moments, parse_times
from orster_cli.export.moving_splats import keys_of, outcome
from orster_cli.export.options import ExportOptions, parse_color, parse_mesh, parse_size
from orster_cli.export.pictures import camera_path
from orster_cli.export.run import _move, export_asset
from orster_cli.export.splats import gaussians_at, read_splat_glb, splat_glb
from orster_cli.export.surface import extract_surface
from orster_cli.geometry.axes import MATRICES, turned
from orster_cli.geometry.orbit import orbit_cameras
from orster_cli.geometry.surface_nets import surface_nets, vertex_normals
from orster_cli.splatting.deformation import DeformationConfig, DeformationField
from orster_cli.splatting.gaussians4d import Gaussians4D, Motion, Timeline
from orster_cli.splatting.packed_motion import unpack
from orster_cli.splatting.render_asset import render_frame
from orster_cli.viewer.document import packed_motion_of
from tests.helpers.assets import BOX, PLANES, ellipsoid, moving
from tests.helpers.validator import validate

TOP = 0.2


def job(**options: object) -> ExportJob:
    return ExportJob(
        name="thing",
        asset=moving(ellipsoid()),
        options=ExportOptions(size=(96, 64), **options),  # type: ignore[arg-type]
        reporter=Silent(),
        frames=8,
    )


@pytest.mark.parametrize("up", ["z", "y", "-y"])
def test_a_turned_world_looks_the_same_to_turned_cameras(up: str) -> None:
    gaussians = ellipsoid()
    cameras = orbit_cameras(torch.tensor([40.0]), elevation=20, width=96, height=96)
    matrix = torch.eye(4)
    matrix[:3, :3] = MATRICES[up].float()
    moved = replace(cameras, w2c=cameras.w2c @ matrix.T)  # a rotation's inverse
    plain, _ = render_frame(gaussians, cameras, 0)
    other, _ = render_frame(turned(gaussians, up), moved, 0)
    assert torch.allclose(plain, other, atol=1e-4)
    again = turned(turned(gaussians, up), up, back=True)
    assert torch.allclose(again.means, gaussians.means, atol=1e-6)
    assert float((again.quats * gaussians.quats).sum(-1).abs().min()) > 1 - 1e-5


def test_up_points_where_it_is_said_to() -> None:
    top = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    assert (MATRICES["y"] @ top).tolist() == [0, 1, 0]
    assert (MATRICES["-y"] @ top).tolist() == [0, -1, 0]
    assert all(torch.linalg.det(m) == 1 for m in MATRICES.values())


def test_a_splat_glb_comes_back(tmp_path: Path) -> None:
    gaussians = ellipsoid()
    path = tmp_path / "one.glb"
    path.write_bytes(splat_glb(gaussians))
    found = read_splat_glb(path)
    assert torch.allclose(found.means, gaussians.means, atol=1e-6)
    assert torch.allclose(found.log_scales, gaussians.log_scales, atol=1e-5)
    assert torch.allclose(found.opacity_logits, gaussians.opacity_logits, atol=1e-4)
    assert mean_psnr(splat_images(found), splat_images(gaussians)) > 60
    messages = validate(path)  # it does not know the extension: these four names, nothing else
    assert [m[1] for m in messages if m[0] in ("error", "warning")] == [
        "MESH_PRIMITIVE_INVALID_ATTRIBUTE"
    ] * 4


def test_a_ply_sequence_is_what_programs_take(tmp_path: Path) -> None:
    made = next(iter(export_asset(job(), parse_formats("ply-sequence"), tmp_path, force=False)))
    assert made.outcome.psnr > 60
    names = sorted(p.name for p in made.path.iterdir())
    assert names == ["README.txt", *(f"frame{i:04d}.ply" for i in range(1, 9)), "sequence.json"]
    about = json.loads((made.path / "sequence.json").read_text())
    assert (about["frames"], about["up"], about["looping"]) == (8, "-y", True)
    assert about["times"] == [i / 8 for i in range(8)]  # a loop does not repeat its first moment
    vertices = PlyData.read(made.path / "frame0003.ply")["vertex"]
    wanted = job().asset.at(0.25).means
    assert np.allclose(vertices["x"], wanted[:, 0], atol=1e-5)
    assert np.allclose(vertices["y"], -wanted[:, 2], atol=1e-5)
    assert np.allclose(vertices["z"], wanted[:, 1], atol=1e-5)


def test_a_page_holds_the_motion_of_the_asset(tmp_path: Path) -> None:
    made = next(iter(export_asset(job(), parse_formats("html"), tmp_path, force=False)))
    motion = unpack(packed_motion_of(made.path.read_text("utf-8")))
    assert made.outcome.psnr > 40
    for time in (0.0, 0.25, 0.6):
        wanted, found = (splat_images(thing.at(time)) for thing in (job().asset, motion))
        assert mean_psnr(found, wanted) > 40


@pytest.mark.parametrize("name", ["mp4", "webp", "gif", "png-sequence", "transforms"])
def test_pictures_are_read_back(name: str, tmp_path: Path) -> None:
    made = next(iter(export_asset(job(), parse_formats(name), tmp_path, force=False)))
    assert made.outcome.psnr >= FORMATS[name].least
    assert made.outcome.facts["frames"] == 8
    assert [p.name for p in tmp_path.iterdir()] == [made.path.name]


def test_pictures_with_cameras_may_run_backwards(tmp_path: Path) -> None:
    given = job(times=(1.0, 0.5, 0.0, 0.5))
    made = next(iter(export_asset(given, parse_formats("transforms"), tmp_path, force=False)))
    assert made.outcome.psnr >= FORMATS["transforms"].least
    assert made.outcome.facts["poses"] < 1e-5
    frames = json.loads((made.path / "transforms.json").read_text())["frames"]
    assert [frame["time"] for frame in frames] == [1.0, 0.5, 0.0, 0.5]


def test_what_is_too_far_from_the_asset_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    strict = replace(FORMATS["gif"], least=99.0)
    with pytest.raises(GateError, match=r"thing.gif: .* dB"):
        list(export_asset(job(), [strict], tmp_path, force=False))
    assert list(tmp_path.iterdir()) == []


def _dead(folder: Path, **files: str) -> Path:
    """The draft of an export that was killed, without its lock if it is old."""
    draft = folder / ".orster-export-dead"
    for name, text in files.items():
        (draft / name).mkdir(parents=True)
        (draft / name / "0.ply").write_text(text)
    (draft / ".export.lock").write_text("1")
    return draft


def test_what_a_killed_export_left_is_removed_and_what_it_moved_aside_comes_back(
    tmp_path: Path,
) -> None:
    asked = parse_formats("gif")
    kept = {"replaced": "the user's", "thing-ply": "half"}
    _dead(tmp_path, **kept)  # killed between the renames
    heard = job()
    next(iter(export_asset(heard, asked, tmp_path, force=False)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["thing-ply", "thing.gif"]
    assert (tmp_path / "thing-ply" / "0.ply").read_text() == "the user's"
    assert "thing-ply: put back" in heard.reporter.warnings[0]  # type: ignore[attr-defined]
    _dead(tmp_path, **kept)  # a newer one stands there
    (tmp_path / "thing-ply" / "0.ply").write_text("newer")
    next(iter(export_asset(job(), asked, tmp_path, force=True)))
    assert (tmp_path / "thing-ply" / "0.ply").read_text() == "newer"
    assert len(list(tmp_path.iterdir())) == 2


def test_the_draft_of_an_export_that_is_alive_stays(tmp_path: Path) -> None:
    draft = _dead(tmp_path, made="half")
    lock = WriterLock(draft / "export")
    next(iter(export_asset(job(), parse_formats("gif"), tmp_path, force=False)))
    assert (draft / "made").is_dir()
    lock.release()  # without one: another process makes it just now
    next(iter(export_asset(job(), parse_formats("gif"), tmp_path, force=True)))
    assert (draft / "made").is_dir()


@pytest.mark.parametrize("at", [1, 2])
def test_a_signal_between_the_renames_puts_back_what_stood_there(
    at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("out", "made"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    rename, calls = Path.rename, []

    def interrupted(self: Path, target: Path) -> Path:
        calls.append(self)
        if len(calls) == at == 2:
            raise SystemExit(143)
        moved = rename(self, target)
        if len(calls) == at:
            raise SystemExit(143)
        return moved

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(SystemExit):
        _move(tmp_path / "made", tmp_path / "out", tmp_path / "aside")
    assert (tmp_path / "out" / "out").exists()


def test_gaussians_that_programs_stumble_over_are_left_out() -> None:
    gaussians = ellipsoid()
    gaussians.means[0] = float("nan")
    gaussians.means[1] = 1e4
    gaussians.opacity_logits[2] = -20.0
    gaussians.log_scales[3] = 9.0
    cleaned = clean(moving(gaussians))
    assert cleaned.dropped == 4
    assert cleaned.reasons == {"not finite": 1, "invisible": 1, "absurdly large or far": 2}
    assert torch.equal(cleaned.asset.canonical.means, gaussians.means[4:])
    assert clean(moving(ellipsoid())).dropped == 0
    with pytest.raises(InputError, match="no Gaussian"):
        clean(moving(replace(ellipsoid(), opacity_logits=torch.full((400,), -20.0))))


class _Bursting(Motion):
    """What lies at the top goes to infinity in the second half."""

    def forward(self, canonical: Gaussians, phase: float) -> Gaussians:
        moved = super().forward(canonical, phase)
        top = (canonical.means[:, 2:] > TOP).float() * (phase > 0.5)
        return replace(moved, means=moved.means + top * 3e38 * 10)


def test_gaussians_that_go_to_infinity_are_left_out() -> None:
    asset = moving(ellipsoid(), looping=False)
    bursting = replace(asset, motion=_Bursting(asset.motion.timeline, asset.motion.field))
    count = int((asset.canonical.means[:, 2] > TOP).sum())
    assert count
    cleaned = clean(bursting)
    assert cleaned.reasons == {"not finite": count, "invisible": 0, "absurdly large or far": 0}
    assert len(cleaned.asset.at(0.9)) == len(asset.canonical) - count


def test_what_follows_control_nodes_can_be_left_out() -> None:
    gaussians = ellipsoid()
    nodes = build_nodes(gaussians.means, gaussians.means, 20)
    field = DeformationField(DeformationConfig(hexplane=PLANES, nodes=20), BOX, nodes=nodes)
    with torch.no_grad():
        field.node_head.bias += 0.1  # nothing stays where it is
    asset = Gaussians4D(canonical=gaussians, motion=Motion(Timeline(), field))
    wanted = asset.at(0.5).means[2:]
    gaussians.means[0] = float("nan")
    gaussians.opacity_logits[1] = -20.0
    cleaned = clean(asset)
    assert cleaned.reasons == {"not finite": 1, "invisible": 1, "absurdly large or far": 0}
    assert torch.allclose(cleaned.asset.at(0.5).means, wanted, atol=1e-6)
    assert asset.motion.field.nodes is nodes
    assert len(nodes.index) == len(gaussians)


def test_moments() -> None:
    asset = moving(ellipsoid())
    assert parse_times("0:1:3") == (0.0, 0.5, 1.0)
    assert parse_times("0.25") == (0.25,)
    for wrong in ("", "a", "0:1", "0:2:3", "0:1:0", "0:1:x"):
        with pytest.raises(ConfigError):
            parse_times(wrong)
    loop = frame_moments(asset, 4, 8.0, None)
    assert loop.times == (0.0, 0.25, 0.5, 0.75)
    assert loop.closing == 0.5
    keys = key_moments(asset, 4, 8.0, None)
    assert keys.closing == pytest.approx(0.5)
    assert len(keys.times) % 3 == 0  # on the cells of the field
    back = key_moments(asset, 4, 8.0, (1.0, 0.5, 0.0))  # a file's time never runs backwards
    assert back.seconds.tolist() == [0.0, 0.25, 0.5]
    assert key_moments(asset, 4, 8.0, (0.5, 0.5)).times == (0.5,)
    still = moving(ellipsoid(), amount=0.0)
    with pytest.raises(InputError, match="does not move"):
        check_moves(still, "a video")
    check_moves(asset, "a video")
    four = Timeline(looping=True, cycles=4)
    check_moves(replace(asset, motion=Motion(four, asset.motion.field)), "a video")


def test_a_motion_that_runs_backwards_is_measured_at_its_own_moments() -> None:
    given = job(times=(1.0, 0.5, 0.0))
    keys = keys_of(given, "usd", "z")
    assert keys.seconds.tolist() == [0.0, pytest.approx(1 / 3), pytest.approx(2 / 3)]
    right = outcome(given, keys, "z", lambda second: gaussians_at(given, 1 - 1.5 * second))
    assert right.psnr > 60


@pytest.mark.parametrize("place", [0.5, -0.5])
def test_what_lies_between_key_frames_is_measured(place: float) -> None:
    """Half way between the first two, and on the way back to the first."""
    given = job()
    keys = keys_of(given, "usd", "z")
    count = len(keys.moments.times)
    wrong = place % count * keys.duration / count

    def read(second: float) -> Gaussians:
        away = 0.25 if abs(second - wrong) < 0.1 * keys.duration / count else 0.0
        return gaussians_at(given, second / keys.duration + away)

    right = outcome(given, keys, "z", lambda second: gaussians_at(given, second / keys.duration))
    assert right.psnr > 60
    assert right.least is None
    assert outcome(given, keys, "z", read).psnr < right.psnr - 10


def test_key_frames_that_would_fill_the_memory_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orster_cli.export.moving_splats.CLIP_MAX_BYTES", 10_000)
    with pytest.raises(LimitError, match="usd: 50 key frames of") as refused:
        keys_of(job(times=tuple(np.linspace(0, 1, 50).tolist())), "usd", "z")
    assert "--times" in refused.value.hint


def test_keys_are_dense_enough_to_play_linearly() -> None:
    asset = moving(ellipsoid(), looping=False, amount=0.5)
    keys = key_moments(asset, 24, 12.0, None)
    means = [asset.at(t).means for t in keys.times]
    size = float((asset.canonical.means.amax(0) - asset.canonical.means.amin(0)).norm())
    for i in range(len(means) - 1):
        half = asset.at((keys.times[i] + keys.times[i + 1]) / 2).means
        assert float((half - (means[i] + means[i + 1]) / 2).norm(dim=1).mean()) < 3e-3 * size


@pytest.mark.parametrize(
    ("cells", "looping", "count"),
    [(32, True, 64), (40, True, 40), (40, False, 40), (90, True, 64), (90, False, 64)],
)
def test_there_are_at_most_64_keys(cells: int, looping: bool, count: int) -> None:
    planes = replace(PLANES, time_resolution=cells, periodic=looping)
    field = DeformationField(DeformationConfig(hexplane=planes), BOX)
    motion = Motion(Timeline(looping=looping), field)
    keys = key_moments(Gaussians4D(canonical=ellipsoid(), motion=motion), 24, 12.0, None)
    assert len(keys.times) == count
    assert keys.times[0] == 0.0
    assert keys.times[-1] == pytest.approx(1.0 - 1.0 / count if looping else 1.0)


def test_options() -> None:
    assert parse_size("64x32") == (64, 32)
    assert parse_size("64") == (64, 64)
    assert parse_color("#ff0080").tolist() == pytest.approx([1, 0, 128 / 255])  # type: ignore[union-attr]
    assert parse_color("transparent") is None
    assert parse_mesh("a/b.glb#3").clip == 3
    assert parse_mesh("a/b.glb").path == Path("a/b.glb")
    for call, wrong in (
        (parse_size, "0"), (parse_size, "64x"), (parse_color, "witte"), (parse_mesh, "a.glb#x"),
        (parse_formats, ""), (parse_formats, "glb,ply"),
    ):  # fmt: skip
        with pytest.raises(ConfigError):
            call(wrong)  # type: ignore[operator]
    assert [one.name for one in parse_formats("mp4, glb,mp4")] == ["mp4", "glb"]


def test_camera_paths(tmp_path: Path) -> None:
    fixed = camera_path("fixed", 3, (64, 32), 10.0)
    assert torch.equal(fixed.w2c[0], fixed.w2c[2])
    orbit = camera_path("orbit", 4, (64, 32), 0.0)
    assert sorted(round(float(a)) % 360 for a in orbit.azimuths) == [0, 90, 180, 270]
    made = next(iter(export_asset(job(), parse_formats("transforms"), tmp_path, force=False)))
    file = made.path / "transforms.json"
    again = camera_path(str(file), 8, (192, 128), 0.0)
    written = camera_path("orbit", 8, (96, 64), 10.0)
    assert torch.allclose(again.w2c, written.w2c, atol=1e-5)
    assert torch.allclose(again.K[:, 0, 0], 2 * written.K[:, 0, 0], rtol=1e-5)
    with pytest.raises(ConfigError, match="8 cameras for 5 frames"):
        camera_path(str(file), 5, (64, 64), 0.0)
    with pytest.raises(ConfigError, match="--camera"):
        camera_path("sideways", 5, (64, 64), 0.0)


def test_surface_nets_of_a_ball() -> None:
    grid = np.stack(np.meshgrid(*[np.arange(24.0)] * 3, indexing="ij"), axis=-1)
    away = np.linalg.norm(grid - 11.3, axis=-1)
    vertices, triangles = surface_nets(away - 8.0)
    distance = np.linalg.norm(vertices - 11.3, axis=1)
    assert np.abs(distance - 8.0).max() < 0.1
    normals = vertex_normals(vertices, triangles)
    assert ((normals * (vertices - 11.3) / distance[:, None]).sum(axis=1) > 0.98).all()
    corners = vertices[triangles]
    cross = np.cross(corners[:, 1], corners[:, 2])
    assert (corners[:, 0] * cross).sum() / 6 == pytest.approx(4 / 3 * np.pi * 512, rel=0.04)


def test_a_surface_of_gaussians_encloses_them() -> None:
    axes = (0.3, 0.2, 0.4)
    gaussians: Gaussians = ellipsoid(4000, axes=axes)
    vertices, triangles = extract_surface(gaussians, cells=48)
    radius = np.linalg.norm(vertices / np.array(axes), axis=1)
    assert 0.9 < radius.min() < radius.max() < 1.6
    corners = vertices[triangles]
    volume = (corners[:, 0] * np.cross(corners[:, 1], corners[:, 2])).sum() / 6
    assert volume > 4 / 3 * np.pi * np.prod(axes)  # filled: no second wall inside


def test_a_surface_may_be_of_small_parts_alone() -> None:
    grid = torch.cartesian_prod(*[torch.linspace(-0.45, 0.45, 5)] * 3)
    dust = Gaussians(
        means=grid,
        log_scales=torch.full((125, 3), -3.6),
        quats=torch.tensor([1.0, 0, 0, 0]).expand(125, 4).clone(),
        opacity_logits=torch.full((125,), 4.0),
        sh=torch.zeros(125, 1, 3),
    )
    vertices, triangles = extract_surface(dust)
    assert len(triangles)
    assert len(np.unique(triangles)) == len(vertices)
