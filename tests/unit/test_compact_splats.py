"""SPZ, compressed PLY, .4dgs and USD: what comes back, what is refused, what is missing."""

from __future__ import annotations

import gzip
import re
import struct
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from orster_cli.core.errors import InputError, LimitError, MissingResourceError, OrsterError
from orster_cli.core.reporting import Silent
from orster_cli.core.types import FitScale, Gaussians
from orster_cli.export.cleaning import pick
from orster_cli.export.compressed_ply import (
    compressed_ply_bytes,
    morton_order,
    read_compressed_ply,
)
from orster_cli.export.formats import FORMATS
from orster_cli.export.job import ExportJob
from orster_cli.export.options import ExportOptions
from orster_cli.export.packed_quats import pack_quats, unpack_quats
from orster_cli.export.run import export_asset
from orster_cli.export.spz import HEADER, MAGIC, read_spz, spz_bytes
from orster_cli.geometry.axes import turned
from tests.helpers.assets import lopsided, moving

MOVING = {"4dgs": "fourdgs", "usd": "pxr"}


def job(
    *, looping: bool = True, gaussians: Gaussians | None = None, **options: object
) -> ExportJob:
    there = lopsided() if gaussians is None else gaussians
    return ExportJob(
        name="thing",
        asset=moving(there, amount=0.05, looping=looping),
        options=ExportOptions(**options),  # type: ignore[arg-type]
        reporter=Silent(),
        frames=6,
    )


@given(seed=st.integers(0, 1000), scale=st.sampled_from([1e-3, 1.0, 1e3]))
def test_quaternions_come_back_as_the_same_turn(seed: int, scale: float) -> None:
    quats = np.random.default_rng(seed).normal(size=(50, 4))
    quats[:4] = np.eye(4)
    quats[4:8] = -np.eye(4)
    quats[8] = 0.5
    unit = quats / np.linalg.norm(quats, axis=1, keepdims=True)
    packed = pack_quats(quats * scale, lambda values: np.rint((values + 1) / 2 * 1023))
    found = unpack_quats(packed, lambda codes: codes / 1023 * 2 - 1)
    assert packed.dtype == np.uint32
    assert np.abs(np.linalg.norm(found, axis=1) - 1).max() < 1e-6
    # half a step of 10 bits is 0.0007 in three numbers; the fourth, at least 0.5, is off by their sum
    assert np.abs((found * unit).sum(axis=1)).min() > 1 - (3 * 0.0007**2 + 0.0021**2) / 2


def test_a_turn_of_length_0_turns_nothing(tmp_path: Path) -> None:
    there = lopsided()
    quats = torch.nn.functional.normalize(there.quats, dim=-1).clone()
    quats[::3] = 0.0
    wanted = quats.clone()
    wanted[::3] = torch.tensor([1.0, 0, 0, 0])
    path = tmp_path / "a"
    path.write_bytes(spz_bytes(replace(there, quats=quats)))
    assert ((read_spz(path).quats * wanted).sum(dim=1).abs() > 0.999).all()
    path.write_bytes(compressed_ply_bytes(replace(there, quats=quats), up="-y"))
    order = morton_order(turned(there, "-y").means.double().numpy())
    found = read_compressed_ply(path, up="-y").quats
    assert ((found * wanted[torch.from_numpy(order)]).sum(dim=1).abs() > 0.999).all()


def test_no_gaussians_are_refused_by_the_writers_and_the_readers(tmp_path: Path) -> None:
    nothing = pick(lopsided(), torch.zeros(0, dtype=torch.long))
    for write in (spz_bytes, partial(compressed_ply_bytes, up="z")):
        with pytest.raises(InputError, match="no Gaussian to write"):
            write(nothing)
    path = tmp_path / "a.spz"
    path.write_bytes(gzip.compress(HEADER.pack(MAGIC, 3, 0, 0, 12, 0, 0)))
    with pytest.raises(InputError, match="holds no Gaussian"):
        read_spz(path)
    path.write_bytes(_without_rows(compressed_ply_bytes(lopsided(), up="z")))
    with pytest.raises(InputError, match="holds no Gaussian"):
        read_compressed_ply(path, up="z")


def _without_rows(data: bytes) -> bytes:
    head, end, _ = data.partition(b"end_header\n")
    return re.sub(rb"(element \w+) \d+", rb"\1 0", head) + end


@pytest.mark.parametrize("size", [0.01, 1.0, 300.0, 100_000.0])
def test_spz_holds_objects_of_any_size(size: float, tmp_path: Path) -> None:
    there = lopsided()
    there = replace(there, means=there.means * size)
    path = tmp_path / "a.spz"
    path.write_bytes(spz_bytes(there))
    away = (read_spz(path).means - there.means).abs().max()
    assert away <= max(2**-17, 2**-23 * float(there.means.abs().max())) * 1.01
    assert path.read_bytes() == spz_bytes(there)  # nothing of the clock in it


