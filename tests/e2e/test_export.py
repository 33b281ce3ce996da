"""`orster export` as a user runs it."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from orster_cli.config.prepare import PrepareConfig
from orster_cli.dataset.views import normalize_object
from orster_cli.export.formats import Format
from orster_cli.export.job import ExportJob
from orster_cli.export.source_mesh import open_source_mesh
from orster_cli.gltf.container import read_gltf
from orster_cli.gltf.load import read_scene
from tests.helpers.assets import asset_artifact, ellipsoid, moving
from tests.helpers.cli import Said, orster, quiet
from tests.helpers.sharing import shared_folder
from tests.helpers.validator import validate

FRAMES = 12
Call = Callable[..., Said]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """Runs a command, which must end with the exit code `check`."""

    def run(*words: object, check: int = 0) -> Said:
        said = orster(capsys, *map(str, words))
        assert said.code == check, said.err
        return said

    return run


@pytest.fixture(scope="session")
def walking(creature: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An asset of the walking creature from its true clip, fitted in seconds."""

    def make(folder: Path) -> None:
        data = folder / "dataset"
        size = ("--resolution", "64", "--frames", str(FRAMES))
        quiet("prepare-data", creature, "-o", data, *size)
        settings = {
            "resolution": 64, "gaussians": 1500, "max_gaussians": 2000, "static_steps": 150,
            "coarse_steps": 150, "fine_steps": 250, "plane_resolution": 16,
        }  # fmt: skip
        words = [w for k, v in settings.items() for w in ("--set", f"construct.{k}={v}")]
        quiet("construct", f"{data}#creature-00", "-o", folder / "walk", *words)

    for folder in shared_folder(tmp_path_factory, "walking", make):
        yield folder / "walk"


@pytest.fixture
def ball(tmp_path: Path) -> Path:
    asset_artifact(tmp_path / "ball", moving(ellipsoid(1500), amount=0.05))
    return tmp_path / "ball"


def test_one_file_may_be_named_and_its_ending_is_its_format(
    ball: Path, tmp_path: Path, call: Call
) -> None:
    for words in (("-o", "page.html"), ("--to", "glb-splats", "-o", "files/ball-splats.glb")):
        target = tmp_path / words[-1]
        call("export", ball, *words[:-1], target)
        assert [path.name for path in target.parent.iterdir() if path.is_file()] == [target.name]
    (tmp_path / "page.glb").mkdir()  # a folder of such a name is a folder
    call("export", ball, "--to", "html", "-o", tmp_path / "page.glb")
    assert (tmp_path / "page.glb/ball.html").is_file()
    again = call("export", ball, "-o", tmp_path / "page.html", check=6)
    assert "exists" in again.err


@pytest.mark.slow  # the next test has the whole way, at a smaller size
@pytest.mark.parametrize("bones", [0, 12])
def test_the_mesh_moves_as_the_animation_did(
    walking: Path, creature: Path, tmp_path: Path, call: Call, bones: int
) -> None:
    said = call(
        *("export", walking, "--to", "glb", "--mesh", creature),
        *("--skin", bones, "-o", tmp_path, "--json"),
    )
    made = said.data["files"][0]
    assert made["animation"] == 0  # from the key of the clip
    assert made["psnr"] > made["psnr_at_rest"] > 15
    assert made["vertex_error"] < 1e-5
    source = open_source_mesh(creature, clip=0, frames=FRAMES)
    original = read_scene(read_gltf(creature), unweld=False)
    truth = normalize_object(original, 0, PrepareConfig(frames=FRAMES))
    place, rest = source.normalization, source.mesh.vertices
    scene = read_scene(read_gltf(Path(made["path"])), unweld=False)
    errors, still = [], []
    for time in np.linspace(0, 1, 9)[:-1]:
        played = scene.evaluate(0, time * made["seconds"]).transformed(place.scale, place.offset)
        wanted = truth.mesh(time).vertices
        errors.append(np.linalg.norm(played.vertices - wanted, axis=1).mean())
        still.append(np.linalg.norm(rest - wanted, axis=1).mean())
    assert np.mean(errors) < 0.85 * np.mean(still)  # a fit of few steps
    assert np.array_equal(
        scene.instances[0].primitive.triangles, original.instances[0].primitive.triangles
    )
    assert np.array_equal(scene.instances[0].primitive.uvs, original.instances[0].primitive.uvs)
    for one in (original, scene):
        assert one.materials[0].texture is not None
    textures = [one.materials[0].texture.levels[0] for one in (original, scene)]  # type: ignore[union-attr]
    assert np.array_equal(*textures)
    assert [m for m in validate(Path(made["path"])) if m[0] in ("error", "warning")] == []


