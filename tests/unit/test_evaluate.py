"""Evaluation as a library: videos, values, gates, report files."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from orster_cli.config.evaluate import EvaluateConfig
from orster_cli.core.errors import ConfigError, GateError, InputError
from orster_cli.core.reporting import Silent
from orster_cli.core.types import Gaussians
from orster_cli.evaluation.evaluate_pairs import EvaluationResult, PlannedPair, evaluate_pairs
from orster_cli.evaluation.features import Features
from orster_cli.evaluation.gates import check_gates, parse_gates
from orster_cli.evaluation.metrics import METRICS, check_names, columns_of
from orster_cli.evaluation.networks import Networks
from orster_cli.evaluation.videos import (
    GaussianScene,
    StaticGaussians,
    Video,
    clip_video,
    render_video,
)
from orster_cli.evaluation.views import EvaluationPair, RenderedViews
from orster_cli.io.images import read_image
from orster_cli.report.pictures import ReportPictures, side_by_side, write_sheet
from orster_cli.report.write import (
    FRAMES,
    PAGE,
    REPORT,
    TABLE,
    TEXT,
    report_values,
    write_report,
)
from tests.helpers.clips import blob_gaussians, disc_clip

CFG = EvaluateConfig(resolution=48, frames=4)


def run(
    ours: Video | GaussianScene,
    reference: Video | GaussianScene | None,
    names: tuple[str, ...],
    reporter: Silent | None = None,
    cfg: EvaluateConfig = CFG,
) -> EvaluationResult:
    """The metrics of one subject, none of which needs a network."""
    name = ours.name if isinstance(ours, Video) else "asset"
    pair = EvaluationPair(name=name, subject=ours, reference=reference, reference_name="r")
    features = Features(Networks([], cfg, torch.device("cpu")), None)
    planned = [PlannedPair(name=name, load=lambda: pair)]
    return evaluate_pairs(planned, [], names, features, cfg, reporter or Silent())


def test_background_lies_under_what_is_transparent() -> None:
    clip = disc_clip()
    clip = replace(clip, frames=torch.full_like(clip.frames, 0.2))
    assert clip.alpha is not None
    grey = clip_video("c", clip, "grey")
    assert torch.equal(grey.frames[:, :, 0, 0], torch.full((4, 3), 0.5))
    inside = clip.alpha.expand_as(grey.frames) == 1
    assert torch.equal(grey.frames[inside], clip.frames[inside])
    half = replace(clip, alpha=torch.full_like(clip.alpha, 0.5))
    assert float(clip_video("c", half, "black").frames.max()) == pytest.approx(0.1)
    assert float(clip_video("c", half, "white").frames.min()) == pytest.approx(0.6)


@dataclass(frozen=True)
class Sliding:
    """Gaussians that move along +X by `time`."""

    start: Gaussians

    def at(self, time: float) -> Gaussians:
        return replace(self.start, means=self.start.means + torch.tensor([time, 0.0, 0.0]))


def test_an_asset_is_rendered_at_the_times_and_cameras_of_the_reference() -> None:
    one = blob_gaussians(1)
    one = replace(one, means=torch.zeros(1, 3))
    clip = disc_clip(3, width=64, height=48)
    front = clip.cameras[[0, 0, 0]]  # at (0, -2, 0): +X is to the right
    seen = clip_video("r", replace(clip, cameras=front), "white")
    assert seen.times is not None
    video = render_video("a", GaussianScene(Sliding(one)), front, seen.times, "white")
    assert video.alpha is not None
    focal = float(front.K[0, 0, 0])
    weights = video.alpha[:, 0]
    columns = torch.arange(64) + 0.5
    for i, time in enumerate((0.0, 0.5, 1.0)):
        if time == 1.0:  # 2 units away, 1 to the right, field of view 39.6: off the image
            assert 32 + focal / 2 > 64
            assert float(weights[i].max()) < 0.02  # the tail of its Gaussian
            continue
        centre = float((weights[i] * columns).sum() / weights[i].sum())
        assert centre == pytest.approx(32 + focal * time / 2, abs=0.1)
    assert torch.equal(video.frames[:, :, 0, 0], torch.ones(3, 3))


def test_perfect_and_imperfect_figures() -> None:
    clip = disc_clip(2, width=32, height=32)
    reference = clip_video("r", clip, "white")
    assert reference.alpha is not None
    frames = reference.frames.clone()
    frames[1] = torch.where(reference.alpha[1] > 0.5, frames[1] - 0.1, frames[1])
    ours = replace(reference, name="o", frames=frames)
    found = run(ours, reference, ("psnr", "ssim")).subjects[0]
    assert list(found.values) == ["psnr", "psnr_masked", "ssim"]
    assert found.values["psnr"][0] == 100.0
    share = float(reference.alpha[1].mean())
    assert found.values["psnr"][1] == pytest.approx(20 - 10 * math.log10(share), abs=1e-4)
    assert found.values["psnr_masked"][1] == pytest.approx(20.0, abs=1e-4)
    assert found.mean["psnr_masked"] == pytest.approx(60.0, abs=1e-4)
    assert found.values["ssim"][0] == pytest.approx(1.0, abs=1e-12)
    assert found.values["ssim"][1] < 0.999


def test_a_figure_that_is_not_defined_is_none_and_said() -> None:
    clip = disc_clip(2, width=32, height=32)
    assert clip.alpha is not None
    alpha = clip.alpha.clone()
    alpha[1] = 0
    reference = clip_video("r", replace(clip, alpha=alpha), "white")
    reporter = Silent()
    found = run(reference, reference, ("psnr",), reporter).subjects[0]
    assert found.values["psnr_masked"] == [100.0, None]
    assert found.mean["psnr_masked"] == 100.0
    assert "psnr_masked is not defined in 1 of 2 frames" in reporter.warnings[0]
    bare = Video(name="video", frames=reference.frames)
    found = run(bare, bare, ("psnr",), reporter).subjects[0]
    assert found.mean == {"psnr": 100.0, "psnr_masked": None}


def test_what_cannot_be_compared_is_refused() -> None:
    reference = clip_video("r", disc_clip(4), "white")
    other = clip_video("o", disc_clip(4, width=24, height=32), "white")
    with pytest.raises(InputError, match="expected 32x24 pixels as r, got 24x32"):
        run(other, reference, ("psnr",))
    with pytest.raises(InputError, match="expected 4 frames as r, got 3"):
        run(clip_video("o", disc_clip(3), "white"), reference, ("psnr",))
    small = clip_video("s", disc_clip(2, width=16, height=10), "white")
    with pytest.raises(InputError, match="ssim needs frames of at least 11 pixels"):
        run(small, small, ("ssim",))
    broken = replace(reference, name="o", frames=reference.frames / 0)
    with pytest.raises(InputError, match="o: frames with numbers that are not finite"):
        run(broken, reference, ("psnr",))
    scene = GaussianScene(StaticGaussians(blob_gaussians()))
    held = replace(CFG, protocol="consistent4d", azimuths=(15.0, 105.0))
    with pytest.raises(InputError, match="azimuths 15, 105, and a clip has only its own"):
        run(scene, reference, ("psnr",), cfg=held)


def test_scenes_are_rendered_at_the_protocols_azimuths() -> None:
    scene = GaussianScene(StaticGaussians(blob_gaussians()))
    held = replace(CFG, azimuths=(15.0, 105.0), frames=3)
    found = run(scene, scene, ("psnr",), cfg=held).subjects[0]
    assert found.values["psnr"] == [100.0] * 6
    assert found.times == [0.0, 0.5, 1.0, 0.0, 0.5, 1.0]


def test_without_a_reference_a_metric_is_unavailable_and_the_others_are_computed() -> None:
    result = run(clip_video("o", disc_clip(4), "white"), None, ("psnr", "flicker"))
    assert result.unavailable == {
        "psnr": {
            "why": "o: it has no reference",
            "get": "give what it should look like: --reference",
        }
    }
    assert result.subjects[0].mean["flicker"] > 0


def test_an_asset_beside_a_video_without_cameras_is_measured_alone(tmp_path: Path) -> None:
    scene = GaussianScene(Sliding(blob_gaussians()))
    video = Video(name="real.mp4", frames=torch.rand(7, 3, 24, 40))
    pair = EvaluationPair(name="asset", subject=scene, reference=video, reference_name="real")
    pictures = ReportPictures(tmp_path, tmp_path, several=False, sheet_frames=4)
    result = evaluate_pairs(
        [PlannedPair(name="asset", load=lambda: pair)],
        [],
        ("psnr", "motion"),
        Features(Networks([], CFG, torch.device("cpu")), None),
        CFG,
        Silent(),
        on_subject=pictures.add,
    )
    assert "the video real.mp4 has none" in result.unavailable["psnr"]["why"]
    assert "transforms.json" in result.unavailable["psnr"]["get"]
    alone = run(scene, None, ("motion",))
    assert result.subjects[0].values["motion"] == alone.subjects[0].values["motion"]
    assert (tmp_path / "sheet.png").is_file()
    subject, reference = RenderedViews(pair, CFG, Silent()).videos
    assert (subject.frames.shape, reference) == ((4, 3, 48, 48), video)


def test_motion_is_the_difference_to_the_first_moment() -> None:
    still = run(GaussianScene(StaticGaussians(blob_gaussians())), None, ("motion",))
    assert still.subjects[0].mean["motion"] == 0
    moving = run(GaussianScene(Sliding(blob_gaussians())), None, ("motion",))
    assert moving.subjects[0].mean["motion"] > 1e-3
    clip = clip_video("o", disc_clip(4), "white")
    result = run(clip, None, ("motion",))
    assert "no static orbit" in result.unavailable["motion"]["why"]


@pytest.mark.parametrize("which", [[0, 1], [1, 2, 3, 0]])
def test_motion_needs_the_object_at_rest_from_the_same_cameras(which: list[int]) -> None:
    """The evaluation views and the grid of a dataset's sample come with a static orbit of other cameras."""
    clip = clip_video("o", disc_clip(4), "white")
    cfg, features = CFG, Features(Networks([], CFG, torch.device("cpu")), None)
    for static, known in ((clip, True), (clip.pick(which), False)):
        pair = EvaluationPair(name="o", subject=clip, static=static)
        planned = [PlannedPair(name="o", load=lambda pair=pair: pair)]
        result = evaluate_pairs(planned, [], ("motion",), features, cfg, Silent())
        assert ("motion" in result.unavailable) is not known
        if not known:
            assert "other cameras" in result.unavailable["motion"]["why"]


