"""An evaluation from Python, without a command: planned, measured, written."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orster_cli.config.evaluate import EvaluateConfig
from orster_cli.core.errors import ConfigError, InputError
from orster_cli.core.reporting import Silent
from orster_cli.dataset.reader import Dataset
from orster_cli.inputs.evaluation import (
    evaluate,
    measure,
    measure_share,
    plan_evaluation,
    report_folder,
    write_evaluation,
)
from orster_cli.io.clip_files import write_clip
from orster_cli.report.file import load_report
from tests.helpers.clips import disc_clip


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """Two clips, the second one darker."""
    folder = tmp_path / "clips"
    for name, factor in (("bright", 1.0), ("dark", 0.7)):
        clip = disc_clip(4, width=32, height=32)
        write_clip(folder / name, replace(clip, frames=clip.frames * factor))
    return folder


class Steps(Silent):
    """Counts the steps of progress."""

    steps = 0

    def step(self, stage: str, done: int, total: int, **figures: float | int | str) -> None:
        self.steps += 1


def test_values_without_files(clips: Path) -> None:
    before = sorted(clips.rglob("*"))
    values = evaluate(clips / "dark", reference=clips / "bright")
    assert sorted(clips.rglob("*")) == before
    assert 5 < values["subjects"][0]["mean"]["psnr"] < 30
    assert values["subjects"][0]["reference"] == "bright"
    assert values["protocol"]["changed"] == []
    cfg = EvaluateConfig(metrics=("ssim",), background="black")
    values = evaluate(clips, cfg, reference=clips)
    assert [one["mean"] for one in values["subjects"]] == [{"ssim": 1.0}, {"ssim": 1.0}]
    assert values["protocol"]["changed"] == ["background"]


@pytest.mark.usefixtures("new_accelerator")
def test_a_share_shows_its_progress_and_leaves_what_is_to_say_to_the_report(tmp_path: Path) -> None:
    write_clip(tmp_path / "clip", disc_clip(4, width=32, height=32))
    write_clip(tmp_path / "opaque", disc_clip(4, width=32, height=32, alpha=False))
    cfg, reporter = EvaluateConfig(metrics=("psnr",)), Steps()
    plan = plan_evaluation(tmp_path / "clip", cfg, reference=tmp_path / "opaque", reporter=reporter)
    assert measure_share(plan, reporter, 2)
    assert reporter.steps > 0
    assert reporter.warnings == []
    measure(plan, reporter)
    assert len(reporter.warnings) == 1
    assert "opaque: has no alpha" in reporter.warnings[0]


def test_a_plan_names_what_the_report_depends_on(clips: Path, tmp_path: Path) -> None:
    cfg = EvaluateConfig(metrics=("psnr",))
    plan = plan_evaluation(clips, cfg, reference=clips / "bright", reporter=Silent())
    assert plan.identity["subjects"] == [("bright", "", "bright "), ("dark", "", "bright ")]
    assert plan.parents == []
    names = [file.name for file in plan.inputs]
    assert names.count("cameras.json") == 1  # the two clips have the same one
    assert names.count("0000.png") == 2
    only_dark = measure(plan, Silent(), part=slice(1, None))
    assert [one.name for one in only_dark.subjects] == ["dark"]
    out, scratch = tmp_path / "out", tmp_path / "scratch"
    out.mkdir()
    scratch.mkdir()
    values = write_evaluation(plan, out, Silent(), scratch=scratch)
    assert load_report(out / "report.json") == json.loads(json.dumps(values))
    sheets = {path.name for path in out.glob("*.png")}
    assert sheets == {"sheet-bright.png", "sheet-dark.png"}
    assert list(scratch.iterdir()) == []


def test_what_cannot_be_planned(clips: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown metric 'sim'"):
        evaluate(clips, EvaluateConfig(metrics=("sim",)), reference=clips)
    with pytest.raises(InputError, match="no such clip"):
        evaluate(tmp_path / "nothing")


def test_a_sample_without_a_static_orbit_is_measured(
    tiny_dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of given frames: all but its motion."""
    whole = Dataset.info

    def without(self: Dataset, key: str) -> dict[str, Any]:
        info = whole(self, key)
        return {**info, "frames": {k: n for k, n in info["frames"].items() if k != "static"}}

    monkeypatch.setattr(Dataset, "info", without)
    cfg = EvaluateConfig(metrics=("psnr", "motion"))
    values = evaluate(tiny_dataset, cfg, reference=tiny_dataset)
    assert all(one["mean"]["psnr"] > 60 for one in values["subjects"])
    assert all("motion" not in one["mean"] for one in values["subjects"])


def test_a_report_is_not_put_among_the_frames_of_its_subject(clips: Path, tmp_path: Path) -> None:
    assert report_folder(str(clips)) == clips / "report"
    posed = tmp_path / "posed"
    posed.mkdir()
    (posed / "transforms.json").write_text("{}")
    assert report_folder(str(posed)) == Path("report")
