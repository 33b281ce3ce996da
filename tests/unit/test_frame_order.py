"""Frames are where their numbers, time stamps and camera files say, and what disagrees is said."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from orster_cli.core.errors import InputError
from orster_cli.core.names import frame_numbers, natural_key
from orster_cli.core.reporting import Silent
from orster_cli.inputs.clips import open_clip
from orster_cli.inputs.video import OrbitFlags, open_moving, read_frames_clip, read_video_clip
from orster_cli.io.animations import write_animation
from orster_cli.io.images import read_image, write_png
from orster_cli.io.transforms_json import read_transforms, write_transforms
from tests.helpers.cases import case
from tests.helpers.clips import disc_clip
from tests.helpers.ffmpeg import ffmpeg

GIVEN = OrbitFlags(turns=1.0)


def _turned(azimuths: torch.Tensor) -> list[float]:
    return [round(a, 2) for a in (azimuths % 360.0).tolist()]


def _write(folder: Path, names: list[str]) -> torch.Tensor:
    """RGBA frames of a moving disc under `names`; returns them."""
    clip = disc_clip(len(names))
    rgba = torch.cat([clip.frames, clip.alpha], dim=1)
    folder.mkdir(exist_ok=True)
    for name, frame in zip(names, rgba, strict=True):
        write_png(folder / "x.png", frame)
        shutil.move(folder / "x.png", folder / name)
    return rgba


def test_unpadded_numbers_are_the_order() -> None:
    folder, heard = case("unpadded_names"), Silent()
    clip = read_frames_clip(folder, GIVEN, heard)
    assert len(clip) == 24
    for i in (2, 10, 23):
        alone = read_image(folder / f"frame_{i}.png")
        assert torch.equal(clip.frames[i], alone[:3])
    assert _turned(clip.cameras.azimuths) == [15.0 * i for i in range(24)]
    assert "order of their numbers" in heard.warnings[0]


def test_numbers_in_the_middle_of_names_and_mixed_endings(tmp_path: Path) -> None:
    names = [f"v2_{i}_rgb{('.png', '.PNG', '.webp')[i % 3]}" for i in range(12)]
    rgba = _write(tmp_path / "f", names)
    (tmp_path / "f" / "._v2_0_rgb.png").write_bytes(b"\0\5\x16\7")
    heard = Silent()
    clip = read_frames_clip(tmp_path / "f", GIVEN, heard)
    assert torch.equal(clip.alpha, rgba[:, 3:])
    assert torch.equal(clip.frames * clip.alpha, rgba[:, :3] * rgba[:, 3:])
    assert "1 hidden file skipped" in heard.warnings[0]


@pytest.mark.parametrize("ending", [".jpeg", ".JPG", ".tif", ".webp", ".jpe"])
def test_every_ending_of_an_image_is_one(ending: str, tmp_path: Path) -> None:
    from PIL import Image

    frames = disc_clip(6, alpha=False).frames
    for i, frame in enumerate(frames):
        pixels = (frame.permute(1, 2, 0) * 255).round().byte().numpy()
        name = f"{i}{ending if i % 2 else '.png'}"
        kind = {".jpeg": "JPEG", ".jpe": "JPEG", ".JPG": "JPEG", ".tif": "TIFF", ".webp": "WEBP"}
        Image.fromarray(pixels).save(tmp_path / name, format=kind[ending] if i % 2 else "PNG")
    clip = read_frames_clip(tmp_path, GIVEN, Silent())
    assert len(clip) == 6
    for i in range(6):  # the disc moves by one pixel a frame
        columns = clip.alpha[i, 0].amax(dim=0) > 0.5
        assert float(columns.nonzero().float().mean()) == pytest.approx(9.5 + i, abs=0.6)


def test_a_missing_number_leaves_a_gap(tmp_path: Path) -> None:
    _write(tmp_path, [f"{i:03d}.png" for i in (0, 1, 2, 5, 6, 7)])
    heard = Silent()
    clip = read_frames_clip(tmp_path, GIVEN, heard)
    assert _turned(clip.cameras.azimuths) == [0.0, 45.0, 90.0, 225.0, 270.0, 315.0]
    assert clip.times.tolist() == pytest.approx([0, 1 / 7, 2 / 7, 5 / 7, 6 / 7, 1])
    assert "leave out 2 between 0 and 7" in heard.warnings[0]


@pytest.mark.parametrize(
    "numbers",
    [
        [f"azimuth_{a}" for a in range(-180, 180, 45)],
        [f"{a}" for a in (-90, -45, 0, 45, 90)],
        [f"t_{i / 8:g}" for i in range(8)],
    ],
)
def test_signs_and_decimals_are_numbers(numbers: list[str], tmp_path: Path) -> None:
    rgba = _write(tmp_path, [f"{number}.png" for number in numbers])
    clip = read_frames_clip(tmp_path, GIVEN, Silent())
    assert torch.equal(clip.alpha, rgba[:, 3:])


def test_a_dash_before_every_number_and_versions_are_no_signs_or_decimals(tmp_path: Path) -> None:
    for numbers in ([f"shot_-{i}" for i in range(12)], [f"v1.{i}" for i in range(1, 13)]):
        folder = tmp_path / numbers[0]
        rgba = _write(folder, [f"{number}.png" for number in numbers])
        assert torch.equal(read_frames_clip(folder, GIVEN, Silent()).alpha, rgba[:, 3:])


def test_rounded_time_stamps_are_even(tmp_path: Path) -> None:
    _write(tmp_path, [f"{i / 24:.6f}.png" for i in range(12)])
    heard = Silent()
    clip = read_frames_clip(tmp_path, GIVEN, heard)
    assert not [line for line in heard.warnings if "number" in line]
    assert _turned(clip.cameras.azimuths) == [30.0 * i for i in range(12)]


@pytest.mark.parametrize(("first", "second"), [("", "_mask"), ("_depth", "_rgb")])
def test_two_images_of_one_number_are_no_two_frames(
    first: str, second: str, tmp_path: Path
) -> None:
    _write(tmp_path, [f"{i:03d}{end}.png" for i in range(6) for end in (first, second)])
    with pytest.raises(InputError, match=f"000{first}.png and 000{second}.png"):
        read_frames_clip(tmp_path, GIVEN, Silent())


def test_the_folder_of_the_images_is_named(tmp_path: Path) -> None:
    _write(tmp_path / "images", ["0.png", "1.png"])
    with pytest.raises(InputError) as caught:
        read_frames_clip(tmp_path, GIVEN, Silent())
    assert str(tmp_path / "images") in (caught.value.hint or "")


def test_the_odd_image_is_named(tmp_path: Path) -> None:
    _write(tmp_path, [f"{i}.png" for i in range(4)])
    write_png(tmp_path / "2_mask.png", torch.zeros(3, 24, 32))
    with pytest.raises(InputError, match=r"2_mask.png: .*only 4 of 5 .*0.png has alpha") as caught:
        read_frames_clip(tmp_path, GIVEN, Silent())
    assert "RGBA" in caught.value.hint
    (tmp_path / "2_mask.png").unlink()
    shutil.copy(tmp_path / "2.png", tmp_path / "2.webp")
    with pytest.raises(InputError, match=r"2.png and 2.webp are the same frame"):
        read_frames_clip(tmp_path, GIVEN, Silent())


def test_natural_keys() -> None:
    names = ["f10", "f9b", "f9", "F2", "f02", "g1", "10", "9"]
    assert sorted(names, key=natural_key) == ["9", "10", "F2", "f02", "f9", "f9b", "f10", "g1"]
    assert frame_numbers(["a1_r7", "a1_r9"]) == [7, 9]
    assert frame_numbers(["1_1", "2_2"]) is None
    assert frame_numbers(["7", "07"]) is None


def test_time_stamps_place_the_frames_of_a_video() -> None:
    folder, heard = case("vfr_video"), Silent()
    clip = read_video_clip(folder / "vfr.mp4", GIVEN, heard)
    steps = [*range(25), 28, 32, 36, 40, 44]  # of 48: the frames of cfr.mp4 that are left
    assert _turned(clip.cameras.azimuths) == [7.5 * s for s in steps]
    assert clip.times.tolist() == pytest.approx([s / 44 for s in steps])
    assert "placed by its time stamp" in heard.warnings[0]
    even = read_video_clip(folder / "cfr.mp4", GIVEN, Silent())
    for i, step in enumerate(steps):
        assert float((even.frames[step] - clip.frames[i]).abs().mean()) < 0.01


def _moving_box(path: Path, frames: int, *options: str) -> Path:
    ffmpeg(
        *("-f", "lavfi", "-i", f"color=white:size=64x48:rate=10:duration={frames / 10}"),
        *("-f", "lavfi", "-i", f"color=red:size=12x12:rate=10:duration={frames / 10}"),
        *("-filter_complex", f"[0][1]overlay=x=4+40*t/{frames / 10}:y=18{options[0]}"),
        *("-c:v", "png", "-pix_fmt", "rgb24", *options[1:], path),
    )
    return path


def test_dropped_frames_leave_gaps(tmp_path: Path) -> None:
    path = _moving_box(
        tmp_path / "a.mov", 12, ",select='not(between(n,4,6))'", "-fps_mode", "passthrough"
    )
    clip = read_video_clip(path, GIVEN, Silent())
    assert _turned(clip.cameras.azimuths) == [30.0 * s for s in (0, 1, 2, 3, 7, 8, 9, 10, 11)]


def test_doubled_frames_are_no_steps(tmp_path: Path) -> None:
    path = _moving_box(tmp_path / "a.mov", 12, ",fps=20")
    heard = Silent()
    clip = read_video_clip(path, GIVEN, heard)
    assert len(clip) == 12
    assert _turned(clip.cameras.azimuths) == [30.0 * s for s in range(12)]
    assert "12 of 24 frames repeat" in " ".join(heard.warnings)


def test_durations_place_the_frames_of_an_animation(tmp_path: Path) -> None:
    from PIL import Image

    frames = [
        Image.fromarray((f.permute(1, 2, 0) * 255).round().byte().numpy())
        for f in disc_clip(4, alpha=False).frames
    ]
    frames[0].save(
        tmp_path / "a.webp",
        save_all=True,
        append_images=frames[1:],
        duration=[200, 300, 200, 100 + 200],
        lossless=True,
    )
    clip = read_video_clip(tmp_path / "a.webp", GIVEN, Silent())
    assert _turned(clip.cameras.azimuths) == [0.0, 72.0, 180.0, 252.0]
    write_animation(tmp_path / "b.gif", disc_clip(5).frames)
    even = open_moving(tmp_path / "b.gif", Silent())
    assert torch.allclose(even.seconds.diff(), even.seconds.diff()[0].expand(4))


def test_a_dnerf_folder() -> None:
    folder = case("dnerf_folder")
    opened = [
        open_clip(str(path), OrbitFlags(), Silent())
        for path in (folder, folder / "transforms_train.json")
    ]
    for one in opened:
        assert len(one.clip) == 24
        assert _turned(one.clip.cameras.azimuths) == [15.0 * i for i in range(24)]
        assert one.clip.times.tolist() == pytest.approx([i / 23 for i in range(24)])
        assert len(one.inputs) > 24
    assert torch.equal(opened[0].clip.frames, opened[1].clip.frames)


def _camera_folder(folder: Path, order: list[int], names: str = "images/r_{}.png") -> dict:
    clip = disc_clip(len(order), alpha=False)
    (folder / "images").mkdir()
    files = [names.format(i) for i in range(len(order))]
    for file, frame in zip(files, clip.frames, strict=True):
        write_png(folder / file, frame)
    path = folder / "transforms.json"
    write_transforms(path, clip, files)
    value = json.loads(path.read_text())
    value["frames"] = [value["frames"][i] for i in order]
    return value


def test_without_times_the_numbers_of_the_images_are_the_time(tmp_path: Path) -> None:
    order = [7, 2, 11, 0, 9, 1, 4, 10, 3, 8, 6, 5]
    value = _camera_folder(tmp_path, order)
    for entry in value["frames"]:
        del entry["time"]
    (tmp_path / "transforms.json").write_text(json.dumps(value))
    heard = Silent()
    clip, wanted = read_transforms(tmp_path, heard), disc_clip(12, alpha=False)
    assert clip.times.tolist() == pytest.approx([i / 11 for i in range(12)])
    assert torch.equal(clip.frames, wanted.frames)
    assert torch.allclose(clip.cameras.w2c, wanted.cameras.w2c, atol=1e-6)
    assert "not that of the file" in heard.warnings[0]
    value["frames"][3]["time"] = 0.5
    (tmp_path / "transforms.json").write_text(json.dumps(value))
    with pytest.raises(InputError, match=r"r_7.png has no time, 1 of the 12 frames have one"):
        read_transforms(tmp_path)


def test_a_train_split_is_read_and_the_others_are_named(tmp_path: Path) -> None:
    value = _camera_folder(tmp_path, [0, 1, 2, 3])
    for entry in value["frames"]:
        entry["file_path"] = entry["file_path"].removesuffix(".png")
    (tmp_path / "transforms.json").unlink()
    for name in ("train", "test"):
        (tmp_path / f"transforms_{name}.json").write_text(json.dumps(value))
    heard = Silent()
    assert len(read_transforms(tmp_path, heard)) == 4
    assert "transforms_train.json is read; not used: transforms_test.json" in heard.warnings[0]


@pytest.mark.parametrize(
    ("key", "given", "said"),
    [
        ("time", "soon", "frame 1: time: expected a number, got 'soon'"),
        ("file_path", "images\\r_1.png", "expected a path inside .*with forward slashes"),
        ("file_path", "/etc/r_1.png", "expected a path inside .*relative|expected a path inside"),
        ("time", 1500, r"times in \[0,1\], got 0 to 1500"),
        ("file_path", "images/gone", "gone: no such file"),
    ],
)
def test_what_is_wrong_in_a_camera_file_is_named(
    key: str, given: object, said: str, tmp_path: Path
) -> None:
    value = _camera_folder(tmp_path, [0, 1, 2, 3])
    value["frames"][1][key] = given
    (tmp_path / "transforms.json").write_text(json.dumps(value))
    with pytest.raises(InputError, match=said) as caught:
        read_transforms(tmp_path)
    assert "artifact" not in str(caught.value)