def test_other_cameras_times_and_backgrounds_are_said() -> None:
    clip = disc_clip(4)
    reference = clip_video("r", clip, "white")
    turned = replace(clip, cameras=clip.cameras[[1, 2, 3, 0]], times=clip.times * 0.5)
    reporter = Silent()
    run(clip_video("o", turned, "white"), reference, ("psnr",), reporter)
    assert [w.split(" (")[0] for w in reporter.warnings] == [
        "o: its cameras are not those of r",
        "o: its times are not those of r",
    ]
    reporter = Silent()
    opaque = clip_video("o", replace(clip, alpha=None), "white")
    run(opaque, reference, ("psnr",), reporter)
    assert reporter.warnings == ["o: has no alpha, so its own background is part of the comparison"]


def test_metric_names() -> None:
    assert check_names(["ssim", "psnr", "ssim"]) == ("ssim", "psnr")
    with pytest.raises(ConfigError, match=r"unknown metric 'pnsr' \(did you mean 'psnr'\?\)"):
        check_names(["pnsr"])
    with pytest.raises(ConfigError, match="no metric"):
        check_names([])
    assert check_names(["all"]) == tuple(METRICS)
    columns = [column.name for column in columns_of(METRICS)]
    assert len(columns) == len(set(columns))


def test_gates() -> None:
    gates = parse_gates(["psnr=16", "ssim=0.5"], ("psnr", "ssim"))
    assert gates == {"psnr": 16.0, "ssim": 0.5}
    check_gates(gates, {"a": {"psnr": 16.0, "ssim": 0.9}})
    with pytest.raises(GateError, match=r"^b: psnr is 15.99, at least 16 is needed$"):
        check_gates(gates, {"a": {"psnr": 17.0, "ssim": 1}, "b": {"psnr": 15.99, "ssim": 0.5}})
    with pytest.raises(GateError, match="ssim could not be computed") as caught:
        check_gates(gates, {"a": {"psnr": 16.0, "ssim": None}})
    assert "report" in (caught.value.hint or "")
    for text, said in {
        "pnsr=3": "did you mean 'psnr'",
        "psnr": "expected psnr=NUMBER",
        "psnr=nan": "expected psnr=NUMBER",
        "psnr=": "expected psnr=NUMBER",
        "ssim=1": "no figure 'ssim'",
    }.items():
        with pytest.raises(ConfigError, match=said):
            parse_gates([text], ("psnr",))
    with pytest.raises(ConfigError, match="lower is better for lpips"):
        parse_gates(["lpips=0.1"], ("lpips",))