def test_an_object_given_to_generate_comes_back_animated(
    creature: Path, tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    small = [
        *("--set", "construct.resolution=48", "--set", "construct.gaussians=500"),
        *("--set", "construct.static_steps=60", "--set", "construct.coarse_steps=40"),
        *("--set", "construct.fine_steps=40", "--set", "construct.plane_resolution=8"),
        *("--set", "sample.steps=2"),
    ]
    call("generate", "--object", creature, "--text", "a fox walking", "-o", "out", *small)
    for folder in ("out/clip", "out/asset"):
        assert (tmp_path / folder / "object.glb").read_bytes() == creature.read_bytes()
    said = call("export", "out", "--to", "glb", "--json")
    made = said.data["files"][0]
    assert Path(made["path"]) == Path("out/asset-export/out.glb")
    assert made["source"] == "object.glb"
    assert made["approximate"] is False


@pytest.mark.slow
def test_an_asset_without_a_mesh_gets_an_approximate_surface(ball: Path, call: Call) -> None:
    said = call("export", ball, "--to", "glb", "--json")
    made = said.data["files"][0]
    assert made["approximate"] is True
    assert any("approximate" in text for text in said.data["warnings"])
    assert made["psnr"] > max(18, made["psnr_at_rest"])
    assert [m for m in validate(Path(made["path"])) if m[0] in ("error", "warning")] == []


def test_several_formats_and_what_exists_already(ball: Path, tmp_path: Path, call: Call) -> None:
    out = tmp_path / "files"
    words = ("export", ball, "-o", out, "--size", "64", "--times", "0:1:4")
    said = call(*words, "--to", "gif,png-sequence,glb-splats")
    assert said.out.count("dB to the asset") == 3
    names = ["ball-png", "ball-splats.glb", "ball.gif"]
    assert sorted(p.name for p in out.iterdir()) == names
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*")}
    refused = call(*words, "--to", "mp4,gif", check=6)
    assert "--force" in refused.err
    assert {p: p.stat().st_mtime_ns for p in out.rglob("*")} == before  # mp4 was not begun
    call(*words, "--to", "mp4,gif,png-sequence", "--force")
    assert sorted(p.name for p in out.iterdir()) == sorted([*names, "ball.mp4"])


def test_a_signal_leaves_nothing_behind(
    ball: Path, tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(self: Format, job: ExportJob, path: Path) -> None:
        path.write_text("half")
        os.kill(os.getpid(), signal.SIGTERM)

    handler = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(Format, "write", write)
    call("export", ball, "-o", tmp_path / "files", "--to", "gif", check=143)
    assert list((tmp_path / "files").iterdir()) == []
    assert signal.getsignal(signal.SIGTERM) is handler


def test_no_input_and_no_artifact_is_written_to(
    ball: Path, creature: Path, tmp_path: Path, call: Call
) -> None:
    for place in (ball, ball / "new", ball / "new" / "below"):
        said = call("export", ball, "--to", "gif", "-o", place, "--force", check=6)
        assert "found an asset" in said.err
    mesh = tmp_path / "out" / "ball.glb"
    mesh.parent.mkdir()
    shutil.copyfile(creature, mesh)
    words = ("export", ball, "--to", "glb", "--mesh", mesh, "-o", mesh.parent, "--force")
    assert "is an input" in call(*words, check=6).err
    assert mesh.read_bytes() == creature.read_bytes()
    other = mesh.with_name("other.glb")
    mesh.rename(other)
    mesh.symlink_to(other)
    call("export", ball, "--to", "glb", "--mesh", other, "-o", mesh.parent, "--force", check=6)
    assert other.read_bytes() == creature.read_bytes()


def test_what_is_wrong_is_said_before_anything_is_written(
    ball: Path, tmp_path: Path, call: Call
) -> None:
    out = tmp_path / "files"
    cases: list[tuple[tuple[object, ...], int, str]] = [
        (("--to", "gbl"), 2, "did you mean 'glb'"),
        ((), 2, "one of glb"),
        (("--to", "gif", "--times", "1:2:3"), 2, "--times"),
        (("--to", "gif", "--size", "1"), 2, "--size"),
        (("--to", "gif", "--background", "blu"), 2, "--background"),
        (("--to", "gif", "--camera", "up"), 2, "--camera"),
        (("--to", "ply-sequence", "--up", "x"), 2, "--up"),
        (("--to", "ply-sequence", "--for", "blendr"), 2, "did you mean 'blender'"),
        (("--to", "glb", "--mesh", tmp_path / "no.glb"), 3, "no.glb"),
        (("--to", "glb", "--skin", "1"), 2, "--skin"),
    ]
    for words, code, text in cases:
        said = call("export", ball, *words, "-o", out, check=code)
        assert text in said.err, words
        assert not out.exists() or list(out.iterdir()) == [], words
    still = asset_artifact(tmp_path / "still", moving(ellipsoid(), amount=0.0)).path
    for name in ("glb", "mp4", "ply-sequence"):
        assert "does not move" in call("export", still, "--to", name, "-o", out, check=3).err
    call("export", still, "--to", "glb-splats", "-o", out)
    file = tmp_path / "file"
    file.write_text("")
    call("export", ball, "--to", "gif", "-o", file, check=6)
    call("export", ball, "--to", "gif", "-o", file / "below", check=4)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written(ball: Path, tmp_path: Path, call: Call) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    assert "cannot be written" in call("export", ball, "--to", "gif", "-o", locked, check=4).err


@pytest.mark.slow
def test_a_mesh_that_is_another_one_is_doubted(
    walking: Path,
    creature: Path,
    tmp_path: Path,
    call: Call,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from tests.helpers.glb import Glb

    other = Glb()
    other.mesh([[0, 0, 0], [4, 0, 0], [0, 1, 0]])
    path = other.save(tmp_path / "other.glb")
    out = tmp_path / "x"
    said = orster(capsys, "export", walking, "--to", "glb", "--mesh", path, "-o", out)
    assert "is the asset made from this file" in said.err
    right = orster(
        capsys, "export", walking, "--to", "glb", "--mesh", creature, "-o", out, "--force"
    )
    assert "is the asset made from this file" not in right.err
    copy = shutil.copyfile(creature, tmp_path / "creature.glb")
    call("export", walking, "--to", "glb", "--mesh", f"{copy}#9", "-o", tmp_path / "y", check=3)


def test_the_table_of_formats_is_printed(call: Call) -> None:
    text = call("export").out
    assert "glb" in text
    assert "UVs" in text
    assert "loses" in text
