"""Camera files that are wrong: cameras.json and transforms.json."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from orster_cli.core.errors import InputError, LimitError
from orster_cli.io import clip_files
from orster_cli.io.clip_files import CAMERAS, read_clip, write_clip
from orster_cli.io.images import write_png
from orster_cli.io.transforms_json import TRANSFORMS, read_transforms, write_transforms
from tests.helpers.clips import disc_clip

Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def clip_folder(tmp_path: Path) -> Path:
    write_clip(tmp_path / "clip", disc_clip(3))
    write_png(tmp_path / "outside.png", torch.zeros(4, 24, 32))
    return tmp_path / "clip"


def set_in(frame: int, key: str, value: Any) -> Change:
    return lambda v: v["frames"][frame].__setitem__(key, value)


MIRROR = [[-1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
SCALED = [[2, 0, 0, 0], [0, 2, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1]]
PROJECTIVE = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 1]]
FAR = [[1, 0, 0, 1e300], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
BAD_POSES: dict[str, tuple[Any, str]] = {
    "mirrored": (MIRROR, "mirrors"),
    "scaled": (SCALED, "expected a rotation"),
    "projective": (PROJECTIVE, "expected a rotation"),
    "far": (FAR, "finite numbers up to"),
    "three rows": (SCALED[:3], r"of shape \[4, 4\], got \[3, 4\]"),
    "ragged": ([[1, 2], [3]], r"of shape \[4, 4\]"),
    "text": ("identity", r"of shape \[4, 4\]"),
    "strings": ([["1"] * 4] * 4, r"of shape \[4, 4\]"),
    "nothing": (None, r"of shape \[4, 4\]"),
    "object": ({"0": 1}, r"of shape \[4, 4\]"),
    "huge integer": ([[10**400] * 4] * 4, r"of shape \[4, 4\]"),
}
CLIP_CASES: dict[str, tuple[Change, str]] = {
    "format": (lambda v: v.update(format="other"), "expected orster-cameras version 1"),
    "version": (lambda v: v.update(version=2), "expected orster-cameras version 1"),
    "unknown key": (lambda v: v.update(promt="x"), "unknown key 'promt'.*did you mean 'prompt'"),
    "unknown frame key": (set_in(0, "tme", 0), "frame 0: unknown key 'tme'.*did you mean 'time'"),
    "no frames": (lambda v: v.update(frames=[]), "expected 1 to 512 frames"),
    "many frames": (lambda v: v.update(frames=v["frames"] * 200), "expected 1 to 512 frames"),
    "frames object": (lambda v: v.update(frames={}), "expected 1 to 512 frames"),
    "frame list": (lambda v: v["frames"].__setitem__(1, []), "frame 1: expected an object"),
    "zero width": (lambda v: v.update(width=0), "expected width to be 1 to"),
    "true width": (lambda v: v.update(width=True), "expected width to be 1 to"),
    "wide": (lambda v: v.update(width=10**9), "expected width to be 1 to"),
    "other size": (lambda v: v.update(width=31), "expected 31x24 pixels, got 32x24"),
    "prompt list": (lambda v: v.update(prompt=["x"]), "prompt to be a text"),
    "late": (set_in(2, "time", 1.5), r"times in \[0,1\], got 0 to 1.5"),
    "early": (set_in(0, "time", -0.1), r"times in \[0,1\]"),
    "time text": (set_in(0, "time", "0"), "frame 0: time"),
    "zero focal": (set_in(1, "K", [[0, 0, 16], [0, 9, 12], [0, 0, 1]]), "frame 1: K: .*positive"),
    "negative focal": (set_in(1, "K", [[9, 0, 1], [0, -9, 1], [0, 0, 1]]), "positive focal"),
    "skew": (set_in(0, "K", [[9, 1, 16], [0, 9, 12], [0, 0, 1]]), "K: expected fx 0 cx"),
    "K transposed": (set_in(0, "K", [[9, 0, 0], [0, 9, 0], [16, 12, 1]]), "K: expected fx 0 cx"),
    "no file": (lambda v: v["frames"][0].pop("file"), "frame 0: expected a file name"),
    "file number": (set_in(0, "file", 7), "frame 0: expected a file name, got 7"),
    "missing file": (set_in(0, "file", "frames/9999.png"), "no such file"),
    "absolute": (set_in(0, "file", "/etc/passwd"), "expected a path inside"),
    "parent": (set_in(0, "file", "../outside.png"), "expected a path inside"),
    "hidden parent": (set_in(0, "file", "frames/../../outside.png"), "expected a path inside"),
    "drive": (set_in(0, "file", "C:/outside.png"), "expected a path inside"),
    "backslash": (set_in(0, "file", "..\\outside.png"), "expected a path inside"),
    "nul": (set_in(0, "file", "frames/0000.png\0"), "expected a path inside"),
    "twice": (set_in(1, "file", "frames/0000.png"), "frame 1: frames/0000.png is listed twice"),
    "escape": (set_in(0, "file", "\x1b[31m.png"), "expected a path inside"),
    **{
        f"pose {name}": (set_in(1, "w2c", pose), f"frame 1: w2c: .*{said}")
        for name, (pose, said) in BAD_POSES.items()
    },
}


@pytest.mark.parametrize("case", CLIP_CASES)
def test_cameras_json(case: str, clip_folder: Path) -> None:
    change, said = CLIP_CASES[case]
    path = clip_folder / CAMERAS
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))
    with pytest.raises(InputError, match=said) as caught:
        read_clip(clip_folder)
    assert str(clip_folder) in str(caught.value)
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"format": "a", "format": "b"}', "appears twice"),
        ('{"frames": NaN}', "NaN is not JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("", "not valid JSON"),
        ("[]", "expected orster-cameras"),
        ("\ufeff{}", "not valid JSON"),
    ],
)
def test_not_the_json_we_take(text: str, said: str, clip_folder: Path) -> None:
    (clip_folder / CAMERAS).write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=said):
        read_clip(clip_folder)


def test_clip_folder_itself(clip_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_clip(clip_folder / "frames")
    monkeypatch.setattr(clip_files, "CLIP_MAX_BYTES", 3 * 32 * 24 * 16 - 1)
    with pytest.raises(LimitError, match="3 frames of 32x24 take 36,864 bytes"):
        read_clip(clip_folder)
    monkeypatch.undo()
    write_png(clip_folder / "frames" / "0001.png", torch.zeros(3, 24, 32))
    with pytest.raises(InputError, match="2 of 3 frames have alpha"):
        read_clip(clip_folder)


@pytest.fixture
def nerf_folder(tmp_path: Path) -> Path:
    clip = disc_clip(3)
    folder = tmp_path / "nerf"
    folder.mkdir()
    files = [f"{i}.png" for i in range(3)]
    for file, frame in zip(files, clip.frames, strict=True):
        write_png(folder / file, frame)
    write_png(tmp_path / "outside.png", clip.frames[0])
    write_transforms(folder / TRANSFORMS, clip, files)
    return folder


def without_focal(value: dict[str, Any]) -> None:
    del value["frames"][2]["fl_x"]


TRANSFORMS_CASES: dict[str, tuple[Change, str]] = {
    "no frames": (lambda v: v.update(frames=[]), "a list of frames"),
    "frames text": (lambda v: v.update(frames="all"), "a list of frames"),
    "many frames": (lambda v: v.update(frames=v["frames"] * 4000), "12000 frames, at most 10000"),
    "frame text": (lambda v: v["frames"].__setitem__(0, "r_0"), "frame 0: expected an object"),
    "zero focal": (set_in(1, "fl_x", 0), "frame 1: the focal length must be positive"),
    "negative focal": (set_in(1, "fl_y", -5), "frame 1: the focal length must be positive"),
    "focal text": (set_in(1, "fl_x", "wide"), "frame 1: fl_x"),
    "no focal": (without_focal, "frame 2: expected fl_x or camera_angle_x"),
    "half turn": (
        lambda v: (v.update(camera_angle_x=3.2), without_focal(v)),
        r"camera_angle_x: expected radians in \(0, pi\)",
    ),
    "no width": (lambda v: v.update(w=0), "w and h must be positive"),
    "absolute": (set_in(0, "file_path", "/etc/passwd"), "expected a path inside"),
    "parent": (set_in(0, "file_path", "../outside.png"), "expected a path inside"),
    "dotted parent": (set_in(0, "file_path", "./../outside.png"), "expected a path inside"),
    "missing": (set_in(0, "file_path", "9.png"), "no such file"),
    "no name": (lambda v: v["frames"][0].pop("file_path"), "frame 0: expected file_path"),
    "twice": (set_in(1, "file_path", "0.png"), "frame 1: 0.png is listed twice"),
    "late": (set_in(2, "time", 7), r"times in \[0,1\], got 0 to 7"),
    "fisheye": (lambda v: v.update(camera_model="OPENCV_FISHEYE"), "expected a pinhole camera"),
    "distorted": (lambda v: v.update(k1=0.1), "k1 is not 0"),
    "distorted frame": (set_in(1, "p2", -0.01), "frame 1: p2 is not 0"),
    **{
        f"pose {name}": (
            set_in(1, "transform_matrix", pose),
            f"frame 1: transform_matrix: .*{said}",
        )
        for name, (pose, said) in BAD_POSES.items()
    },
}


@pytest.mark.parametrize("case", TRANSFORMS_CASES)
def test_transforms_json(case: str, nerf_folder: Path) -> None:
    change, said = TRANSFORMS_CASES[case]
    path = nerf_folder / TRANSFORMS
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))
    with pytest.raises(InputError, match=said):
        read_transforms(nerf_folder)


def test_transforms_with_images_that_differ(
    nerf_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_png(nerf_folder / "2.png", torch.zeros(3, 24, 30))
    with pytest.raises(InputError, match=r"frame 2: 2.png differs from the first image"):
        read_transforms(nerf_folder)
    monkeypatch.setattr(clip_files, "CLIP_MAX_BYTES", 1000)
    with pytest.raises(LimitError, match="3 frames of 32x24"):
        read_transforms(nerf_folder)
