"""`orster generate` with the model in the package: from a text to an asset by one command."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from orster_cli.artifacts.store import open_artifact
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
    file = sampling_of(None)
    assert file is not None
    best = tomllib.loads(file.read_text())["sample"] | {"steps": STEPS}
    out = tmp_path / "frog"
    words = ("generate", "--text", "a frog jumping", "-o", str(out), "--device", "cpu", "--json")
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