def test_report_files(tmp_path: Path) -> None:
    clip = disc_clip(3, width=32, height=32)
    reference = clip_video("reference", clip, "white")
    ours = replace(reference, name="ours", frames=(reference.frames * 0.9))
    names = ("psnr", "ssim")
    result = run(ours, reference, names)
    values = report_values(result, names, {}, EvaluateConfig())
    write_report(tmp_path, values, {"ours": side_by_side(ours, reference, tmp_path)})
    assert json.loads((tmp_path / REPORT).read_text()) == values
    assert values["protocol"]["background"] == "white"
    mean = result.subjects[0].mean
    assert values["subjects"][0]["mean"]["psnr"] == round(mean["psnr"], 6)
    assert values["summary"]["psnr"]["objects"] == 1
    with (tmp_path / FRAMES).open() as handle:
        rows = list(csv.DictReader(handle))
    assert [(r["subject"], r["frame"], r["time"]) for r in rows] == [
        ("ours", "0", "0.0"),
        ("ours", "1", "0.5"),
        ("ours", "2", "1.0"),
    ]
    assert float(rows[1]["psnr"]) == pytest.approx(result.subjects[0].values["psnr"][1], abs=1e-6)
    with (tmp_path / TABLE).open() as handle:
        (row,) = csv.DictReader(handle)
    assert (row["subject"], row["reference"]) == ("ours", "r")
    assert float(row["ssim"]) == pytest.approx(mean["ssim"], abs=1e-6)
    assert "ours" in (tmp_path / TEXT).read_text()
    assert (tmp_path / PAGE).read_text().count("data:video/mp4") == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([FRAMES, PAGE, REPORT, TABLE, TEXT])


