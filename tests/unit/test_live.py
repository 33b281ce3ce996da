"""What a run shows of itself: whole files, a curve that stays small, and no harm to the run."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from orster_cli.artifacts.store import begin
from orster_cli.core import live
from orster_cli.core.live import LATEST, POINTS, PROGRESS, LiveReporter
from orster_cli.core.reporting import Silent


class Heard(Silent):
    def __init__(self) -> None:
        super().__init__()
        self.steps: list[tuple[Any, ...]] = []

    def step(self, stage: str, done: int, total: int, **figures: float | int | str) -> None:
        self.steps.append((stage, done, total, figures))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that a test sets."""
    now = [1000.0]
    monkeypatch.setattr(live.time, "time", lambda: now[0])
    return now


def written(folder: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((folder / PROGRESS).read_text())
    return values


def test_progress_is_passed_on_and_written_once_a_second(
    tmp_path: Path, clock: list[float]
) -> None:
    heard = Heard()
    reporter = LiveReporter(tmp_path, heard, kind="asset", curve="psnr")
    reporter.info("hello")
    early = written(tmp_path)
    assert (early["kind"], early["message"], early["total"]) == ("asset", "hello", 0)
    reporter.step("fit", 10, 100, psnr=20.0, gaussians=5, eta_s=7.0)
    first = written(tmp_path)
    assert first["kind"] == "asset"
    assert (first["stage"], first["done"], first["total"]) == ("fit", 10, 100)
    assert (first["figures"], first["eta_s"]) == ({"psnr": 20.0, "gaussians": 5}, 7.0)
    assert (first["message"], first["updated"]) == ("hello", 1000.0)
    clock[0] += 0.5
    reporter.step("fit", 20, 100, psnr=21.0)
    assert written(tmp_path) == first
    clock[0] += 1.5
    reporter.step("fit", 30, 100, psnr=22.0)
    assert written(tmp_path)["curve"] == {
        "name": "psnr",
        "points": [[10, 20.0], [20, 21.0], [30, 22.0]],
    }
    assert written(tmp_path)["eta_s"] == pytest.approx(7.0)  # 20 units took 2 seconds
    reporter.step("fit", 100, 100)  # the last one is always written
    assert written(tmp_path)["done"] == 100
    reporter.warn("odd")
    assert heard.warnings == ["odd"]
    assert [step[1] for step in heard.steps] == [10, 20, 30, 100]
    assert sorted(p.name for p in tmp_path.iterdir()) == [PROGRESS]


def test_the_curve_stays_small_and_keeps_its_ends(tmp_path: Path, clock: list[float]) -> None:
    reporter = LiveReporter(tmp_path, Silent(), kind="model", curve="loss")
    for step in range(1, 20_001):
        reporter.step("train", step, 20_000, loss=1 / step)
    reporter.step("train", 20_000, 20_000, loss=float("nan"))
    points = written(tmp_path)["curve"]["points"]
    assert POINTS // 2 < len(points) <= 2 * POINTS
    assert points[0] == [1, 1.0]
    assert points[-1] == [20_000, 1 / 20_000]
    assert points == sorted(points)


def test_a_resumed_run_goes_on_with_its_curve(tmp_path: Path, clock: list[float]) -> None:
    first = LiveReporter(tmp_path, Silent(), kind="model", curve="loss")
    for step in (1, 2, 3, 4):
        clock[0] += 2
        first.step("train", step, 9, loss=float(step))
    again = LiveReporter(tmp_path, Silent(), kind="model", curve="loss")
    again.info("going on from step 2 of 9")
    again.step("train", 2, 9)  # its last checkpoint was at step 2
    again.step("train", 9, 9, loss=9.0)
    assert written(tmp_path)["curve"]["points"] == [[1, 1.0], [2, 2.0], [9, 9.0]]
    (tmp_path / PROGRESS).write_text('{"curve": 3}')
    LiveReporter(tmp_path, Silent(), kind="model", curve="loss").step("train", 9, 9)
    assert written(tmp_path)["curve"]["points"] == []


def test_a_folder_that_refuses_ends_no_run(tmp_path: Path, clock: list[float]) -> None:
    heard = Heard()
    LiveReporter(tmp_path / "none", heard, kind="asset", curve="psnr").step("fit", 1, 2)
    assert len(heard.steps) == 1


def test_a_planted_link_is_replaced_and_not_followed(tmp_path: Path, clock: list[float]) -> None:
    (tmp_path / "theirs").write_text("theirs")
    os.symlink(tmp_path / "theirs", tmp_path / PROGRESS)
    LiveReporter(tmp_path, Silent(), kind="asset", curve="psnr").step("fit", 1, 2)
    assert (tmp_path / "theirs").read_text() == "theirs"
    assert written(tmp_path)["done"] == 1


@pytest.mark.parametrize(("also", "kept"), [((), False), (("step-1.safetensors",), True)])
def test_a_failed_draft_is_kept_for_work_and_not_for_pictures(
    tmp_path: Path, also: tuple[str, ...], kept: bool
) -> None:
    draft = begin(tmp_path / "a", kind="clip", command="construct", config={})
    assert draft is not None

    def fail() -> None:
        with draft:
            for name in (PROGRESS, LATEST, *also):
                (draft.scratch / name).write_bytes(b"{}")
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        fail()
    assert draft.scratch.exists() == kept
    with draft:
        assert draft.resumed == kept