def test_spz_that_is_damaged_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.spz"
    whole = gzip.decompress(spz_bytes(lopsided()))
    count = struct.unpack_from("<I", whole, 8)[0]
    cases: list[tuple[bytes, type[OrsterError]]] = [
        (b"", InputError),
        (b"ply\n", InputError),
        (spz_bytes(lopsided())[:-2000], InputError),
        (gzip.compress(whole[:10]), InputError),
        (gzip.compress(whole[:-1]), InputError),
        (gzip.compress(whole + b"\0"), InputError),
        (gzip.compress(HEADER.pack(MAGIC, 2, count, 0, 12, 0, 0) + whole[16:]), InputError),
        (gzip.compress(HEADER.pack(MAGIC, 3, count, 3, 12, 0, 0) + whole[16:]), InputError),
        (gzip.compress(HEADER.pack(MAGIC, 3, 2**31, 0, 12, 0, 0)), LimitError),
        (gzip.compress(HEADER.pack(MAGIC, 3, 1, 0, 12, 0, 0) + bytes(10**6)), InputError),
    ]
    for data, error in cases:
        path.write_bytes(data)
        with pytest.raises(error):
            read_spz(path)
    path.write_bytes(gzip.compress(whole))
    assert len(read_spz(path)) == count


@pytest.mark.parametrize("count", [1, 255, 256, 257, 600])
def test_compressed_ply_of_any_number_of_chunks(count: int, tmp_path: Path) -> None:
    there = pick(lopsided(), torch.arange(count))
    path = tmp_path / "a.ply"
    path.write_bytes(compressed_ply_bytes(there, up="z"))
    found = read_compressed_ply(path, up="z")
    there = pick(there, torch.from_numpy(morton_order(there.means.double().numpy())))
    assert len(found) == count
    assert float((found.means - there.means).abs().max()) < 1e-3
    assert float((found.log_scales - there.log_scales).abs().max()) < 3e-3
    assert float((found.quats * there.quats).sum(-1).abs().min()) > 1 - 2e-6
    assert float((found.colors - there.colors).abs().max()) < 1 / 255
    away = found.opacity_logits.sigmoid() - there.opacity_logits.sigmoid()
    assert float(away.abs().max()) < 0.6 / 255


def test_neighbours_are_near_in_morton_order() -> None:
    points = np.random.default_rng(0).uniform(size=(2000, 3))
    order = morton_order(points)
    assert sorted(order.tolist()) == list(range(2000))
    steps = np.linalg.norm(np.diff(points[order], axis=0), axis=1).mean()
    assert steps < 0.3 * np.linalg.norm(np.diff(points, axis=0), axis=1).mean()
    assert morton_order(np.zeros((5, 3))).tolist() == [0, 1, 2, 3, 4]


def test_compressed_ply_that_is_damaged_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.ply"
    whole = compressed_ply_bytes(lopsided(), up="z")
    for data in (b"", whole[:200], whole[:-1], whole.replace(b"chunk 3", b"chunk 2")):
        path.write_bytes(data)
        with pytest.raises(InputError):
            read_compressed_ply(path, up="z")


@pytest.mark.parametrize("name", ["spz", "compressed-ply", "4dgs", "usd"])
@pytest.mark.parametrize("looping", [True, False])
def test_what_is_written_looks_like_the_asset(name: str, looping: bool, tmp_path: Path) -> None:
    if name in MOVING:
        pytest.importorskip(MOVING[name], reason=f"pip install 'orster[{name}]'")
    there = replace(
        lopsided(), fitted=FitScale(focal=300.0, radius=2.0, eps2d=0.3, antialiased=True)
    )
    one = job(looping=looping, gaussians=there, at=0.4)
    made = next(iter(export_asset(one, [FORMATS[name]], tmp_path, force=False)))
    assert made.outcome.psnr > 42
    assert [p.name for p in tmp_path.iterdir()] == [FORMATS[name].file_name("thing")]


@pytest.mark.parametrize("name", ["4dgs", "usd"])
def test_one_moment_is_a_file_too(name: str, tmp_path: Path) -> None:
    pytest.importorskip(MOVING[name], reason=f"pip install 'orster[{name}]'")
    made = next(iter(export_asset(job(times=(0.5,)), [FORMATS[name]], tmp_path, force=False)))
    assert made.outcome.psnr > 42


@pytest.mark.parametrize("name", ["4dgs", "usd"])
def test_a_missing_library_is_said_with_its_extra_before_anything_is_written(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, MOVING[name], None)
    out = tmp_path / "out"
    with pytest.raises(MissingResourceError, match=f"{name}: the library") as caught:
        list(export_asset(job(), [FORMATS["spz"], FORMATS[name]], out, force=False))
    assert caught.value.hint == f"pip install 'orster[{name}]'"
    assert not out.exists()


def test_an_axis_that_a_format_cannot_have_is_warned_of(tmp_path: Path) -> None:
    one = job(up="z")
    list(export_asset(one, [FORMATS["spz"], FORMATS["compressed-ply"]], tmp_path, force=False))
    assert isinstance(one.reporter, Silent)
    assert [text[:12] for text in one.reporter.warnings] == ["spz: Y is up"]