def test_sheet_shows_reference_ours_and_difference(tmp_path: Path) -> None:
    clip = disc_clip(14, width=128, height=128)
    reference = clip_video("reference", clip, "white")
    ours = replace(reference, name="ours", frames=reference.frames * 0.5)
    write_sheet(tmp_path / "sheet.png", ours, reference, frames=14)
    sheet = read_image(tmp_path / "sheet.png")
    cell, margin, band = 128, 4, 14
    assert sheet.shape == (3, 6 * (cell + band + margin) + margin, 7 * (cell + margin) + margin)

    def tile(row: int, column: int) -> torch.Tensor:
        top = margin + row * (cell + band + margin) + band
        left = margin + column * (cell + margin)
        return sheet[:, top : top + cell, left : left + cell]

    for row, column, frame in [(0, 6, 6), (3, 4, 11), (3, 6, 13)]:
        assert torch.allclose(tile(row, column), reference.frames[frame], atol=0.003)
        assert torch.allclose(tile(row + 1, column), ours.frames[frame], atol=0.003)
        largest = (reference.frames[frame] - ours.frames[frame]).amax(0)
        red, green, blue = tile(row + 2, column)
        assert float(red.min()) == 1.0
        assert torch.allclose(green, 1 - largest, atol=0.003)
        assert torch.equal(green, blue)
