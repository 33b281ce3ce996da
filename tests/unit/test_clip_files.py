"""Clips on disk and transforms.json: what is written is what is read."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from orster_cli.core.conventions import CONVENTIONS
from orster_cli.core.reporting import Silent
from orster_cli.core.types import OrbitClip
from orster_cli.geometry.orbit import orbit_azimuths, orbit_cameras
from orster_cli.io.clip_files import (
    CAMERAS,
    cameras_value,
    parse_cameras,
    read_clip,
    read_further,
    write_beside,
    write_clip,
)
from orster_cli.io.images import write_png
from orster_cli.io.transforms_json import read_transforms, write_transforms
from orster_cli.io.video import read_video
from tests.helpers.clips import disc_clip


@pytest.mark.parametrize("alpha", [True, False])
def test_clip_round_trip_is_exact(alpha: bool, tmp_path: Path) -> None:
    clip = disc_clip(5, alpha=alpha, prompt='a "quoted" Grille \u2713')
    write_clip(tmp_path / "clip", clip)
    back = read_clip(tmp_path / "clip")
    assert torch.equal(back.frames, clip.frames)
    assert (back.alpha is None) == (clip.alpha is None)
    if clip.alpha is not None and back.alpha is not None:
        assert torch.equal(back.alpha, clip.alpha)
    assert torch.equal(back.cameras.K, clip.cameras.K)
    assert torch.equal(back.cameras.w2c, clip.cameras.w2c)
    assert torch.equal(back.times, clip.times)
    assert back.prompt == clip.prompt
    value = json.loads((tmp_path / "clip" / CAMERAS).read_text("utf-8"))
    assert value["conventions"] == CONVENTIONS


def test_what_came_with_a_clip_is_read_again(tmp_path: Path) -> None:
    def begins_at(degrees: float, share: float) -> OrbitClip:
        one = disc_clip(4)
        size = {"width": one.cameras.width, "height": one.cameras.height}
        cameras = orbit_cameras(orbit_azimuths(4, start=degrees), **size)
        return replace(one, cameras=cameras, times=share * one.times)

    clip = begins_at(20.0, 1.0)
    # one is cut from another clip, and looks from the same side
    ahead, shares = (90.0, 180.0, 270.0, 270.0), (0.5, 0.25, 0.125, 0.1)
    further = [begins_at(20.0 + one, share) for one, share in zip(ahead, shares, strict=True)]
    write_clip(tmp_path, clip)
    assert read_further(tmp_path) == []
    write_beside(tmp_path, clip, static=disc_clip(3), further=further, priors={})
    folders = sorted(path.name for path in tmp_path.iterdir() if path.is_dir())
    names = ["orbit-090", "orbit-180", "orbit-270", "orbit-271"]
    assert folders == ["frames", *names, "static"]
    back = read_further(tmp_path)
    assert [float(one.times[-1]) for one in back] == [float(one.times[-1]) for one in further]
    assert all(torch.equal(one.frames, clip.frames) for one in back)


def test_preview_is_the_clip_on_white(tmp_path: Path) -> None:
    clip = disc_clip(4)
    assert clip.alpha is not None
    hidden = replace(clip, frames=torch.where(clip.alpha > 0, clip.frames, torch.zeros(())))
    write_clip(tmp_path, hidden)
    shown = read_video(tmp_path / "preview.mp4", Silent())
    assert float((shown - clip.frames).abs().mean()) < 0.03


@given(
    frames=st.integers(1, 6),
    width=st.integers(1, 4000),
    height=st.integers(1, 4000),
    elevation=st.floats(-89, 89),
    radius=st.floats(0.01, 1000),
    fov=st.floats(1, 150),
    prompt=st.none() | st.text(max_size=20),
)
def test_camera_values_round_trip(
    frames: int, width: int, height: int, elevation: float, radius: float, fov: float, prompt: str
) -> None:
    cameras = orbit_cameras(
        orbit_azimuths(frames),
        elevation=elevation,
        radius=radius,
        fov_deg=fov,
        width=width,
        height=height,
    )
    clip = replace(disc_clip(frames, width=8, height=8), prompt=prompt)
    object.__setattr__(clip, "cameras", cameras)  # no pixels are needed here
    value = json.loads(json.dumps(cameras_value(clip)))
    back, times, text = parse_cameras(value, where="test")
    assert torch.equal(back.K, cameras.K)
    assert torch.equal(back.w2c, cameras.w2c)
    assert (back.width, back.height) == (width, height)
    assert torch.equal(times, clip.times)
    assert text == prompt


def write_folder(folder: Path, clip_frames: int = 3) -> list[str]:
    clip = disc_clip(clip_frames)
    (folder / "images").mkdir(parents=True)
    files = [f"images/r_{i}.png" for i in range(clip_frames)]
    for file, frame in zip(files, clip.frames, strict=True):
        write_png(folder / file, frame)
    write_transforms(folder / "transforms.json", disc_clip(clip_frames, alpha=False), files)
    return files


def test_transforms_round_trip(tmp_path: Path) -> None:
    write_folder(tmp_path)
    clip, back = disc_clip(3, alpha=False), read_transforms(tmp_path)
    assert torch.equal(back.frames, clip.frames)
    assert torch.allclose(back.cameras.w2c, clip.cameras.w2c, atol=1e-6)
    assert torch.equal(back.cameras.K, clip.cameras.K)
    assert torch.equal(back.times, clip.times)


def test_a_hand_written_file(tmp_path: Path) -> None:
    """Blender's exporter: one angle for all, names without ending, OpenGL axes."""
    (tmp_path / "train").mkdir()
    frame = torch.rand(4, 20, 40)
    for i in range(2):
        write_png(tmp_path / "train" / f"r_{i}.png", frame)
    front = [[1, 0, 0, 0], [0, 0, -1, -2], [0, 1, 0, 0], [0, 0, 0, 1]]  # at -Y, z backward
    side = [[0, 0, 1, 2], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]]  # at +X
    value = {
        "camera_angle_x": 2 * math.atan(0.5),
        "frames": [
            {"file_path": "./train/r_0", "rotation": 0.1, "transform_matrix": front, "time": 0.25},
            {"file_path": "./train/r_1", "transform_matrix": side, "time": 0.75},
        ],
    }
    (tmp_path / "transforms.json").write_text(json.dumps(value))
    clip = read_transforms(tmp_path)
    assert clip.alpha is not None
    assert clip.times.tolist() == [0.25, 0.75]
    expected_K = torch.tensor([[40.0, 0, 20], [0, 40, 10], [0, 0, 1]])  # f = W / 2 / 0.5
    assert torch.allclose(clip.cameras.K, expected_K.expand(2, 3, 3))
    assert torch.allclose(clip.cameras.positions, torch.tensor([[0.0, -2, 0], [2, 0, 0]]))
    # OpenCV rows: right, down, forward in the world
    assert clip.cameras.w2c[0, :3, :3].tolist() == [[1, 0, 0], [0, 0, -1], [0, 1, 0]]
    assert clip.cameras.w2c[1, :3, :3].tolist() == [[0, 1, 0], [0, 0, -1], [-1, 0, 0]]


def test_intrinsics_a_frame_and_images_of_another_size(tmp_path: Path) -> None:
    write_folder(tmp_path)
    path = tmp_path / "transforms.json"
    value = json.loads(path.read_text())
    value |= {"fl_x": 100, "fl_y": 120, "cx": 40, "cy": 24, "w": 64, "h": 48}  # images are 32 x 24
    for entry in value["frames"]:
        for key in ("fl_x", "fl_y", "cx", "cy"):
            del entry[key]
        del entry["time"]
    value["frames"][1] |= {"fl_x": 50, "cx": 30}
    path.write_text(json.dumps(value))
    clip = read_transforms(path)
    assert clip.times.tolist() == [0.0, 0.5, 1.0]
    assert clip.cameras.K[0].tolist() == [[50, 0, 20], [0, 60, 12], [0, 0, 1]]
    assert clip.cameras.K[1].tolist() == [[25, 0, 15], [0, 60, 12], [0, 0, 1]]
