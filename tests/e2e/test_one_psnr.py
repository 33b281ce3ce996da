"""One PSNR for one asset: what `construct` prints, and what `evaluate` says of the same frames."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.helpers.cli import orster, quiet
from tests.helpers.marks import slow

SMALL = [
    *("--set", "construct.gaussians=400", "--set", "construct.static_steps=30"),
    *("--set", "construct.coarse_steps=20", "--set", "construct.fine_steps=20"),
    *("--set", "construct.plane_resolution=8"),
]


@pytest.mark.parametrize(("given", "fitted"), [(64, 128), slow(128, 64)])
def test_construct_and_evaluate_agree_at_the_given_pixels(
    tmp_path: Path, creature: Path, capsys: pytest.CaptureFixture[str], given: int, fitted: int
) -> None:
    """Neither the size of the fit nor its low-pass is part of the figure."""
    clip, asset, report = (str(tmp_path / name) for name in ("dataset", "asset", "report"))
    quiet("prepare-data", creature, "-o", clip, "--resolution", str(given), "--frames", "8")
    clip += "#creature-00"
    made = orster(
        capsys, "construct", clip, "-o", asset, *SMALL, "--set", f"construct.resolution={fitted}"
    )
    assert made.code == 0, made.err
    printed = re.search(r"PSNR ([\d.]+) dB at the input frames", made.out + made.err)
    assert printed is not None
    quality = json.loads(Path(asset, "quality.json").read_text())
    assert (quality["size"], quality["fit_size"]) == (given, fitted)
    judged = orster(capsys, "evaluate", asset, "--reference", clip, "-o", report)
    assert judged.code == 0, judged.err
    mean = json.loads(Path(report, "report.json").read_text())["subjects"][0]["mean"]
    assert abs(mean["psnr"] - float(printed[1])) < 0.1
    assert abs(mean["psnr"] - quality["mean"]["psnr"]) < 0.1
