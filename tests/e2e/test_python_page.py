"""docs/python.md and the notebook: each block of code runs, at small sizes, as the text says."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

import orster_cli as orster
from tests.helpers.pages import code_cells, execute, python_blocks

REPOSITORY = Path(__file__).resolve().parents[2]
FIT = {
    **{f"construct.{name}_steps": 8 for name in ("static", "coarse", "fine")},
    **{"construct.gaussians": 200, "construct.max_gaussians": 300, "construct.resolution": 32},
    "sample.steps": 2,  # of the static orbit
}
SMALLER = {
    "construct(clip": f"construct(clip, config={FIT}",
    "seed=3)": 'seed=3, config={"sample.steps": 2})',
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, creature: Path) -> Path:
    """A current folder with an object."""
    (tmp_path / "objects").mkdir()
    shutil.copy(creature, tmp_path / "objects")
    shutil.copy(creature, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_five_examples(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blocks = python_blocks(REPOSITORY / "docs" / "python.md")
    assert len(blocks) == 6
    names = execute(
        blocks,
        {
            **SMALLER,
            "seed=seed,": 'seed=seed, config={"sample.steps": 2},',
            '"prepare.resolution": 64': '"prepare.resolution": 32, "prepare.supersample": 1',
        },
    )
    assert names["images"].shape == names["moving"].shape == (4, 3, 128, 128)
    assert float(names["images"].min()) >= 0
    assert float((names["moving"][0] - names["images"][0]).abs().max()) > 0  # other times differ
    assert names["gaussians"].means.shape == (len(names["asset"]), 3)
    assert names["report"].mean["psnr"] > 5
    assert {p.name for p in place.iterdir()} >= {"frog", "dataset", "walk", "report"}
    assert (place / "report" / "report.html").is_file()
    assert not torch.equal(names["clips"][0].frames, names["clips"][1].frames)
    printed = capsys.readouterr().out
    assert "sample 2/2" in printed
    assert "did you mean" in printed or "expected one of ddim" in printed


@pytest.mark.slow
def test_the_notebook(place: Path) -> None:
    del place
    cells = code_cells(REPOSITORY / "examples" / "quickstart.ipynb")
    more = {
        "construct(dataset.clip(": f"construct(config={FIT}, clips=dataset.clip(",
        '"prepare.resolution": 64': '"prepare.resolution": 32',
    }
    names = execute(cells, {**SMALLER, **more})
    assert isinstance(names["asset"], orster.Asset)
    assert names["asset"]._repr_png_()[:8] == b"\x89PNG\r\n\x1a\n"
