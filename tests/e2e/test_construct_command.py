"""`prepare-data`, `construct` and `evaluate` as a user runs them, small."""

from __future__ import annotations

import json
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from orster_cli.io.video import write_video
from tests.helpers.cli import Said, orster, quiet
from tests.helpers.starts import ended, start_orster

SMALL = [
    *("--set", "construct.resolution=48", "--set", "construct.gaussians=500"),
    *("--set", "construct.static_steps=60", "--set", "construct.coarse_steps=40"),
    *("--set", "construct.fine_steps=40", "--set", "construct.plane_resolution=8"),
]
Call = Callable[..., Said]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """Runs a command, which must end with the exit code `check`."""

    def run(*words: object, check: int = 0) -> Said:
        said = orster(capsys, *map(str, words))
        assert said.code == check, said.err
        return said

    return run


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory, creature: Path) -> Path:
    out = tmp_path_factory.mktemp("e2e") / "dataset"
    quiet("prepare-data", creature, "-o", out, "--resolution", "48", "--frames", "12")
    return out


def test_dataset_to_asset_to_report(dataset: Path, tmp_path: Path, call: Call) -> None:
    asset, report, clip = tmp_path / "asset", tmp_path / "report", f"{dataset}#creature-00"
    made = call("construct", clip, "-o", asset, *SMALL, "--json")
    value = made.data
    assert value["status"] == "made"
    assert value["static_orbit"] is True
    names = ["canonical.ply", "motion.safetensors", "preview.mp4", "sheet.png", "quality.json"]
    assert "viewer.html: " in made.err
    for name in [*names, "viewer.html"]:
        assert (asset / name).stat().st_size > 0
        assert (asset / name).stat().st_mode & 0o044 == 0o044  # others may read it
    page = (asset / "viewer.html").read_text(encoding="utf-8")
    assert "<title>dataset#creature-00:dynamic</title>" in page  # no caption: the clip's own name
    again = call("construct", clip, "-o", asset, *SMALL)
    assert "up to date" in again.out
    other = call("construct", clip, "-o", asset, *SMALL, "--seed", 7, check=6)
    assert "--force" in other.err
    call("verify", asset, dataset)
    call("evaluate", asset, "--reference", clip, "-o", report)
    quality = json.loads((asset / "quality.json").read_text())
    psnr = quality["mean"]["psnr"]
    assert quality["size"] == 48
    assert quality["twice"]["psnr"] > 20
    assert quality["between"]["pairs"] == 8
    described = json.loads((asset / "asset.json").read_text())
    assert described["version"] == 2
    assert described["fit"]["focal"] == pytest.approx(48 * 50 / 36, rel=0.01)
    means = json.loads((report / "report.json").read_text())["subjects"][0]["mean"]
    assert means["psnr"] == pytest.approx(psnr, abs=0.05)
    call("evaluate", asset, "--reference", clip, "-o", report, "--fail-under", "psnr=99", check=7)


def test_a_plain_video_and_bad_ones(tmp_path: Path, call: Call) -> None:
    frames = torch.ones(6, 3, 64, 64)
    for i in range(6):
        frames[i, :, 20:44, 18 + i : 42 + i] = torch.tensor([0.7, 0.2, 0.1])[:, None, None]
    video = tmp_path / "box.mp4"
    write_video(video, list(frames))
    made = call("construct", video, "-o", tmp_path / "asset", "--turns", 0, *SMALL)
    assert "assumed 6 frames, a camera that stands still" in made.err
    assert f"open {tmp_path / 'asset' / 'viewer.html'}" in made.out + made.err
    assert "cannot be known" in made.err
    assert "<title>box.mp4</title>" in (tmp_path / "asset" / "viewer.html").read_text("utf-8")
    cases = {
        "one.mp4": (frames[:1], 3, "at least 2"),
        "empty.mp4": (torch.ones(4, 3, 64, 64), 3, "nothing but background"),
        "busy.mp4": (torch.rand(4, 3, 64, 64), 3, "not one plain colour"),
        "long.mp4": (frames[:1].expand(10_000, 3, 64, 64), 3, "at most 2000"),
    }
    for name, (content, code, words) in cases.items():
        write_video(tmp_path / name, list(content))
        done = call("construct", tmp_path / name, "-o", tmp_path / "x", *SMALL, check=code)
        assert words in done.err
        assert "Traceback" not in done.err
    wrong = call("construct", video, "-o", tmp_path / "x", "--radius", "0.1", check=2)
    assert "--radius" in wrong.err
    (tmp_path / "notes.mp4").write_text("no video")
    call("construct", tmp_path / "notes.mp4", "-o", tmp_path / "x", check=3)
    call("construct", tmp_path / "missing.mp4", "-o", tmp_path / "x", check=3)
    assert not (tmp_path / "x").exists()


def _kill_construct(clip: str, out: Path, kills: int, longest: float, seed: int) -> int:
    """Start `construct` again and again, kill -9 within `longest` seconds; how often it was killed.
    One that came to its end is started anew."""
    chance, killed = random.Random(seed), 0
    for number in range(kills):
        talk = out.with_name(f"talk{number}.txt")
        process = start_orster(talk, "construct", clip, "-o", out, *SMALL)
        process.join(chance.uniform(0.05, longest))
        process.kill()
        killed += ended(process, talk) == -signal.SIGKILL
        talk.unlink()
        if (out / "manifest.json").exists():
            quiet("verify", out)  # complete, or not there
            shutil.rmtree(out)
        else:
            assert not out.exists()
    return killed


def _same_after_kills(dataset: Path, tmp_path: Path, kills: int) -> None:
    clip = f"{dataset}#creature-01"
    started = time.monotonic()
    quiet("construct", clip, "-o", tmp_path / "whole", *SMALL)
    longest = time.monotonic() - started
    assert _kill_construct(clip, tmp_path / "killed", kills, longest, seed=kills) > 0
    quiet("construct", clip, "-o", tmp_path / "killed", *SMALL)
    quiet("verify", tmp_path / "killed")
    for name in ("canonical.ply", "motion.safetensors"):
        first, second = tmp_path / "whole" / name, tmp_path / "killed" / name
        assert first.read_bytes() == second.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["killed", "whole"]


@pytest.mark.slow
def test_killed_anywhere_it_ends_the_same(dataset: Path, tmp_path: Path) -> None:
    _same_after_kills(dataset, tmp_path, kills=3)


@pytest.mark.slow
def test_killed_fifty_times(dataset: Path, tmp_path: Path) -> None:
    _same_after_kills(dataset, tmp_path, kills=50)
