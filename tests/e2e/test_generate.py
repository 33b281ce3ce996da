"""`orster generate` with the model in the package: from a text to an asset by one command."""

from __future__ import annotations

import os
import signal
import tomllib
from pathlib import Path
from typing import Any

import pytest

from orster_cli.artifacts.store import open_artifact
from orster_cli.commands import construct, sampling
from orster_cli.commands.stage import Stage
from orster_cli.core.reporting import Silent
from orster_cli.inputs.models import SHIPPED, sampling_of
from orster_cli.io.clip_files import read_clip
from tests.helpers.cli import orster

TINY = [f"construct.{k}_steps=8" for k in ("static", "coarse", "fine")]
STEPS = 4
SIZES = [
    f"sample.steps={STEPS}",
    "construct.gaussians=200",
    "construct.max_gaussians=300",
    "construct.resolution=32",
]
SETTINGS = [word for one in (*TINY, *SIZES, f"sample.steps={STEPS}") for word in ("--set", one)]


def test_a_text_becomes_an_asset_and_both_orbits_are_sampled_as_the_model_says(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = sampling_of(SHIPPED)
    assert file is not None
    best = tomllib.loads(file.read_text())["sample"] | {"steps": STEPS}
    out = tmp_path / "frog"
    words = (
        "generate",
        "--text",
        "a frog jumping",
        "-m",
        "mini",
        "-o",
        str(out),
        "--device",
        "cpu",
    )
    words += ("--json",)
    said = orster(capsys, *words, *SETTINGS)
    assert said.code == 0, said.err
    clip, asset = open_artifact(out / "clip", "clip"), open_artifact(out / "asset", "asset")
    assert clip.verify(Silent()) == asset.verify(Silent()) == []
    assert asset.content["static_orbit"]
    assert asset.content["prompt"] == "a frog jumping"
    assert {p.kind for p in asset.manifest.parents} == {"clip", "model"}
    for made in (clip, asset):
        sampled = made.manifest.config["sample"]
        assert {key: sampled[key] for key in best} == best
    assert (out / "asset" / "preview.mp4").stat().st_size > 0
    assert "viewer.html" in {file.path for file in asset.manifest.files}
    assert "<h1>a frog jumping</h1>" in (out / "asset" / "viewer.html").read_text(encoding="utf-8")
    again = orster(capsys, *words, *SETTINGS)
    assert again.data["status"] == "up to date"
    apart = tmp_path / "apart"
    construct = ("construct", str(out / "clip"), "-m", str(SHIPPED), "-o", str(apart))
    said = orster(capsys, *construct, *SETTINGS, "--set", "sample.steps=3", "--device", "cpu")
    assert said.code == 0, said.err
    config = open_artifact(apart).manifest.config["sample"]
    # what is asked for stands above what the model says
    assert config == {**asset.manifest.config["sample"], "steps": 3}
    assert len(read_clip(out / "clip")) == clip.content["frames"]


@pytest.mark.slow
def test_several_orbits_start_from_an_asset_of_the_first_and_are_fitted_together(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, creature: Path
) -> None:
    glb, out = creature, tmp_path / "made"
    words = (
        "generate",
        "a creature walking",
        "--object",
        str(glb),
        "-o",
        str(out),
        "--orbits",
        "3",
    )
    words += ("--device", "cpu", "--json", "--anyway", "--set", "sample.strength=0.5")
    # of a known action, all orbits are rendered
    words += ("--set", "sample.course=1", "--set", "sample.framing=middle")
    said = orster(capsys, *words, *SETTINGS)
    assert said.code == 0, said.err
    first = open_artifact(out / "orbits" / "first", "asset")
    folders = [out / "clip", out / "orbits" / "clip-120", out / "orbits" / "clip-240"]
    clips = [open_artifact(folder, "clip") for folder in folders]
    starts = [float(read_clip(folder).cameras.azimuths[0]) for folder in folders]
    assert starts == pytest.approx([0.0, 120.0, -120.0], abs=1e-3)
    for clip, parents in zip(clips, ([], [first.id], [first.id]), strict=True):
        assert [p.id for p in clip.manifest.parents if p.kind == "asset"] == parents
    asset = open_artifact(out / "asset", "asset")
    assert [p.id for p in asset.manifest.parents if p.kind == "clip"] == [c.id for c in clips]
    assert asset.content["frames"] == [len(read_clip(folder)) for folder in folders]
    assert (out / "asset" / "object.glb").read_bytes() == glb.read_bytes()
    for more in ((), ("-n",)):
        again = orster(capsys, *words, *SETTINGS, *more)
        assert again.data["status"] == "up to date"
    (out / "asset").rename(tmp_path / "asset")
    plan = orster(capsys, *words, *SETTINGS, "-n").data
    assert (plan["status"], plan["path"]) == ("dry run", str(out / "asset"))
    clips[1].path.rename(tmp_path / "clip")
    plan = orster(capsys, *words, *SETTINGS, "-n").data
    assert (plan["path"], plan["asset"]["path"]) == (str(clips[1].path), str(out / "asset"))
    # one step of it, as the shell has it
    line = ("sample-video", "a creature walking", "--object", str(glb), "--start", str(first.path))
    line += ("--set", "sample.course=1", "--set", "sample.framing=middle")
    line += ("--azimuth-start", "120", "--strength", "0.5", "--anyway", "--device", "cpu", "--json")
    said = orster(capsys, *line, "-o", str(tmp_path / "one"), "--set", f"sample.steps={STEPS}")
    assert said.code == 0, said.err
    assert said.data["id"] == clips[1].id


@pytest.mark.parametrize("at", [0, 1, 2, 3], ids=["clip", "first", "further", "asset"])
def test_an_interrupt_is_heard_by_each_of_the_steps(
    at: int, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[bool] = []

    def step(stage: Stage, *_: Any, **__: Any) -> None:
        if len(heard) == at:
            os.kill(os.getpid(), signal.SIGINT)
        heard.append(stage.stop.requested)

    monkeypatch.setattr(sampling, "sample_clip", step)
    monkeypatch.setattr(construct, "construct_asset", step)
    monkeypatch.setattr(sampling.Sampling, "of", lambda *_, **__: None)
    said = orster(capsys, "generate", "a frog", "--orbits", "2", "-o", tmp_path / "frog", "--json")
    assert said.code == 0, said.err
    assert heard == [False] * at + [True] * (4 - at)


def test_a_dry_run_plans_the_asset_where_all_clips_are_there(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned: list[str] = []

    def step(stage: Stage, *_: Any, **__: Any) -> None:
        planned.append(stage.out_path.name)

    monkeypatch.setattr(sampling, "sample_clip", step)
    monkeypatch.setattr(construct, "construct_asset", step)
    monkeypatch.setattr(sampling.Sampling, "of", lambda *_, **__: None)
    said = orster(capsys, "generate", "a frog", "--orbits", "2", "-o", tmp_path / "frog", "-n")
    assert (said.code, said.out) == (0, "")
    assert planned == ["clip", "first", "clip-180", "asset"]
