"""Animated images: written, read back, timed, and kept within limits."""

from __future__ import annotations

import io
import random
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence

from orster_cli.core.errors import ConfigError, InputError, LimitError
from orster_cli.core.reporting import Silent
from orster_cli.inputs.video import OrbitFlags, read_moving, read_video_clip
from orster_cli.io import animations
from orster_cli.io.animations import is_animation, read_animation, write_animation
from orster_cli.io.images import write_png
from orster_cli.io.video import write_video
from tests.helpers.constructing import ball_clip

LOSSLESS = (".apng", ".png", ".tif", ".tiff")
SUFFIXES = (".gif", ".webp", *LOSSLESS)


def moving(count: int = 6, height: int = 20, width: int = 24) -> torch.Tensor:
    """[T,4,H,W] in steps of 1/255: a block that walks, then stands still for the last three frames."""
    frames = torch.zeros(count, 4, height, width)
    frames[:, 1] = torch.linspace(0, 255, width).round() / 255
    for i in range(count):
        step = min(i, count - 3)
        frames[i, 0] = 51 * (step % 5) / 255
        frames[i, 3, 4:16, 3 + step : 12 + step] = 1
    return frames


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("channels", [3, 4])
def test_what_is_written_is_read_back(suffix: str, channels: int, tmp_path: Path) -> None:
    """Also the frames that stand still, which writers join to one of a longer duration."""
    frames = moving()
    path = tmp_path / f"a{suffix}"
    write_animation(path, frames[:, :channels], fps=10)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert is_animation(path)
    heard = Silent()
    found = read_animation(path, heard)
    assert heard.warnings == []
    assert found.frames.shape == (6, 3, 20, 24)
    if channels == 3:
        assert found.alpha is None
        seen = torch.ones(6, 3, 20, 24, dtype=torch.bool)
    else:
        assert found.alpha is not None
        assert torch.equal(found.alpha, frames[:, 3:])
        seen = (frames[:, 3:] > 0).expand(6, 3, 20, 24)
    error = (found.frames - frames[:, :3]).abs()[seen].max()
    assert float(error) <= (0 if suffix in LOSSLESS else 0.05)


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".apng"])
def test_another_program_sees_the_same_times(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    write_animation(path, moving(), fps=10)
    with Image.open(path) as image:
        durations = []
        for frame in ImageSequence.Iterator(image):
            frame.load()
            durations.append(frame.info["duration"])
        assert image.info.get("loop") == 0
    assert sum(durations) == 600


@pytest.mark.parametrize(("fps", "milliseconds"), [(15, 70), (60, 20)])
def test_a_gif_has_the_nearest_time_that_players_keep(
    fps: int, milliseconds: int, tmp_path: Path
) -> None:
    write_animation(tmp_path / "a.gif", moving(), fps=fps)
    with Image.open(tmp_path / "a.gif") as image:
        assert image.info["duration"] == milliseconds


def test_half_transparent_colours_stay_straight(tmp_path: Path) -> None:
    frames = torch.tensor([0.8, 0.4, 0.2, 0.4])[None, :, None, None].repeat(2, 1, 4, 4)
    frames[1] = frames[1].flip(0)
    write_animation(tmp_path / "a.apng", frames)
    found = read_animation(tmp_path / "a.apng", Silent())
    assert found.alpha is not None
    assert torch.allclose(found.frames, frames[:, :3], atol=1e-6)
    assert torch.allclose(found.alpha, frames[:, 3:], atol=1e-6)


def test_large_frames_are_shrunk_as_they_are_read(tmp_path: Path) -> None:
    frames = torch.zeros(2, 4, 20, 40)
    frames[1, 0, :, 20:] = 1
    frames[:, 3, :, 20:] = 1  # the left half is transparent black, which must not bleed in
    frames[0, 2, :, 20:] = 1
    write_animation(tmp_path / "a.png", frames)
    found = read_animation(tmp_path / "a.png", Silent(), maximum_side=3)
    assert found.frames.shape == (2, 3, 2, 3)
    assert found.alpha is not None
    assert found.frames[1, :, 0, 1].tolist() == [1, 0, 0]
    assert found.alpha[1, 0, 0].tolist() == pytest.approx([0, 0.5, 1], abs=0.2)


def test_uneven_durations_are_said(tmp_path: Path) -> None:
    first, second, third = (Image.new("RGB", (8, 8), (shade, 0, 0)) for shade in (0, 90, 250))
    for durations, order in (((100, 300, 100), [0, 1, 1, 1, 2]), ((100, 150, 100), [0, 1, 2])):
        first.save(
            tmp_path / "a.png", save_all=True, append_images=[second, third], duration=durations
        )
        heard = Silent()
        found = read_animation(tmp_path / "a.png", heard)
        red = (found.frames[:, 0, 0, 0] * 255).round().tolist()
        assert red == [[0, 90, 250][i] for i in order]
        assert len(heard.warnings) == (order == [0, 1, 2])


def test_the_still_image_of_an_apng_is_no_frame(tmp_path: Path) -> None:
    still, *rest = [Image.new("RGB", (8, 8), (shade, 0, 0)) for shade in (7, 90, 250)]
    still.save(tmp_path / "a.png", save_all=True, append_images=rest, default_image=True)
    found = read_animation(tmp_path / "a.png", Silent())
    assert (found.frames[:, 0, 0, 0] * 255).round().tolist() == [90, 250]


def test_a_clip_of_a_transparent_animation_needs_no_plain_background(tmp_path: Path) -> None:
    clip = ball_clip(4, side=32)
    assert clip.alpha is not None
    rgba = torch.cat([torch.rand(4, 3, 32, 32), clip.alpha.round()], dim=1)
    write_animation(tmp_path / "a.webp", rgba)
    found = read_video_clip(tmp_path / "a.webp", OrbitFlags(turns=1.0), Silent())
    assert found.alpha is not None
    assert torch.equal(found.alpha, rgba[:, 3:])
    assert len(found) == 4
    walking = torch.stack([frame.roll(i, dims=-1) for i, frame in enumerate(clip.over())])
    covers = torch.stack([alpha.roll(i, dims=-1) for i, alpha in enumerate(clip.alpha)])
    write_animation(tmp_path / "b.gif", walking)
    cut = read_video_clip(tmp_path / "b.gif", OrbitFlags(), Silent())
    assert cut.alpha is not None
    assert float((cut.alpha - covers).abs().mean()) < 0.02
    write_png(tmp_path / "one.png", rgba[0])
    with pytest.raises(InputError, match="1 frame, at least 2"):
        read_video_clip(tmp_path / "one.png", OrbitFlags(), Silent())


def test_videos_are_no_animations(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", list(moving(3)[:, :3]))
    assert not is_animation(tmp_path / "a.mp4")
    frames, alpha = read_moving(tmp_path / "a.mp4", Silent())
    assert (frames.shape, alpha) == ((3, 3, 20, 24), None)
    (tmp_path / "b.avi").write_bytes(b"RIFF\0\0\0\0AVI LIST")
    assert not is_animation(tmp_path / "b.avi")
    assert not is_animation(tmp_path / "none.gif")
    assert not is_animation(tmp_path)


def test_what_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"expected one of \.gif"):
        write_animation(tmp_path / "a.mp4", moving())
    for frames in (moving()[0], moving()[:, :2], moving()[:0]):
        with pytest.raises(ValueError, match="write_animation"):
            write_animation(tmp_path / "a.gif", frames)
    with pytest.raises(ValueError, match="at 0 frames"):
        write_animation(tmp_path / "a.gif", moving(), fps=0)
    monkeypatch.setattr(animations, "VIDEO_MAX_FRAMES", 5)
    with pytest.raises(LimitError, match="6 frames of 24x20 pixels, at most 5"):
        write_animation(tmp_path / "a.gif", moving())
    with pytest.raises(FileNotFoundError):
        write_animation(tmp_path / "nowhere" / "a.gif", moving(4))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_limits_on_what_is_read(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"a{suffix}"
    write_animation(path, moving(8))
    for name, value in (
        ("VIDEO_MAX_FRAMES", 5),
        ("VIDEO_MAX_RAW_BYTES", 3 * 20 * 24 * 5),
        ("CLIP_MAX_BYTES", 16 * 20 * 24 * 5),
    ):
        monkeypatch.setattr(animations, name, value)
        with pytest.raises(LimitError, match="more than 5 frames of 24x20"):
            read_animation(path, Silent())
        monkeypatch.undo()
    monkeypatch.setattr(animations, "VIDEO_MAX_SIDE", 23)
    with pytest.raises(LimitError, match="24x20 pixels, at most 23"):
        read_animation(path, Silent())


def test_a_join_that_would_be_too_long_is_not_expanded(tmp_path: Path) -> None:
    """Two frames, the second shown for an hour: not 36,000 frames in memory."""
    first, second = (Image.new("RGB", (8, 8), (shade, 0, 0)) for shade in (0, 90))
    first.save(tmp_path / "a.png", save_all=True, append_images=[second], duration=(10, 60_000))
    heard = Silent()
    assert len(read_animation(tmp_path / "a.png", heard).frames) == 2
    assert len(heard.warnings) == 1


def test_a_gif_that_claims_a_huge_canvas(tmp_path: Path) -> None:
    path = tmp_path / "a.gif"
    write_animation(path, moving())
    data = bytearray(path.read_bytes())
    data[6:10] = struct.pack("<HH", 65_535, 65_535)
    path.write_bytes(data)
    with pytest.raises(LimitError, match="pixels"):
        read_animation(path, Silent())


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".apng", ".tif"])
def test_truncations_and_mutants(suffix: str, tmp_path: Path) -> None:
    """Frames or an InputError, whatever the bytes."""
    rng = random.Random(0)
    path = tmp_path / f"a{suffix}"
    write_animation(path, moving())
    raw = path.read_bytes()
    read = 0
    for trial in range(150):
        mutant = bytearray(raw if trial else raw[: len(raw) // 2])
        for _ in range(rng.choice((1, 4, 16))):
            mutant[rng.randrange(len(mutant))] = rng.randrange(256)
        path.write_bytes(mutant)
        try:
            found = read_animation(path, Silent())
        except InputError:
            continue
        read += 1
        assert found.frames.shape[1] == 3
        assert 0 <= float(found.frames.min()) <= float(found.frames.max()) <= 1
    assert 0 < read < 150


def test_pages_that_differ(tmp_path: Path) -> None:
    out = io.BytesIO()
    pages = [Image.new("RGB", (8, 8)), Image.new("RGB", (9, 8))]
    pages[0].save(out, "TIFF", save_all=True, append_images=pages[1:])
    (tmp_path / "a.tif").write_bytes(out.getvalue())
    with pytest.raises(InputError, match="page 1: expected 8x8 pixels as the first, got 9x8"):
        read_animation(tmp_path / "a.tif", Silent())
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(tmp_path / "b.tif")
    with pytest.raises(InputError, match="expected 8 bits"):
        read_animation(tmp_path / "b.tif", Silent())
    (tmp_path / "c.gif").write_bytes(b"GIF89a")
    with pytest.raises(InputError, match=r"expected a GIF, WebP, PNG or TIFF|damaged"):
        read_animation(tmp_path / "c.gif", Silent())
