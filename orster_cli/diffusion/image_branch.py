"""The image branch of I2VGen-XL and of VideoMV's image model.

The first view I_0 enters as latents, encoded over time and concatenated to the noisy ones; as 64 tokens
of the same latents; and as one token per latent channel from CLIP's embedding. A frame rate is embedded
with the timestep. Names are those of diffusers' `I2VGenXLUNet`.
B videos, C latent channels, F frames, h w latent pixels, D context width, E embedding width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from orster_cli.diffusion.layers import NORM_EPS, Attention, sinusoids
from orster_cli.diffusion.trunk_config import TrunkConfig

KIND = "I2VGenXLUNet"
POOLED = 32  # pixels a side to which the latents are pooled: two strides of 2 leave 8 x 8 tokens
HEADS = 2


def trunk_config(value: Mapping[str, Any], *, where: str) -> TrunkConfig:
    """The trunk of an `I2VGenXLUNet` of config `value`: noisy latents and the image's are concatenated,
    so it reads twice the channels. ConfigError."""
    config = TrunkConfig.from_diffusers(value, where=where)
    return replace(config, in_channels=2 * config.in_channels)


def unet_config(trunk: TrunkConfig) -> dict[str, Any]:
    """The inverse: the config of the `I2VGenXLUNet` that opens trunk and branch as one."""
    value = {**trunk.to_diffusers(), "_class_name": KIND, "in_channels": trunk.out_channels}
    del value["norm_eps"]
    return value


@dataclass(frozen=True, kw_only=True)
class ImageFeatures:
    """Inputs of the trunk from I_0: `latents` [B,C,F,h,w], concatenated to the noisy ones; `tokens`
    [B,64+C,D], after the text's; `embedding` [B,E], added to the timestep's."""

    latents: Tensor
    tokens: Tensor
    embedding: Tensor


class _Gelu(nn.Module):
    """Holds the weights under diffusers' name."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.proj = nn.Linear(width, out)

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(self.proj(x))


class _FeedForward(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            _Gelu(width, 4 * width), nn.Identity(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class TemporalEncoder(nn.Module):
    """Attention among the frames of one pixel of the image's latents."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=NORM_EPS)
        self.attn1 = Attention(width, HEADS, width)
        self.ff = _FeedForward(width)

    def forward(self, x: Tensor) -> Tensor:
        """`x` [B h w,F,C]."""
        x = x + self.attn1(self.norm1(x))
        return x + self.ff(x)


class ImageBranch(nn.Module):
    """`fps`: frame rate passed to the model for every clip, as its weights were trained."""

    def __init__(self, trunk: TrunkConfig, fps: int) -> None:
        super().__init__()
        channels, base = trunk.out_channels, trunk.block_out_channels[0]
        context, embedding = trunk.cross_attention_dim, 4 * base
        self.channels, self.base, self.context, self.fps = channels, base, context, fps
        self.image_latents_proj_in = nn.Sequential(
            nn.Conv2d(channels, 4 * channels, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(4 * channels, 4 * channels, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(4 * channels, channels, 3, padding=1),
        )
        self.image_latents_temporal_encoder = TemporalEncoder(channels)
        self.image_latents_context_embedding = nn.Sequential(
            nn.Conv2d(channels, 8 * channels, 3, padding=1),
            nn.SiLU(),
            nn.AdaptiveAvgPool2d((POOLED, POOLED)),
            nn.Conv2d(8 * channels, 16 * channels, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(16 * channels, context, 3, stride=2, padding=1),
        )
        self.context_embedding = nn.Sequential(
            nn.Linear(context, embedding), nn.SiLU(), nn.Linear(embedding, channels * context)
        )
        self.fps_embedding = nn.Sequential(
            nn.Linear(base, embedding), nn.SiLU(), nn.Linear(embedding, embedding)
        )

    def forward(
        self, latents: Tensor | None, embedding: Tensor | None, noisy: Tensor
    ) -> ImageFeatures:
        """`latents` [B,C,h,w] of I_0; `embedding` [B,D]: CLIP's projection of it, not normalised; None:
        zeros. `noisy` [B,C,F,h,w]: the noisy latents."""
        batch, _, frames = noisy.shape[:3]
        latents = torch.zeros_like(noisy[:, :, 0]) if latents is None else latents
        embedding = noisy.new_zeros(batch, self.context) if embedding is None else embedding
        local = self.image_latents_context_embedding(latents).flatten(2).transpose(1, 2)
        whole = self.context_embedding(embedding).view(batch, self.channels, self.context)
        rate = torch.full((batch,), self.fps, device=noisy.device)
        waves = sinusoids(rate, self.base).to(self.fps_embedding[0].weight)
        return ImageFeatures(
            latents=self.over_time(latents, frames),
            tokens=torch.cat([local, whole], dim=1),
            embedding=self.fps_embedding(waves),
        )

    def over_time(self, latents: Tensor, frames: int) -> Tensor:
        """[B,C,F,h,w] of I_0's latents [B,C,h,w], encoded over time."""
        size = latents.shape[-2:]
        x = with_frame_positions(latents, frames).transpose(1, 2).flatten(0, 1)
        x = self.image_latents_proj_in(x)
        x = x.unflatten(0, (-1, frames)).permute(0, 3, 4, 1, 2).flatten(0, 2)  # [B h w,F,C]
        x = self.image_latents_temporal_encoder(x)
        return x.unflatten(0, (-1, *size)).permute(0, 4, 3, 1, 2)


def with_frame_positions(latents: Tensor, frames: int) -> Tensor:
    """[B,C,F,h,w]: I_0's latents [B,C,h,w], then frames filled with their position in the clip, (0,1]."""
    later = [torch.full_like(latents, i / (frames - 1)) for i in range(1, frames)]
    return torch.stack([latents, *later], dim=2)
