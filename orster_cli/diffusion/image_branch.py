"""The image branch: what I2VGen-XL and VideoMV's image files have beside the trunk.

The first view I_0 enters in four ways: its latents, encoded over time, beside the noisy ones; the same
latents as 64 tokens; CLIP's vector of it as one token for each latent channel; and a number of frames a
second, which comes with the timestep. Names are those of diffusers' `I2VGenXLUNet`.
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
    """The trunk inside an `I2VGenXLUNet` of config `value`; it reads the image's latents beside the
    noisy ones. ConfigError."""
    config = TrunkConfig.from_diffusers(value, where=where)
    return replace(config, in_channels=2 * config.in_channels)


def unet_config(trunk: TrunkConfig) -> dict[str, Any]:
    """The inverse: the config of the `I2VGenXLUNet` that opens trunk and branch as one."""
    value = {**trunk.to_diffusers(), "_class_name": KIND, "in_channels": trunk.out_channels}
    del value["norm_eps"]
    return value


@dataclass(frozen=True, kw_only=True)
class View:
    """What the trunk is given of I_0: `beside` [B,C,F,h,w] the noisy latents, `tokens` [B,64+C,D]
    after the text's, `embedding` [B,E] with the timestep's."""

    beside: Tensor
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
    """`fps`: what the model is told of every clip, as its weights were trained."""

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

    def forward(self, first: Tensor | None, view: Tensor | None, like: Tensor) -> View:
        """`first` [B,C,h,w]: I_0's latents; `view` [B,D]: CLIP's projected vector of it, not
        normalised; zeros where they are not given. `like` [B,C,F,h,w]: the noisy latents."""
        batch, _, frames = like.shape[:3]
        first = torch.zeros_like(like[:, :, 0]) if first is None else first
        view = like.new_zeros(batch, self.context) if view is None else view
        local = self.image_latents_context_embedding(first).flatten(2).transpose(1, 2)
        whole = self.context_embedding(view).view(batch, self.channels, self.context)
        rate = torch.full((batch,), self.fps, device=like.device)
        waves = sinusoids(rate, self.base).to(self.fps_embedding[0].weight)
        return View(
            beside=self.over_time(first, frames),
            tokens=torch.cat([local, whole], dim=1),
            embedding=self.fps_embedding(waves),
        )

    def over_time(self, first: Tensor, frames: int) -> Tensor:
        """[B,C,F,h,w] of I_0's latents [B,C,h,w]."""
        size = first.shape[-2:]
        x = self.image_latents_proj_in(with_places(first, frames).transpose(1, 2).flatten(0, 1))
        x = x.unflatten(0, (-1, frames)).permute(0, 3, 4, 1, 2).flatten(0, 2)  # [B h w,F,C]
        x = self.image_latents_temporal_encoder(x)
        return x.unflatten(0, (-1, *size)).permute(0, 4, 3, 1, 2)


def with_places(first: Tensor, frames: int) -> Tensor:
    """[B,C,F,h,w]: I_0's latents [B,C,h,w], then frames that hold their place in the clip, (0,1]."""
    later = [torch.full_like(first, i / (frames - 1)) for i in range(1, frames)]
    return torch.stack([first, *later], dim=2)
