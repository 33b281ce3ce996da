"""What `orster doctor` finds of weights that others publish."""

from __future__ import annotations

from pathlib import Path

import pytest

from orster_cli.diagnosis.checks import _torchvision_weights


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
