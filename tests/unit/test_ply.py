"""Gaussians in the 3DGS layout: byte for byte what other tools expect."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from plyfile import PlyData

from orster_cli.core.types import Gaussians
from orster_cli.io.ply import read_ply, write_ply


def gaussians(count: int, coefficients: int, seed: int = 0) -> Gaussians:
    generator = torch.Generator().manual_seed(seed)
    quats = torch.randn(count, 4, generator=generator)
    return Gaussians(
        means=torch.randn(count, 3, generator=generator),
        log_scales=torch.randn(count, 3, generator=generator) - 3,
        quats=torch.nn.functional.normalize(quats, dim=-1),
        opacity_logits=torch.randn(count, generator=generator),
        sh=torch.randn(count, coefficients, 3, generator=generator),
    )


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@given(
    count=st.integers(1, 50), coefficients=st.sampled_from([1, 4, 9, 16]), seed=st.integers(0, 99)
)
def test_round_trip(count: int, coefficients: int, seed: int) -> None:
    there = gaussians(count, coefficients, seed)
    write_ply(Path("a.ply"), there)
    back = read_ply(Path("a.ply"))
    for name in ("means", "log_scales", "opacity_logits", "sh"):
        assert torch.equal(getattr(back, name), getattr(there, name)), name
    assert torch.allclose(back.quats, there.quats, atol=1e-6)
    assert [p.name for p in Path().iterdir()] == ["a.ply"]


def test_the_columns_and_their_order() -> None:
    one = gaussians(1, 4)
    write_ply(Path("a.ply"), one)
    data = Path("a.ply").read_bytes()
    header, _, body = data.partition(b"end_header\n")
    names = [line.split()[-1].decode() for line in header.split(b"\n") if b"property float" in line]
    assert names == [
        *("x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2"),
        *(f"f_rest_{i}" for i in range(9)),
        *("opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"),
    ]
    values = dict(zip(names, struct.unpack(f"<{len(names)}f", body), strict=True))
    # channel-major: all red coefficients of the bands above 0, then green, then blue
    for channel in range(3):
        for k in range(3):
            assert values[f"f_rest_{3 * channel + k}"] == float(one.sh[0, 1 + k, channel])
    assert values["rot_0"] == pytest.approx(float(one.quats[0, 0]))  # w first
    assert values["scale_1"] == float(one.log_scales[0, 1])
    assert values["opacity"] == float(one.opacity_logits[0])


def test_another_writers_file() -> None:
    """Doubles, no normals, another order of columns, comments: as some exporters have it."""
    names = ["rot_3", "rot_2", "rot_1", "rot_0", "opacity", "scale_2", "scale_1", "scale_0"]
    names += ["z", "y", "x", "f_dc_2", "f_dc_1", "f_dc_0"]
    header = "ply\nformat binary_little_endian 1.0\ncomment made elsewhere\nelement vertex 1\n"
    header += "".join(f"property double {name}\n" for name in names) + "end_header\n"
    values = np.arange(1, 15, dtype="<f8") / 8
    Path("b.ply").write_bytes(header.encode() + values.tobytes())
    one = read_ply(Path("b.ply"))
    assert one.means.dtype == torch.float32
    assert (one.quats * 8).tolist() == [[4, 3, 2, 1]]
    assert (one.means * 8).tolist() == [[11, 10, 9]]
    assert (one.sh * 8).tolist() == [[[14, 13, 12]]]
    assert (one.log_scales * 8).tolist() == [[8, 7, 6]]


def test_quaternions_are_written_with_length_one_and_an_old_file_is_replaced_whole() -> None:
    one = gaussians(3, 1)
    longer = Gaussians(
        means=one.means,
        log_scales=one.log_scales,
        quats=one.quats * 7,
        opacity_logits=one.opacity_logits,
        sh=one.sh,
    )
    Path("a.ply").write_text("old")
    write_ply(Path("a.ply"), longer)
    stored = PlyData.read("a.ply")["vertex"]
    rotation = np.stack([stored[f"rot_{i}"] for i in range(4)], axis=-1)
    assert np.allclose(np.linalg.norm(rotation, axis=-1), 1, atol=1e-6)
    Path("folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        write_ply(Path("folder"), one)
    assert {p.name for p in Path().iterdir()} == {"a.ply", "folder"}  # nothing half-made is left
