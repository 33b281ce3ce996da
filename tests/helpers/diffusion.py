"""Tiny models of the 4D diffusion whose every part does something, and inputs for them."""

from __future__ import annotations

import torch

from orster_cli.diffusion import weights
from orster_cli.diffusion.conditions import Conditions
from orster_cli.diffusion.std4d import STD4D, STD4DConfig
from orster_cli.diffusion.trunk_config import TrunkConfig
from orster_cli.geometry.orbit import orbit_azimuths, orbit_cameras

TRUNK = TrunkConfig(
    block_out_channels=(16, 32),
    attention=(True, False),
    layers_per_block=1,
    cross_attention_dim=12,
    attention_head_dim=8,
    norm_num_groups=4,
    temporal_dropout=0.0,
)
CONFIG = STD4DConfig(trunk=TRUNK, text_width=12, image_width=10, pooled_width=6)
STEPS = torch.tensor([7, 700])


def shaken(config: STD4DConfig = CONFIG) -> STD4D:
    """A model whose every part does something."""
    model = weights.create(config, seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    return model.eval()


def given_to(frames: int = 5) -> Conditions:
    generator = torch.Generator().manual_seed(2)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    w2c = orbit_cameras(orbit_azimuths(frames), width=64, height=64).w2c
    return Conditions(
        text=draw(2, 3, 12),
        image=draw(2, 4, 10),
        pooled=draw(2, 6),
        object_latents=draw(2, 4, frames, 8, 8),
        reference=draw(2, 4, frames, 8, 8),
        reference_mask=torch.tensor([[1.0, 0.0], [1.0, 0.0]]),
        cameras=w2c.expand(2, -1, -1, -1),
        motion=torch.tensor([0.0, 0.02]),
    )


def latents(frames: int = 5) -> torch.Tensor:
    return torch.randn(2, 4, frames, 8, 8, generator=torch.Generator().manual_seed(3))
