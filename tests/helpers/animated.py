"""Animated assets that no fit made: a dented ball whose field is random but smooth."""

from __future__ import annotations

import torch

from orster_cli.core.types import SH_C0, Gaussians
from orster_cli.splatting.baked import BakedMotion
from orster_cli.splatting.deformation import DeformationConfig, DeformationField
from orster_cli.splatting.gaussians4d import Gaussians4D, Motion, Timeline
from orster_cli.splatting.hexplane import HexPlaneConfig
from orster_cli.splatting.mlp import apply_layers
from tests.helpers.scenes import shell

TIMES = [i / 8 for i in range(8)]
BOX = torch.tensor([[-0.6, -0.6, -0.6], [0.6, 0.6, 0.6]])


def still_gaussians(count: int, *, seed: int = 0) -> Gaussians:
    """The dented ball of `scenes.shell` with a patch of another colour, so that turns show."""
    scene = shell(count, seed=seed)
    colors = 0.2 + 0.6 * (scene["means"] + 0.5).clamp(0, 1)
    return Gaussians(
        means=scene["means"],
        quats=torch.nn.functional.normalize(scene["quats"], dim=-1),
        log_scales=scene["scales"].log(),
        opacity_logits=torch.logit(scene["opacities"], eps=1e-4),
        sh=((colors - 0.5) / SH_C0)[:, None],
    )


def moving_asset(
    count: int = 600,
    *,
    looping: bool = True,
    cycles: int = 1,
    cells: int = 6,
    shading: bool = False,
    amount: float = 0.05,
    seed: int = 0,
) -> Gaussians4D:
    """An asset that moves by about `amount`; with `shading` its opacities and colours change too."""
    planes = HexPlaneConfig(
        resolution=6, time_resolution=cells, channels=8, scales=(1, 2), periodic=looping
    )
    config = DeformationConfig(hexplane=planes, width=16, opacity=shading, color=shading)
    field = DeformationField(config, BOX, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    canonical = still_gaussians(count, seed=seed)
    with torch.no_grad():
        for parameter in field.features.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
        field.head.weight.copy_(torch.randn(field.head.weight.shape, generator=generator))
        # deltas of standard deviation 1 in each output, around 0, then of the sizes asked for
        layers = [*field.trunk, field.head]
        deltas = torch.cat(
            [apply_layers(field.features(canonical.means, t), layers) for t in TIMES]
        )
        sizes = torch.tensor([amount] * 3 + [4 * amount] * 7 + [6 * amount] * (config.outputs - 10))
        scale = sizes / deltas.std(dim=0)
        field.head.weight.mul_(scale[:, None])
        field.head.bias.copy_(-scale * deltas.mean(dim=0))
    motion = Motion(Timeline(looping=looping, cycles=cycles), field).eval().requires_grad_(False)
    return Gaussians4D(canonical=canonical, motion=motion)


def turning_motion(count: int, knots: int = 8) -> BakedMotion:
    """The ball, as it turns about its axis: knots alone, without a field."""
    still = still_gaussians(count)
    angles = torch.arange(knots) * 2 * torch.pi / knots
    turn = torch.zeros(knots, 3, 3)
    turn[:, 0, 0] = turn[:, 1, 1] = angles.cos()
    turn[:, 1, 0], turn[:, 0, 1] = angles.sin(), -angles.sin()
    turn[:, 2, 2] = 1
    return BakedMotion(
        knots=knots,
        timeline=Timeline(looping=True),
        means=torch.einsum("kij,nj->kni", turn, still.means),
        quats=still.quats[None],
        log_scales=still.log_scales[None],
        opacities=still.opacity_logits.sigmoid()[None, :, None],
        colors=still.colors[None],
    )
