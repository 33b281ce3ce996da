"""What `orster show` prints: headline, facts and files, without Python's own forms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orster_cli.artifacts.manifest import FileEntry, Kind
from orster_cli.commands.describe import LONGEST, ROWS, facts, files, headline, size
from tests.helpers.artifacts import make

CONTENTS: list[tuple[Kind, dict[str, Any], str]] = [
    (
        "dataset",
        {"samples": 22, "sources": 1, "settings": {"frames": 24, "resolution": 256}},
        "22 clips, 1 object, 24 frames, 256 px",
    ),
    ("clip", {"frames": 16, "resolution": 64, "prompt": "a [b]frog[/b]"}, "16 frames, 64 px"),
    (
        "asset",
        {"gaussians": 12345, "frames": [8], "psnr": 23.876},
        "12,345 Gaussians, 8 frames, PSNR 23.88 dB",
    ),
    (
        "model",
        {"role": "vae", "parameters": 43711, "steps": 1},
        "vae model, 43,711 parameters, 1 step",
    ),
    ("report", {"summary": {"psnr": {"mean": 23.5}, "fvd": {"mean": None}}}, "psnr 23.5 dB"),
    ("clip", {"frames": "many", "resolution": None, "prompt": ["x"], "summary": 3, "role": 4}, ""),
    ("clip", {"frames": True, "settings": [], "psnr": "high", "gaussians": {}}, ""),
]


@pytest.mark.parametrize(("kind", "content", "says"), CONTENTS)
def test_headline(kind: Kind, content: dict[str, Any], says: str, tmp_path: Path) -> None:
    manifest = make(tmp_path / "a", kind=kind, content=content).manifest
    prompt = content.get("prompt")
    tail = f', "{prompt}"' if isinstance(prompt, str) else ""
    assert headline(manifest) == (f"{says}, " if says else "") + "883 bytes" + tail


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "none"),
        ([], "none"),
        ({}, "none"),
        (True, "yes"),
        (False, "no"),
        (16, "16"),
        (1234567, "1,234,567"),
        (0.1 + 0.2, "0.3"),
        (float("nan"), "nan"),
        ("a frog", "a frog"),
        ([16], "16"),
        ([128, 48], "128 x 48"),
        (["a", "b"], "a, b"),
        ({"a": 1, "b": [0.0, 0.5], "c": None}, "a 1, b (0, 0.5), c none"),
        ({"a": {"mean": 1.5, "n": 2}}, "a (mean 1.5, n 2)"),
        ([{"key": "x", "reason": "y"}], "(key x, reason y)"),
        ("x" * 1000, "x" * (LONGEST - 3) + "..."),
    ],
)
def test_facts(value: object, text: str) -> None:
    assert facts({"key": value}) == [f"key: {text}"]


def test_figures_have_units() -> None:
    assert facts({"psnr": 23.4567, "seconds": 38.5, "resolution": 64, "ssim": 0.5}) == [
        "psnr: 23.4567 dB",
        "seconds: 38.5 s",
        "resolution: 64 px",
        "ssim: 0.5",
    ]


def entry(path: str, count: int) -> FileEntry:
    return FileEntry(path=path, size=count, sha256="0" * 64)


def test_a_folder_of_many_files_is_one_line() -> None:
    frames = [entry(f"frames/{i:04}.png", 1000) for i in range(16)]
    found = files([entry("a.json", 5), *frames, *(entry(f"b/{i}", 1) for i in range(3))])
    assert found == [
        "             5  a.json",
        "        16,000  frames/ (16 files)",
        *(f"             1  b/{i}" for i in range(3)),
    ]


def test_many_files_end_with_a_count() -> None:
    found = files([entry(f"{i:03}.bin", 1) for i in range(50)])
    assert len(found) == ROWS + 1
    assert found[-1].split() == ["...", "and", "30", "more"]


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1 kB"),
        (144_528, "145 kB"),
        (999_499, "999 kB"),
        (1_238_202, "1.24 MB"),
        (56_789_000_000, "56.8 GB"),
        (2_345_000_000_000, "2345 GB"),
    ],
)
def test_sizes(count: int, text: str) -> None:
    assert size(count) == text
