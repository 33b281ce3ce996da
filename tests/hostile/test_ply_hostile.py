"""PLY files that lie."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from orster_cli.core.errors import InputError, LimitError
from orster_cli.io.ply import read_ply, write_ply
from tests.helpers.clips import blob_gaussians

NAMES = ["x", "y", "z", "f_dc_0", "f_dc_1", "f_dc_2", "opacity"]
NAMES += ["scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"]
START = "ply\nformat binary_little_endian 1.0\n"


def columns(names: list[str]) -> str:
    return "".join(f"property float {name}\n" for name in names)


def file(header: str, rows: int = 2, width: int = 14, *, fill: float = 0.5) -> bytes:
    return header.encode() + np.full(rows * width, fill, "<f4").tobytes()


def _absent(rows: int) -> bytes:
    """Rows whose opacity is -inf, the logit of an alpha of 0."""
    table = np.full((rows, 14), 0.5, "<f4")
    table[:, NAMES.index("opacity")] = -np.inf
    return table.tobytes()


PLAIN = f"{START}element vertex 2\n{columns(NAMES)}end_header\n"
CASES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "expected a PLY"),
    "text": (b"hello", "expected a PLY"),
    "no end": (file(PLAIN.replace("end_header\n", "")), "expected a PLY"),
    "old Mac lines": (file(PLAIN.replace("\n", "\r")), "expected a PLY"),
    "windows lines, cut": (file(PLAIN.replace("\n", "\r\n"))[:-1], "claims 2 Gaussians"),
    "long header": (
        file(PLAIN.replace("element", "comment x\n" * 10_000 + "element")),
        "at most 65536",
    ),
    "one long line": (
        file(PLAIN.replace("element", "comment " + "x" * 10**6 + "\nelement")),
        "65536",
    ),
    "not ascii": (PLAIN.replace("format", "comment \xff\nformat").encode("latin-1"), "not ASCII"),
    "ascii body": (file(PLAIN.replace("binary_little_endian", "ascii")), "little endian"),
    "big endian": (file(PLAIN.replace("little", "big")), "little endian"),
    "huge count": (
        file(PLAIN.replace("vertex 2", "vertex 1000000000000")),
        "one element, vertex|most",
    ),
    "large count": (file(PLAIN.replace("vertex 2", "vertex 500000000")), "at most 20000000"),
    "small lie": (file(PLAIN.replace("vertex 2", "vertex 3")), "claims 3 Gaussians"),
    "short lie": (file(PLAIN.replace("vertex 2", "vertex 1")), "claims 1 Gaussians"),
    "negative count": (file(PLAIN.replace("vertex 2", "vertex -2")), "one element, vertex"),
    "overflow count": (file(PLAIN.replace("vertex 2", f"vertex {2**70}")), "one element, vertex"),
    "octal count": (file(PLAIN.replace("vertex 2", "vertex ²")), "not ASCII"),
    "list": (
        file(PLAIN.replace("property float x", "property list uchar float x")),
        "is not a number",
    ),
    "unknown type": (file(PLAIN.replace("float x", "float128 x")), "is not a number"),
    "faces that are not there": (
        file(PLAIN.replace("end_header", "element face 9\nproperty int a\nend_header")),
        "148 bytes",
    ),
    "two vertices": (
        file(PLAIN.replace("end_header", "element vertex 0\nend_header")),
        "one element",
    ),
    "a list before": (
        file(PLAIN.replace("element", "element face 1\nproperty list uchar int a\nelement")),
        "is not a number",
    ),
    "no vertex": (f"{START}end_header\n".encode(), "expected one element, vertex, found none"),
    "no rows": (file(PLAIN.replace("vertex 2", "vertex 0"), rows=0), "no Gaussian"),
    "all absent": (file(PLAIN)[:-112] + _absent(2), "no Gaussian"),
    "compressed": (
        file(PLAIN.replace("float x", "uint packed_position")),
        "compressed PLY",
    ),
    "a column twice": (
        file(f"{START}element vertex 2\n{columns([*NAMES, 'x'])}end_header\n", width=15),
        "not a readable PLY",
    ),
    "no opacity": (
        file(f"{START}element vertex 2\n{columns([*NAMES[:6], *NAMES[7:]])}end_header\n", width=13),
        "opacity missing",
    ),
    "points only": (
        file(f"{START}element vertex 2\n{columns(['x', 'y', 'z'])}end_header\n", width=3),
        "f_dc_0, f_dc_1, f_dc_2, opacity missing",
    ),
    "half a band": (
        file(
            f"{START}element vertex 2\n{columns([*NAMES, *(f'f_rest_{i}' for i in range(7))])}"
            "end_header\n",
            width=21,
        ),
        "9, 24 or 45 columns, found 7",
    ),
    "a gap in the bands": (
        file(
            f"{START}element vertex 2\n{columns([*NAMES, *(f'f_rest_{i}' for i in range(1, 10))])}"
            "end_header\n",
            width=23,
        ),
        "expected f_rest_0",
    ),
    "nan": (file(PLAIN, fill=float("nan")), "means holds values that are not finite"),
    "infinite": (file(PLAIN, fill=float("inf")), "not finite"),
    "huge": (file(PLAIN, fill=1e3), "expected logarithms of sizes"),
    "no rotation": (file(PLAIN, fill=0.0), "rotation of length 0"),
    "cut": (file(PLAIN)[:-1], "cut short|claims"),
    "junk behind": (file(PLAIN) + b"x", "claims 2 Gaussians"),
}


@pytest.mark.parametrize("case", CASES)
def test_refused(case: str, tmp_path: Path) -> None:
    data, said = CASES[case]
    path = tmp_path / "a.ply"
    path.write_bytes(data)
    started = time.monotonic()
    with pytest.raises(InputError, match=said):
        read_ply(path)
    assert time.monotonic() - started < 5


def test_the_plain_file_is_fine(tmp_path: Path) -> None:
    (tmp_path / "a.ply").write_bytes(file(PLAIN))
    assert len(read_ply(tmp_path / "a.ply")) == 2


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.ply")
    for path in (tmp_path / "none.ply", tmp_path / "pipe.ply", tmp_path):
        with pytest.raises(InputError, match="no such file"):
            read_ply(path)


def test_mutants(tmp_path: Path) -> None:
    """1,000 files with changed bytes: Gaussians that are finite, or an InputError."""
    rng = random.Random(0)
    path = tmp_path / "a.ply"
    write_ply(path, blob_gaussians(8))
    raw = path.read_bytes()
    end = raw.index(b"end_header\n") + 11
    accepted = 0
    for i in range(1000):
        mutant = bytearray(raw)
        top = end if i % 2 else len(mutant)
        for _ in range(rng.choice((1, 2, 8))):
            mutant[rng.randrange(top)] = rng.randrange(256)
        if i % 10 == 0:
            del mutant[rng.randrange(len(mutant)) :]
        path.write_bytes(mutant)
        try:
            found = read_ply(path)
        except InputError:
            continue
        accepted += 1
        assert bool(torch.isfinite(found.means).all())
        assert bool(torch.isfinite(found.log_scales.exp()).all())
    assert 50 < accepted < 900


def test_limit_error_is_typed(tmp_path: Path) -> None:
    (tmp_path / "a.ply").write_bytes(CASES["large count"][0])
    with pytest.raises(LimitError) as caught:
        read_ply(tmp_path / "a.ply")
    assert caught.value.code == "E-PLY-COUNT"
