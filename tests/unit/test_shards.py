"""Tar shards: the same bytes for the same content, readable by tarfile and by webdataset."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from orster_cli.core.errors import IntegrityError
from orster_cli.dataset.shards import SampleSpan, encode_sample, png_bytes, read_sample, write_shard

LONG = b'{"x":"' + b"y" * 1500 + b'"}'
PIXELS = np.arange(4 * 5 * 4, dtype=np.uint8).reshape(4, 5, 4)


def _shard(folder: Path) -> tuple[Path, list[SampleSpan]]:
    for key, text in (("a-00", b"{}"), ("b-01", LONG)):
        fields = [("json", text), ("dynamic.00.png", png_bytes(PIXELS))]
        (folder / f"{key}.part").write_bytes(encode_sample(key, fields))
    path = folder / "000000.tar"
    return path, write_shard(path, [(k, folder / f"{k}.part") for k in ("a-00", "b-01")])


def test_tarfile_reads_it_and_nothing_depends_on_the_machine(tmp_path: Path) -> None:
    path, _ = _shard(tmp_path)
    assert path.stat().st_size % tarfile.RECORDSIZE == 0
    with tarfile.open(path) as archive:
        members = archive.getmembers()
        assert [m.name for m in members] == [
            "a-00.json", "a-00.dynamic.00.png", "b-01.json", "b-01.dynamic.00.png",
        ]  # fmt: skip
        assert {(m.mtime, m.uid, m.gid, m.uname, m.mode) for m in members} == {(0, 0, 0, "", 0o644)}
        assert archive.extractfile("b-01.json").read() == LONG  # type: ignore[union-attr]
    again = tmp_path / "again"
    again.mkdir()
    assert _shard(again)[0].read_bytes() == path.read_bytes()


def test_webdataset_reads_it_as_it_is(tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    path, _ = _shard(tmp_path)
    samples = list(webdataset.WebDataset(str(path), shardshuffle=False).decode("pilrgba"))
    assert [s["__key__"].split("/")[-1] for s in samples] == ["a-00", "b-01"]
    assert samples[0]["json"] == {}
    assert np.array_equal(np.asarray(samples[1]["dynamic.00.png"]), PIXELS)


def test_a_sample_is_read_from_its_place_alone(tmp_path: Path) -> None:
    path, placed = _shard(tmp_path)
    fields = read_sample(path, placed[1], "dynamic.")
    assert list(fields) == ["dynamic.00.png"]
    with Image.open(io.BytesIO(fields["dynamic.00.png"])) as image:
        assert np.array_equal(np.asarray(image), PIXELS)  # lossless, alpha 0 included
    assert read_sample(path, placed[0], "json") == {"json": b"{}"}


def test_damage_is_an_error(tmp_path: Path) -> None:
    path, placed = _shard(tmp_path)
    data = bytearray(path.read_bytes())
    data[placed[1].offset + 3] ^= 1  # in the name of a member: its checksum fails
    path.write_bytes(data)
    with pytest.raises(IntegrityError, match="damaged"):
        read_sample(path, placed[1])
    wrong = SampleSpan(key="a-00", offset=placed[0].offset + 512, size=placed[0].size)
    with pytest.raises(IntegrityError):
        read_sample(path, wrong)
    path.write_bytes(data[:700])
    with pytest.raises(IntegrityError):
        read_sample(path, placed[1])


def test_keys_may_not_have_dots() -> None:
    for key in ("a.b", "", "a/b", "ä", "x" * 81):
        with pytest.raises(ValueError, match="sample key"):
            encode_sample(key, [("json", b"")])
