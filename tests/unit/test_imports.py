"""Folders that others rendered: poses come from matrices, gaps and damage are errors."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from orster_cli.core.errors import InputError
from orster_cli.dataset.foreign import read_diffusion4d
from orster_cli.dataset.reader import Dataset
from orster_cli.geometry.orbit import orbit_cameras
from orster_cli.io.images import write_png
from orster_cli.io.transforms_json import write_transforms
from tests.helpers.preparing import run

COUNT, SIZE, FOV = 6, 20, 0.6911


def _matrix(azimuth: float) -> np.ndarray:
    """Blender's camera-to-world: at (2 sin a, -2 cos a, 0), looking at the origin along -z."""
    sin, cos = math.sin(azimuth), math.cos(azimuth)
    return np.array([[cos, 0, sin, 2 * sin], [sin, 0, -cos, -2 * cos], [0, 1, 0, 0], [0, 0, 0, 1]])


def _camera(azimuth: float) -> str:
    return json.dumps({"matrix_world": _matrix(azimuth).tolist(), "x_fov": FOV, "y_fov": FOV})


def _changed(row: int, column: int, value: float) -> str:
    matrix = _matrix(0.0).tolist()
    matrix[row][column] = value
    return json.dumps({"matrix_world": matrix, "x_fov": FOV, "y_fov": FOV})


def _write(folder: Path, views: tuple[str, ...] = ("multi", "static", "front")) -> Path:
    """A folder as Diffusion4D writes it: a block that moves to the right while time runs."""
    folder.mkdir()

    def image(name: str, shift: int) -> None:
        pixels = np.zeros((SIZE, SIZE, 4), np.uint8)
        pixels[6:14, 3 + shift : 9 + shift] = (200, 40 + 20 * shift, 30, 255)
        Image.fromarray(pixels).save(folder / name)

    for i in range(COUNT):
        azimuth = 2 * math.pi * i / (COUNT - 1)  # the last pose repeats the first
        if "multi" in views:
            image(f"multi_frame{i}.png", i)
            (folder / f"multi{i}.json").write_text(_camera(azimuth))
        if "static" in views:
            image(f"multi_static_frame{i}.png", 0)
            (folder / f"static{i}.json").write_text(_camera(azimuth))
        if "front" in views:
            image(f"front_frame{i}.png", i)
    if "front" in views:
        (folder / "front.json").write_text(_camera(0.0))
    return folder


def test_poses_and_times_are_those_of_the_files(tmp_path: Path) -> None:
    views, facts = read_diffusion4d(_write(tmp_path / "uid_el30.00"))
    assert facts == {"layout": "diffusion4d", "repeated_pose": True}
    dynamic = views["dynamic"]
    ours = orbit_cameras(
        torch.arange(COUNT) * 360.0 / (COUNT - 1),
        fov_deg=math.degrees(FOV),
        width=SIZE,
        height=SIZE,
    )
    # the name says 30 degrees, the matrix 0: the matrix is right
    assert torch.allclose(dynamic.cameras.w2c, ours.w2c, atol=1e-5)
    assert torch.allclose(dynamic.cameras.K, ours.K, atol=1e-4)
    assert dynamic.times.tolist() == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])
    assert views["static"].times.tolist() == [0] * COUNT
    assert torch.allclose(views["front"].cameras.w2c, ours.w2c[:1].expand(COUNT, 4, 4), atol=1e-5)
    assert dynamic.alpha is not None
    assert dynamic.alpha[0, 0, 10, 5] == 1
    assert dynamic.frames[0, :, 10, 5].tolist() == pytest.approx([200 / 255, 40 / 255, 30 / 255])
    assert dynamic.frames[0, :, 0, 0].tolist() == [1, 1, 1]


def test_rendered_frames_have_no_grid_and_that_is_said(tmp_path: Path) -> None:
    (tmp_path / "objects").mkdir()
    _write(tmp_path / "objects" / "uid1")
    run(tmp_path / "objects", tmp_path, grid=4)
    summary = json.loads((tmp_path / "scratch/sources/uid1.json").read_text())
    assert "no grid" in summary["warnings"][0]  # which the command repeats as a warning
    assert "grid" not in Dataset.read(tmp_path / "out").info("uid1")["frames"]
    run(tmp_path / "objects", tmp_path / "plain")
    summary = json.loads((tmp_path / "plain/scratch/sources/uid1.json").read_text())
    assert summary["warnings"] == []


def test_a_folder_becomes_a_sample(tmp_path: Path) -> None:
    (tmp_path / "objects").mkdir()
    _write(tmp_path / "objects" / "uid1")
    _write(tmp_path / "objects" / "uid2", views=("multi",))
    result = run(tmp_path / "objects", tmp_path)
    assert result.kept == 2
    dataset = Dataset.read(tmp_path / "out")
    assert dataset.keys() == ["uid1", "uid2"]
    about = dataset.sample_json("uid1")
    assert about["repeated_pose"] is True
    assert about["motion"] > 0
    assert "motion" not in dataset.info("uid2")  # without a static orbit it is not known
    clip = dataset.clip("uid1", "front")
    wanted = read_diffusion4d(tmp_path / "objects" / "uid1")[0]["front"]
    assert torch.allclose(clip.frames, wanted.frames, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("multi_frame3.png", None, "multi_frame3.png is missing"),
        ("multi2.json", None, "cannot be read"),
        ("multi2.json", "{", "not valid JSON"),
        ("multi2.json", "[1]", "expected matrix_world"),
        ("multi2.json", '{"matrix_world": [[1]], "x_fov": 1, "y_fov": 1}', "4x4"),
        ("multi2.json", _camera(0.0).replace("0.6911", "7"), "fields of view"),
        ("multi2.json", _changed(0, 0, -1.0), "mirrors"),
        ("multi2.json", _changed(0, 0, 1.1), "rotation"),
        ("multi2.json", _changed(0, 3, 1e39), "finite"),
        ("multi2.json", _changed(1, 3, math.nan), "NaN is not JSON"),
        ("multi_frame4.png", "not a picture", "expected a PNG"),
        ("multi_static_frame5.png", None, "6 dynamic frames"),
    ],
)
def test_damage_is_an_error(tmp_path: Path, name: str, content: str | None, reason: str) -> None:
    folder = _write(tmp_path / "uid")
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_text(content)
    with pytest.raises(InputError, match=reason):
        read_diffusion4d(folder)


def test_frames_of_different_size(tmp_path: Path) -> None:
    folder = _write(tmp_path / "uid")
    Image.new("RGBA", (SIZE + 1, SIZE)).save(folder / "multi_frame2.png")
    with pytest.raises(InputError, match="expected 20x20"):
        read_diffusion4d(folder)


def test_a_folder_with_transforms_becomes_a_sample(tmp_path: Path) -> None:
    source = read_diffusion4d(_write(tmp_path / "uid"))[0]["dynamic"]
    folder = tmp_path / "objects" / "shot"
    folder.mkdir(parents=True)
    names = [f"{i:03d}.png" for i in range(COUNT)]
    for i, name in enumerate(names):
        write_png(folder / name, torch.cat([source.frames[i], source.alpha[i]]))
    write_transforms(folder / "transforms.json", source, names)
    assert run(tmp_path / "objects", tmp_path).kept == 1
    clip = Dataset.read(tmp_path / "out").clip("shot")
    assert torch.allclose(clip.frames, source.frames, atol=1e-6)
    assert torch.allclose(clip.cameras.w2c, source.cameras.w2c, atol=1e-5)
    assert torch.allclose(clip.times, source.times)
