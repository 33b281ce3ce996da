"""Exported videos, animations and cameras as software that is not ours reads them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import torch
from PIL import Image

from orster_cli.core.reporting import Silent
from orster_cli.export.formats import FORMATS
from orster_cli.export.job import ExportJob
from orster_cli.export.options import ExportOptions
from orster_cli.export.run import export_asset
from orster_cli.splatting.gaussians4d import Gaussians4D
from tests.helpers.assets import lopsided, moving
from tests.helpers.readers import library

FRAMES, SIZE, FPS = 6, (96, 64), 8.0
ROUGH = 0.0051  # a GIF counts hundredths of a second


def asset() -> Gaussians4D:
    there = lopsided(1500)
    smaller = replace(there, means=0.7 * there.means, log_scales=there.log_scales - 0.36)
    return moving(smaller, amount=0.02)  # all of it is in the picture


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    job = ExportJob(
        name="thing",
        asset=asset(),
        options=ExportOptions(size=SIZE, fps=FPS, background="white", camera="orbit"),
        reporter=Silent(),
        frames=FRAMES,
    )
    names = ("mp4", "gif", "webp", "png-sequence", "transforms")
    folder = tmp_path_factory.mktemp("files")
    made = export_asset(job, [FORMATS[name] for name in names], folder, force=False)
    return {one.format.name: one.path for one in made}


@pytest.fixture(scope="module")
def pictures(files: dict[str, Path]) -> np.ndarray:
    """[T,H,W,3] of the PNG files, by Pillow."""
    paths = sorted(files["png-sequence"].glob("*.png"))
    return np.stack([np.asarray(Image.open(path).convert("RGB")) for path in paths])


def close(found: np.ndarray, pictures: np.ndarray, decibels: float) -> None:
    """Each frame is that of the PNG, and closer to it than its mirror images and the next frame are."""
    assert found.shape == pictures.shape

    def db(one: np.ndarray, other: np.ndarray) -> float:
        return float(-10 * np.log10(np.square(one / 255.0 - other / 255.0).mean()))

    for i, frame in enumerate(found):
        assert db(frame, pictures[i]) > decibels
        others = (frame[::-1], frame[:, ::-1], found[(i + 1) % len(found)], frame[..., ::-1])
        assert max(db(other, pictures[i]) for other in others) < db(frame, pictures[i]) - 6


def by_ffmpeg(path: Path) -> np.ndarray:
    """[T,H,W,3] by ffmpeg's own decoders, and its rate and size checked."""
    reader = imageio_ffmpeg.read_frames(path)
    about = next(reader)
    assert about["size"] == SIZE
    assert 1 / about["fps"] == pytest.approx(1 / FPS, abs=ROUGH)
    frames = [np.frombuffer(data, np.uint8) for data in reader]
    return np.stack(frames).reshape(-1, SIZE[1], SIZE[0], 3)


def by_av(path: Path) -> np.ndarray:
    """[T,H,W,3] by PyAV."""
    with library("av").open(str(path)) as container:
        stream = container.streams.video[0]
        assert 1 / float(stream.average_rate) == pytest.approx(1 / FPS, abs=ROUGH)
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(stream)])


@pytest.mark.parametrize("reader", [by_ffmpeg, by_av])
@pytest.mark.parametrize(("name", "decibels"), [("mp4", 27), ("gif", 25)])
def test_videos_in_ffmpeg_and_pyav(
    files: dict[str, Path], pictures: np.ndarray, reader: object, name: str, decibels: float
) -> None:
    assert callable(reader)
    close(reader(files[name]), pictures, decibels)


def test_webp_in_pillow(files: dict[str, Path], pictures: np.ndarray) -> None:
    with Image.open(files["webp"]) as found:
        assert found.info["loop"] == 0
        frames, times = [], []
        for i in range(found.n_frames):
            found.seek(i)
            frames.append(np.asarray(found.convert("RGB")))
            times.append(found.info["duration"])
    assert times == [1000 / FPS] * FRAMES
    close(np.stack(frames), pictures, 30)


def seen(folder: Path, matrix: np.ndarray) -> dict[str, int]:
    """In how many pictures head and hand are where the cameras say, by the words of nerfstudio's
    documentation: OpenGL cameras to world, pixels from the upper left. `matrix` [3,3]: of the cameras."""
    about = json.loads((folder / "transforms.json").read_text())
    assert len(about["frames"]) == FRAMES
    colors = {"head": np.array([0.1, 0.8, 0.2]), "hand": np.array([0.95, 0.9, 0.05])}
    counts = dict.fromkeys(colors, 0)
    for frame in about["frames"]:
        picture = np.asarray(Image.open(folder / frame["file_path"]).convert("RGB")) / 255
        now = asset().at(frame["time"]).means.numpy()
        parts = {"head": now[: len(now) // 6], "hand": now[len(now) // 6 : len(now) // 4]}
        world_to_camera = np.linalg.inv(np.array(frame["transform_matrix"]))
        for name, points in parts.items():
            x, y, z = matrix @ (world_to_camera @ np.append(points.mean(axis=0), 1))[:3]
            column = frame["fl_x"] * x / -z + frame["cx"]
            row = frame["fl_y"] * -y / -z + frame["cy"]
            if z < 0 and 0 <= row < about["h"] and 0 <= column < about["w"]:
                found = picture[int(row), int(column)]
                counts[name] += int(np.abs(colors[name] - found).sum() < 0.6)
    return counts


def test_transforms_say_where_parts_of_the_object_are(files: dict[str, Path]) -> None:
    right = seen(files["transforms"], np.eye(3))
    assert right["head"] >= FRAMES - 1
    assert right["hand"] >= FRAMES // 2  # hidden from behind
    assert seen(files["transforms"], np.diag([-1, 1, 1]))["hand"] <= right["hand"] - 2  # mirrored
    for wrong in ((1, -1, 1), (1, -1, -1)):  # upside down, OpenCV's axes
        assert seen(files["transforms"], np.diag(wrong))["head"] == 0, wrong


def test_the_object_has_no_mirror_image_of_itself() -> None:
    means = lopsided(1500).means
    with torch.no_grad():
        head, hand = means[:250].mean(0), means[250:375].mean(0)
    assert head[2] > 0.4
    assert hand[0] > 0.3
    assert hand[1] < -0.1
