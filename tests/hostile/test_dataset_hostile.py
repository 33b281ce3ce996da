"""Datasets made to harm: every fault ends in a typed error, soon and in bounded memory."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from orster_cli.core import limits
from orster_cli.core.errors import InputError, IntegrityError, LimitError
from orster_cli.core.reporting import Silent
from orster_cli.dataset.merge import Part, merge
from orster_cli.dataset.reader import Dataset
from orster_cli.dataset.shards import png_bytes, write_shard
from tests.hostile.test_images_hostile import png_header

COUNT, SIDE = 3, 8
Change = Callable[[dict[str, Any]], object]


def sample_json() -> dict[str, Any]:
    pose = torch.eye(4)
    pose[2, 3] = 2.0
    view = {
        "frames": COUNT,
        "width": SIDE,
        "height": SIDE,
        "times": [0.0, 0.5, 1.0],
        "K": [[[9.0, 0.0, 4.0], [0.0, 9.0, 4.0], [0.0, 0.0, 1.0]]] * COUNT,
        "w2c": [pose.tolist()] * COUNT,
    }
    return {"key": "a-00", "caption": "a cube", "views": {"dynamic": view}}


def images() -> dict[str, bytes]:
    pixels = np.full((SIDE, SIDE, 4), 200, np.uint8)
    return {f"dynamic.{i:02d}.png": png_bytes(pixels) for i in range(COUNT)}


def member(name: str, data: bytes, claimed: int | None = None) -> bytes:
    """One tar member whose header claims `claimed` bytes."""
    info = tarfile.TarInfo(f"a-00.{name}")
    info.size = len(data) if claimed is None else claimed
    return info.tobuf(tarfile.GNU_FORMAT) + data + bytes(-len(data) % 512)


def dataset(folder: Path, fragment: bytes, changes: dict[str, Any] | None = None) -> Path:
    """A dataset of one sample, whose tar members are `fragment`."""
    (folder / "shards").mkdir(parents=True)
    (folder / "fragment").write_bytes(fragment)
    write_shard(folder / "shards/000000.tar", [("a-00", folder / "fragment")])
    entry = {"key": "a-00", "shard": "shards/000000.tar", "offset": 0, "size": len(fragment)}
    entry |= {"frames": {"dynamic": COUNT}, "caption": "a cube", **(changes or {})}
    (folder / "index.json").write_text(json.dumps({"samples": [entry]}))
    return folder


def encoded(value: Any, files: dict[str, bytes] | None = None) -> bytes:
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    files = images() if files is None else files
    return member("json", text) + b"".join(member(n, data) for n, data in files.items())


def test_the_dataset_of_these_tests_is_well(tmp_path: Path) -> None:
    clip = Dataset.read(dataset(tmp_path / "d", encoded(sample_json()))).clip("a-00")
    assert clip.frames.shape == (COUNT, 3, SIDE, SIDE)
    assert clip.prompt == "a cube"
    assert torch.allclose(clip.frames, torch.tensor(200 / 255))


def in_view(key: str, value: Any) -> Change:
    return lambda sample: sample["views"]["dynamic"].__setitem__(key, value)


def with_pose(row: int, column: int, value: float) -> Change:
    def change(sample: dict[str, Any]) -> None:
        poses = json.loads(json.dumps(sample["views"]["dynamic"]["w2c"]))
        poses[1][row][column] = value
        sample["views"]["dynamic"]["w2c"] = poses

    return change


POSE = torch.eye(4).tolist()
MANY = {"frames": 100, "width": 8000, "height": 8000, "times": [0.0] * 100}
MANY |= {"K": [torch.eye(3).tolist()] * 100, "w2c": [POSE] * 100}
SAMPLES: dict[str, tuple[Change, str]] = {
    "views list": (lambda s: s.update(views=[]), "an object with views"),
    "no views": (lambda s: s.update(views={}), "an object with views"),
    "view text": (lambda s: s.update(views={"dynamic": "all"}), "dynamic: expected an object"),
    "caption list": (lambda s: s.update(caption=["x"]), "caption to be a text"),
    "a billion frames": (in_view("frames", 10**9), "1000000000 frames, at most 10000"),
    "no frames": (in_view("frames", 0), "expected a number of frames"),
    "frames float": (in_view("frames", 3.0), "expected a number of frames"),
    "frames true": (in_view("frames", True), "expected a number of frames"),
    "more frames than poses": (in_view("frames", 4), "times to be a list of 4"),
    "K text": (in_view("K", "sharp"), "K to be a list of 3"),
    "K texts": (in_view("K", ["a", "b", "c"]), "frame 0: K: expected numbers"),
    "K ragged": (in_view("K", [[[1], [2, 3]]] * 3), "frame 0: K: expected numbers"),
    "w2c object": (in_view("w2c", {"0": 1}), "w2c to be a list of 3"),
    "times text": (in_view("times", ["now"] * 3), "frame 0: time: expected a number"),
    "late": (in_view("times", [0, 1, 2]), r"times in \[0,1\], got 0 to 2"),
    "width text": (in_view("width", "8"), "width to be 1 to"),
    "wide": (in_view("width", 10**9), "width to be 1 to"),
    "too many pixels": (lambda s: s["views"]["dynamic"].update(MANY), "take 102,400,000,000 bytes"),
    "other size": (in_view("height", 9), "frame 0: expected 8x9 pixels, got 8x8"),
    "mirrored": (with_pose(0, 0, -1.0), "frame 1: w2c: the rotation mirrors"),
    "scaled": (with_pose(0, 0, 1.5), "frame 1: w2c: expected a rotation"),
    "far": (with_pose(0, 3, 1e30), "frame 1: w2c: expected finite numbers"),
    "infinite": (with_pose(0, 3, float("inf")), "Infinity is not JSON"),
    "not a number": (with_pose(0, 3, float("nan")), "NaN is not JSON"),
}


@pytest.mark.parametrize("case", SAMPLES)
def test_the_json_of_a_sample(case: str, tmp_path: Path) -> None:
    change, said = SAMPLES[case]
    sample = sample_json()
    change(sample)
    data = Dataset.read(dataset(tmp_path / "d", encoded(sample)))
    with pytest.raises(InputError, match=said) as caught:
        data.clip("a-00")
    assert "sample 'a-00'" in str(caught.value)


def test_a_limit_is_a_limit_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for case in ("a billion frames", "too many pixels"):
        sample = sample_json()
        SAMPLES[case][0](sample)
        data = Dataset.read(dataset(tmp_path / case, encoded(sample)))
        with pytest.raises(LimitError):
            data.clip("a-00")
    monkeypatch.setattr(limits, "JSON_MAX_BYTES", 100)
    data = Dataset.read(dataset(tmp_path / "json", encoded(sample_json())))
    with pytest.raises(LimitError, match="more than 100 bytes of JSON"):
        data.clip("a-00")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"{", "not valid JSON"),
        (b"[1, 2]", "an object with views"),
        (b'"views"', "an object with views"),
        (b"[" * 100_000, "not valid JSON"),
        (b'{"views": {}, "views": {}}', "appears twice"),
        (b"\xff\xfe", "not UTF-8"),
        (b"", "not valid JSON"),
    ],
)
def test_no_json_of_a_sample(text: bytes, said: str, tmp_path: Path) -> None:
    data = Dataset.read(dataset(tmp_path / "d", encoded(text)))
    with pytest.raises(InputError, match=said):
        data.clip("a-00")


@pytest.mark.parametrize("claimed", [-512, -1, 2**33, 2**60, 100_000])
@pytest.mark.parametrize("name", ["json", "dynamic.00.png", "front.00.png"])
def test_a_member_that_lies_about_its_size(claimed: int, name: str, tmp_path: Path) -> None:
    """Negative sizes once made the reader go round for ever, large ones took all memory. Also of a
    member that is only passed over."""
    fragment = member(name, b"{}", claimed) + encoded(sample_json())
    data = Dataset.read(dataset(tmp_path / "d", fragment))
    with pytest.raises(IntegrityError, match=rf"of {claimed} bytes|bad checksum|header"):
        data.clip("a-00")


def test_other_members(tmp_path: Path) -> None:
    cases: dict[str, tuple[bytes, str]] = {
        "twice": (encoded(sample_json()) + member("json", b"{}"), "'json' is duplicated"),
        "no json": (member("dynamic.00.png", b""), "has no json"),
        "missing": (encoded(sample_json(), {}), "expected 3 frames, got 0"),
        "more": (encoded(sample_json(), {**images(), "dynamic.03.png": b""}), "got 4"),
    }
    link = tarfile.TarInfo("a-00.json")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    cases["link"] = (link.tobuf(tarfile.USTAR_FORMAT), "got member 'a-00.json'")
    for name, (fragment, said) in cases.items():
        data = Dataset.read(dataset(tmp_path / name, fragment))
        with pytest.raises(IntegrityError, match=said):
            data.clip("a-00")


def test_images(tmp_path: Path) -> None:
    jpeg = io.BytesIO()
    Image.new("RGB", (SIDE, SIDE)).save(jpeg, "JPEG")
    cases: dict[str, tuple[bytes, type[InputError], str]] = {
        "bomb": (png_header(20_000, 20_000), LimitError, "too many pixels"),
        "claims": (png_header(SIDE, 9), IntegrityError, "damaged|expected"),
        "jpeg": (jpeg.getvalue(), IntegrityError, "expected a PNG image"),
        "text": (b"a picture", IntegrityError, "expected a PNG image"),
        "cut": (images()["dynamic.00.png"][:45], IntegrityError, "damaged or cut short"),
        "large": (png_bytes(np.zeros((64, 64, 4), np.uint8)), IntegrityError, "got 64x64"),
    }
    for name, (image, kind, said) in cases.items():
        files = {**images(), "dynamic.01.png": image}
        data = Dataset.read(dataset(tmp_path / name, encoded(sample_json(), files)))
        with pytest.raises(kind, match=said) as caught:
            data.clip("a-00")
        assert "frame 1" in str(caught.value)


def test_shards_that_are_no_files(tmp_path: Path) -> None:
    def made(name: str) -> tuple[Path, Path]:
        root = dataset(tmp_path / name, encoded(sample_json()))
        return root, root / "shards/000000.tar"

    root, shard = made("pipe")
    shard.unlink()
    os.mkfifo(shard)
    cases = [root]
    root, shard = made("link")
    shard.rename(tmp_path / "elsewhere.tar")
    shard.symlink_to(tmp_path / "elsewhere.tar")
    cases.append(root)
    root, shard = made("linked folder")
    (root / "shards").rename(tmp_path / "shards")
    (root / "shards").symlink_to(tmp_path / "shards")
    cases.append(root)
    root, shard = made("gone")
    shard.unlink()
    cases.append(root)
    for root in cases:
        with pytest.raises(InputError, match="not a file of this dataset"):
            Dataset.read(root).clip("a-00")
    root, shard = made("cut")
    shard.write_bytes(shard.read_bytes()[:700])
    with pytest.raises(IntegrityError, match="the file ends before"):
        Dataset.read(root).clip("a-00")


ENTRIES: dict[str, tuple[dict[str, Any], str]] = {
    "parent": ({"shard": "../a.tar"}, "expected a path inside"),
    "absolute": ({"shard": "/etc/passwd"}, "expected a path inside"),
    "drive": ({"shard": "C:/a.tar"}, "expected a path inside"),
    "negative offset": ({"offset": -1}, "a place outside"),
    "negative size": ({"size": -512}, "a place outside"),
    "endless": ({"size": 10**400}, "a place outside"),
    "size text": ({"size": "1"}, "size: expected int"),
    "size true": ({"size": True}, "size: expected int"),
    "no key": ({"key": None}, "key: expected str"),
    "key with a path": ({"key": "../x"}, "is no key"),
    "caption number": ({"caption": 3}, "caption: expected str"),
    "also text": ({"also": "a cube"}, "also: expected list"),
    "also numbers": ({"also": ["a", 3]}, "also: expected a list of texts"),
    "motion text": ({"motion": "fast"}, "motion: expected float"),
    "motion endless": ({"motion": 10**400}, "motion: expected a number from"),
    "frames number": ({"frames": 3}, "frames: expected dict"),
    "frames text": ({"frames": {"dynamic": "3"}}, "numbers of frames by view"),
    "frames billion": ({"frames": {"dynamic": 10**9}}, "numbers of frames by view"),
}


@pytest.mark.parametrize("case", ENTRIES)
def test_entries_of_an_index(case: str, tmp_path: Path) -> None:
    changes, said = ENTRIES[case]
    root = dataset(tmp_path / "d", encoded(sample_json()), changes)
    with pytest.raises(InputError, match=said):
        Dataset.read(root)


def test_an_index_that_is_none(tmp_path: Path) -> None:
    root = dataset(tmp_path / "d", encoded(sample_json()))
    path = root / "index.json"
    entry = json.loads(path.read_text())["samples"][0]
    for text, said in (
        ("{", "not valid JSON"),
        ("[]", "not an index"),
        ('{"samples": {}}', "not an index"),
        ('{"samples": [3]}', "not an index"),
        (json.dumps({"samples": [entry, entry]}), "'a-00' is listed twice"),
        ("[" * 100_000, "not valid JSON"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=said):
            Dataset.read(root)
    path.unlink()
    with pytest.raises(InputError, match="no such file"):
        Dataset.read(root)
    os.mkfifo(path)
    with pytest.raises(InputError, match="no such file"):
        Dataset.read(root)


def test_a_size_beyond_the_shard(tmp_path: Path) -> None:
    root = dataset(tmp_path / "d", encoded(sample_json()), {"size": 2**60})
    with pytest.raises(IntegrityError, match="the file ends before"):
        Dataset.read(root).clip("a-00")


@pytest.mark.parametrize("name", ["../outside.tar", "/etc/passwd", "link.tar", "gone.tar", 3])
def test_merging_takes_nothing_from_outside(name: Any, tmp_path: Path) -> None:
    root = dataset(tmp_path / "d", encoded(sample_json()))
    (tmp_path / "outside.tar").write_bytes(b"secret")
    (root / "link.tar").symlink_to(tmp_path / "outside.tar")
    content = {"shards": [name], "contact_sheets": [], "sources": 1, "dropped": []}
    part = Part(name="d", dataset=Dataset.read(root), content=content)
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match=r"expected a path inside|not a file|a list of files"):
        merge([part], tmp_path / "out", reporter=Silent())
    assert not any(path.is_file() for path in (tmp_path / "out").rglob("*"))
