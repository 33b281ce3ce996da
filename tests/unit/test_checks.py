"""What `orster doctor` finds of weights that others publish."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from orster_cli.diagnosis import checks
from orster_cli.diagnosis.checks import _torchvision_weights
from tests.helpers.cli import orster


def test_an_ffmpeg_that_does_not_run_is_a_finding(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = shutil.which("false")
    assert broken is not None
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", broken)
    for name in ("_kernels", "_cpu_rasterizer", "_gpu"):
        monkeypatch.setattr(checks, name, list)
    said = orster(capsys, "doctor")
    assert said.code == 4
    assert f"[NO] ffmpeg: CalledProcessError: Command '['{broken}'" in said.out


def test_the_trunk_of_each_use_of_lpips_is_sought(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    found = _torchvision_weights()
    assert found.state == "warn"
    assert "for evaluate: LPIPS needs torchvision's alexnet weights" in found.detail
    (folder / "alexnet-owt-7be5be79.pth").touch()
    found = _torchvision_weights()
    assert found.state == "warn"
    assert "alexnet-owt-7be5be79.pth for evaluate; optional, for construct.lpips" in found.detail
    (folder / "vgg16-397923af.pth").touch()
    assert _torchvision_weights().state == "ok"
