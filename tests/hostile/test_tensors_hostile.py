"""safetensors files that lie, and pickles that would run."""

from __future__ import annotations

import json
import pickle
import random
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from orster_cli.core.errors import InputError, LimitError
from orster_cli.io.tensors import read_tensors

F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def crafted(header: str | bytes, body: bytes = b"\0" * 8, *, size: int | None = None) -> bytes:
    raw = header.encode() if isinstance(header, str) else header
    return struct.pack("<Q", len(raw) if size is None else size) + raw + body


def entry(**changes: Any) -> str:
    return json.dumps({"a": {**F32, **changes}})


CASES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "cut short"),
    "seven bytes": (b"\0" * 7, "cut short"),
    "header beyond the end": (crafted(entry(), size=4000), "cut short"),
    "giant header": (crafted(entry(), size=2**40), "a header of 1,099,511,627,776 bytes"),
    "not utf-8": (crafted(b"\xff\xfe{}"), "not UTF-8"),
    "not json": (crafted("{"), "not valid JSON"),
    "a list": (crafted("[]", b""), "not an object"),
    "deep": (crafted("[" * 100_000), "not valid JSON"),
    "twice": (crafted(f'{{"a": {json.dumps(F32)}, "a": {json.dumps(F32)}}}'), "appears twice"),
    "overlap": (
        crafted(json.dumps({"a": F32, "b": {**F32, "data_offsets": [4, 12]}}), b"\0" * 12),
        "not a readable safetensors",
    ),
    "hole": (crafted(entry(data_offsets=[4, 12]), b"\0" * 12), "not a readable safetensors"),
    "beyond": (crafted(entry(data_offsets=[0, 16], shape=[4])), "not a readable safetensors"),
    "overflow": (crafted(entry(shape=[2**40, 2**40])), "not a readable safetensors"),
    "negative": (crafted(entry(shape=[-2])), "not a readable safetensors"),
    "beyond 64 bits": (
        crafted(entry(shape=[2, 2**63, 0], data_offsets=[0, 0]), b""),
        "not a readable",
    ),
    "70 dimensions": (crafted(entry(shape=[2] + [1] * 69)), "70 dimensions|not a readable"),
    "odd type": (crafted(entry(dtype="F31")), "not a readable safetensors"),
    "junk behind": (crafted(entry(), b"\0" * 9), "not a readable safetensors"),
    "escaping name": (crafted(json.dumps({"../../x": F32})), "'../../x' is not allowed"),
    "absolute name": (crafted(json.dumps({"/etc/x": F32})), "is not allowed"),
    "control name": (crafted(json.dumps({"a\x1b[31m": F32})), "is not allowed"),
    "nan": (crafted(entry(), struct.pack("<ff", 1.0, float("nan"))), "a: holds values"),
    "infinite": (crafted(entry(), struct.pack("<ff", 1.0, float("-inf"))), "a: holds values"),
    "bool": (crafted(entry(dtype="BOOL", shape=[8])), "type torch.bool is not expected"),
}


@pytest.mark.parametrize("case", CASES)
def test_refused(case: str, tmp_path: Path) -> None:
    data, said = CASES[case]
    path = tmp_path / "a.safetensors"
    path.write_bytes(data)
    with pytest.raises(InputError, match=said) as caught:
        read_tensors(path)
    assert "\x1b" not in str(caught.value)
    if case == "giant header":
        assert isinstance(caught.value, LimitError)


def test_fine_files(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    tensors = {
        "field.planes.0": torch.randn(3, 4),
        "unet/down/w": torch.arange(5),
        "half": torch.ones(2, dtype=torch.bfloat16),
        "none": torch.zeros(0, 3),
    }
    save_file(tensors, path)
    back = read_tensors(path)
    assert set(back) == set(tensors)
    assert all(torch.equal(back[name], tensors[name]) for name in tensors)
    # headers whose length begins with the bytes of a pickle or a zip archive are no pickles
    for length in (0x80, 0x4B50):
        body = entry().ljust(length)
        path.write_bytes(crafted(body))
        assert path.read_bytes()[:1] in b"\x80PK"
        assert read_tensors(path)["a"].tolist() == [0.0, 0.0]


class Canary:
    """Unpickling this makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[Any, tuple[str, str]]:
        return open, (self.path, "w")


def test_a_pickle_never_runs(tmp_path: Path) -> None:
    sung = tmp_path / "sung"
    path = tmp_path / "motion.safetensors"
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        path.write_bytes(pickle.dumps(Canary(sung), protocol=protocol))
        with pytest.raises(InputError, match=r"pickle|bytes|cut short"):
            read_tensors(path)
    torch.save({"a": Canary(sung)}, path)
    assert zipfile.is_zipfile(path)
    with pytest.raises(InputError, match="pickle") as caught:
        read_tensors(path)
    assert caught.value.code == "E-PICKLE"
    assert not sung.exists()
    pickle.loads(pickle.dumps(Canary(sung))).close()  # the canary does sing
    assert sung.exists()


def test_mutants(tmp_path: Path) -> None:
    """1,000 files with changed bytes: finite tensors of plain names, or an InputError."""
    rng = random.Random(0)
    path = tmp_path / "a.safetensors"
    save_file({"weight": torch.randn(4, 4), "bias": torch.randn(4)}, path)
    raw = path.read_bytes()
    end = 8 + int.from_bytes(raw[:8], "little")
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
            tensors = read_tensors(path)
        except InputError:
            continue
        accepted += 1
        assert len(tensors) <= 2
        assert sum(t.numel() * t.element_size() for t in tensors.values()) <= len(mutant)
        assert all(bool(torch.isfinite(t.float()).all()) for t in tensors.values())
    assert 10 < accepted < 900
