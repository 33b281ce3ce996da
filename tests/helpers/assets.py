"""Small assets with a motion that is known, and assets as artifacts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from orster_cli.artifacts.store import Artifact, begin
from orster_cli.construction.asset import save_asset
from orster_cli.core.types import SH_C0, Gaussians
from orster_cli.splatting.deformation import DeformationConfig, DeformationField
from orster_cli.splatting.gaussians4d import Gaussians4D, Motion, Timeline
from orster_cli.splatting.hexplane import HexPlaneConfig

PLANES = HexPlaneConfig(resolution=4, time_resolution=3, channels=8, scales=(1,))
BOX = torch.tensor([[-0.6, -0.6, -0.6], [0.6, 0.6, 0.6]])


def ellipsoid(count: int = 400, *, axes: tuple[float, ...] = (0.3, 0.2, 0.4)) -> Gaussians:
    """Gaussians on an ellipsoid, opaque, red on the +X side and blue on the other: no axis is another's."""
    g = torch.Generator().manual_seed(1)
    away = torch.nn.functional.normalize(torch.randn(count, 3, generator=g), dim=-1)
    colors = torch.where(
        away[:, :1] > 0, torch.tensor([0.9, 0.2, 0.1]), torch.tensor([0.1, 0.3, 0.8])
    )
    quats = torch.nn.functional.normalize(torch.randn(count, 4, generator=g), dim=-1)
    return Gaussians(
        means=away * torch.tensor(axes),
        log_scales=torch.tensor([0.05, 0.03, 0.02]).log().expand(count, 3).clone(),
        quats=quats,
        opacity_logits=torch.full((count,), 3.0),
        sh=((colors - 0.5) / 0.28209479177387814)[:, None],
    )


def moving(gaussians: Gaussians, *, amount: float = 0.3, looping: bool = True) -> Gaussians4D:
    """An asset whose field moves it by about `amount`, from random weights; 0: not at all."""
    g = torch.Generator().manual_seed(4)
    planes = replace(PLANES, periodic=looping)
    field = DeformationField(DeformationConfig(hexplane=planes, width=16), BOX)
    motion = Motion(Timeline(looping=looping), field)
    with torch.no_grad():
        for parameter in field.features.parameters():
            parameter += 0.5 * torch.randn(parameter.shape, generator=g)
        field.head.weight[:3] = amount * torch.randn(3, 16, generator=g)
    return Gaussians4D(canonical=gaussians, motion=motion.requires_grad_(False))


def asset_artifact(out: Path, asset: Gaussians4D, **content: Any) -> Artifact:
    """`asset` as a committed artifact."""
    draft = begin(out, kind="asset", command="construct", config={"seed": 0})
    assert draft is not None
    with draft:
        save_asset(draft.dir, asset)
        return draft.commit({"gaussians": len(asset.canonical), "frames": [8], **content})


def lopsided(count: int = 600) -> Gaussians:
    """An object that no turn and no mirror maps onto itself: a green head at the top (+Z), a yellow hand
    towards +X and -Y. Sizes, opacities and colours differ, some near their limits."""
    g = torch.Generator().manual_seed(3)
    body = ellipsoid(count)
    means, color = body.means.clone(), body.colors.clone()
    head, hand = slice(0, count // 6), slice(count // 6, count // 4)
    means[head] = 0.3 * means[head] + torch.tensor([0.0, 0.0, 0.48])
    color[head] = torch.tensor([0.1, 0.8, 0.2])
    means[hand] = 0.2 * means[hand] + torch.tensor([0.36, -0.16, 0.1])
    color[hand] = torch.tensor([0.95, 0.9, 0.05])
    color = (color + 0.1 * (torch.rand(count, 3, generator=g) - 0.5)).clamp(0, 1)
    return replace(
        body,
        means=means,
        log_scales=body.log_scales + 0.6 * torch.randn(count, 3, generator=g),
        opacity_logits=2 + 2 * torch.randn(count, generator=g),
        sh=((color - 0.5) / SH_C0)[:, None],
    )
