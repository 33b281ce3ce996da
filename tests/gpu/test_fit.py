"""On a GPU: a fit goes as on a CPU."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from orster_cli.construction import fit as fitting
from orster_cli.construction.fit import Fit
from orster_cli.construction.hull import surface_points
from orster_cli.construction.recurrence import Recurrence
from orster_cli.construction.trainable_asset import TrainableAsset
from orster_cli.construction.training_views import build_views
from orster_cli.core.reporting import Silent
from orster_cli.core.stopping import StopFlag
from tests.helpers.constructing import TINY, ball_clip

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


def test_a_fit_goes_as_on_a_cpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With the torch rasterizer, as there: static, coarse and fine steps, a refinement, a
    checkpoint that is resumed, and the asset."""
    monkeypatch.setattr(fitting, "rasterize", partial(fitting.rasterize, backend="torch"))
    monkeypatch.setattr(fitting, "REFINE_EVERY", 2)
    monkeypatch.setattr(fitting, "CHECKPOINT_SECONDS", 0.0)
    clip = ball_clip(frames=4, side=24)
    cfg = replace(
        TINY,
        resolution=24,
        gaussians=64,
        static_steps=4,
        coarse_steps=2,
        fine_steps=2,
        grow_gradient=1e-9,
    )
    points = surface_points(clip, cfg.gaussians, misses=0, seed=0)
    prior = torch.randn(5, 6, generator=torch.Generator().manual_seed(0))

    def fitted(device: torch.device, steps: int) -> Fit:
        views = build_views([clip], clip, Recurrence(), mirror_weight=0.3, device=device)
        model = TrainableAsset(points.to(device), cfg, spatial_prior=prior, temporal_prior=prior)
        fit = Fit(cfg, views, model)
        fit.total = steps
        fit.run(tmp_path / device.type, Silent(), StopFlag())
        return fit

    expected = fitted(CPU, 8).model.result()
    fitted(GPU, 5)
    resumed = fitted(GPU, 8)
    assert all(p.device == GPU for p in resumed.model.params.values())
    asset = resumed.model.result()
    assert asset.canonical.means.device == CPU
    assert len(asset.canonical) == len(expected.canonical) > 64
    # the rounding of two rasterizers, which the optimizer's first steps enlarge where gradients are near 0
    apart = (asset.canonical.means - expected.canonical.means).abs()
    assert float(apart.median()) < 1e-4
    assert float(apart.max()) < 5e-3
