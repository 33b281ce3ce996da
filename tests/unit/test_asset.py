"""Assets on disk: what comes back, and what damage is called."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from orster_cli.construction.asset import load_asset, save_asset
from orster_cli.core.errors import InputError
from orster_cli.core.types import FitScale, Gaussians
from orster_cli.splatting.deformation import DeformationConfig, DeformationField
from orster_cli.splatting.gaussians4d import Gaussians4D, Motion, Timeline
from orster_cli.splatting.hexplane import HexPlaneConfig

COUNT = 30
BOX = torch.tensor([[-1.0, -1, -1], [1, 1, 1]])
PLANES = HexPlaneConfig(resolution=4, time_resolution=3, channels=8, scales=(1, 2))


def _asset(*, tokens: tuple[int, int] = (0, 0), width: int = 16) -> Gaussians4D:
    """An asset whose every tensor moves it."""
    g = torch.Generator().manual_seed(3)
    canonical = Gaussians(
        means=torch.rand(COUNT, 3, generator=g) - 0.5,
        quats=torch.nn.functional.normalize(torch.randn(COUNT, 4, generator=g), dim=-1),
        log_scales=torch.randn(COUNT, 3, generator=g) - 3,
        opacity_logits=torch.randn(COUNT, generator=g),
        sh=torch.randn(COUNT, 1, 3, generator=g),
    )
    priors = [torch.randn(n, 12, generator=g) if n else None for n in tokens]
    field = DeformationField(
        DeformationConfig(hexplane=PLANES, width=width, prior_width=8, opacity=True, color=True),
        BOX,
        spatial_prior=priors[0],
        temporal_prior=priors[1],
    )
    motion = Motion(Timeline(looping=True), field)
    with torch.no_grad():
        for parameter in motion.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=g)
    return Gaussians4D(canonical=canonical, motion=motion.requires_grad_(False))


@pytest.mark.parametrize("tokens", [(0, 0), (5, 0), (5, 6)])
def test_an_asset_comes_back_as_it_went(tmp_path: Path, tokens: tuple[int, int]) -> None:
    asset = _asset(tokens=tokens)
    save_asset(tmp_path, asset)
    loaded = load_asset(tmp_path)
    assert not torch.allclose(asset.at(0.4).means, asset.canonical.means, atol=1e-3)
    for time in (0.0, 0.4, 1.0):
        a, b = asset.at(time), loaded.at(time)
        for name in ("means", "log_scales", "opacity_logits", "sh"):
            assert torch.allclose(getattr(a, name), getattr(b, name), atol=1e-5), name
        assert torch.allclose(a.quats, b.quats, atol=1e-5)


def _describe(folder: Path, **changes: Any) -> None:
    path = folder / "asset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"field": {"hexplane": None}},
        {"field": {"depth": 9}},
        {"field": {"hexplane": {"c": 1}}},
        {"field": []},
        {"timeline": {"begin": 1}},
        {"timeline": None},
        {"version": 3},
        {"version": 2},
        {"version": 2, "fit": {"focal": 0, "radius": 2, "eps2d": 0.3, "antialiased": False}},
        {"version": 2, "fit": {"focal": 100, "radius": "2 m", "eps2d": 0.3, "antialiased": False}},
        {"version": 2, "fit": {"focal": 100, "radius": 2, "eps2d": 0.3, "antialiased": "no"}},
        {"format": "other"},
    ],
)
def test_a_description_that_is_not_ours_is_named(tmp_path: Path, changes: dict[str, Any]) -> None:
    save_asset(tmp_path, _asset())
    _describe(tmp_path, **changes)
    with pytest.raises(InputError, match=r"asset\.json|deformation config"):
        load_asset(tmp_path)


def test_the_scale_of_the_fit_comes_back_and_older_assets_have_none(tmp_path: Path) -> None:
    asset = _asset()
    save_asset(tmp_path, asset)
    assert json.loads((tmp_path / "asset.json").read_text())["version"] == 1
    assert load_asset(tmp_path).at(0.3).fitted is None
    fitted = FitScale(focal=177.7, radius=2.0, eps2d=0.3, antialiased=True)
    save_asset(tmp_path, replace(asset, canonical=replace(asset.canonical, fitted=fitted)))
    assert load_asset(tmp_path).at(0.3).fitted == fitted


def test_a_motion_that_is_cut_short_or_of_another_asset_is_named(tmp_path: Path) -> None:
    save_asset(tmp_path, _asset())
    path = tmp_path / "motion.safetensors"
    whole = path.read_bytes()
    for damaged in (whole[:-100], b"\x00" * 64, b""):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=r"motion\.safetensors"):
            load_asset(tmp_path)
    path.unlink()
    with pytest.raises(InputError, match=r"motion\.safetensors: no such file"):
        load_asset(tmp_path)
    (tmp_path / "other").mkdir()
    save_asset(tmp_path / "other", _asset(width=24))
    path.write_bytes((tmp_path / "other" / "motion.safetensors").read_bytes())
    with pytest.raises(InputError, match=r"does not fit asset\.json"):
        load_asset(tmp_path)


def test_others_may_read_what_is_written(tmp_path: Path) -> None:
    save_asset(tmp_path, _asset())
    plain = tmp_path / "plain"
    plain.touch()
    for path in tmp_path.iterdir():
        assert path.stat().st_mode == plain.stat().st_mode, path.name
