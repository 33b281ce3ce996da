"""The autoencoder with a KL term (Rombach et al. 2022), with diffusers' parameter names and arithmetic.

A state dict and a config of diffusers' `AutoencoderKL` open here and the other way round. N pictures, C
channels, H W pixels, L latent channels, h w latent pixels; M is the number of levels: h = H / 2^(M-1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from orster_cli.core.errors import ConfigError

KIND = "AutoencoderKL"  # the class name in a config file
_DOWN, _UP = "DownEncoderBlock2D", "UpDecoderBlock2D"
_EPS = 1e-6  # of every group norm
_LEAST_LOG_VARIANCE, _LARGEST_LOG_VARIANCE = -30.0, 20.0
# names that older releases of diffusers gave the attention's layers
_LEGACY = {".query.": ".to_q.", ".key.": ".to_k.", ".value.": ".to_v.", ".proj_attn.": ".to_out.0."}


@dataclass(frozen=True, kw_only=True)
class AutoencoderKLConfig:
    """diffusers' keys and defaults, in its order; `sample_size` and `force_upcast` are kept for the file
    and have no effect. ConfigError: a value that is not supported."""

    in_channels: int = 3
    out_channels: int = 3
    down_block_types: tuple[str, ...] = (_DOWN,)
    up_block_types: tuple[str, ...] = (_UP,)
    block_out_channels: tuple[int, ...] = (64,)
    layers_per_block: int = 1
    act_fn: str = "silu"
    latent_channels: int = 4
    norm_num_groups: int = 32
    sample_size: int | tuple[int, ...] = 32
    scaling_factor: float = 0.18215
    shift_factor: float | None = None
    latents_mean: None = None
    latents_std: None = None
    force_upcast: bool = True
    use_quant_conv: bool = True
    use_post_quant_conv: bool = True
    mid_block_add_attention: bool = True

    def __post_init__(self) -> None:
        levels = len(self.block_out_channels)
        for key, only in (("down_block_types", _DOWN), ("up_block_types", _UP)):
            kinds = getattr(self, key)
            other = [name for name in kinds if name != only]
            if other:
                raise ConfigError(f"{key}: only {only!r} is supported, got {other[0]!r}")
            if len(kinds) != levels:
                raise ConfigError(f"{key}: expected one a level, {levels}, got {len(kinds)}")
        if self.act_fn not in ("silu", "swish"):  # two names of one function
            raise ConfigError(f"act_fn: only 'silu' is supported, got {self.act_fn!r}")
        for key in ("latents_mean", "latents_std"):
            if getattr(self, key) is not None:
                raise ConfigError(f"{key}: not supported; scaling_factor and shift_factor are")
        for key in ("layers_per_block", "latent_channels", "norm_num_groups"):
            if getattr(self, key) < 1:
                raise ConfigError(f"{key}: expected at least 1, got {getattr(self, key)}")
        if not levels or any(w < 1 or w % self.norm_num_groups for w in self.block_out_channels):
            raise ConfigError(
                f"block_out_channels: {list(self.block_out_channels)} are not all multiples of "
                f"norm_num_groups, {self.norm_num_groups}"
            )

    @classmethod
    def from_diffusers(cls, value: Mapping[str, Any], *, where: str) -> AutoencoderKLConfig:
        """From the values of a config file; diffusers' private keys (its version, which values were
        defaults) are skipped. TypeError: an unknown key; ConfigError: a value that is not supported."""
        given = {
            name: tuple(item) if isinstance(item, list) else item
            for name, item in value.items()
            if not name.startswith("_")
        }
        try:
            return cls(**given)
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from error

    def to_diffusers(self) -> dict[str, Any]:
        """The values of a config file."""
        return {"_class_name": KIND, **asdict(self)}


class ResnetBlock(nn.Module):
    """Two 3x3 convolutions and a skip connection, which is a 1x1 convolution where the width changes."""

    def __init__(self, width: int, out: int, groups: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, width, eps=_EPS)
        self.conv1 = nn.Conv2d(width, out, 3, padding=1)
        self.norm2 = nn.GroupNorm(groups, out, eps=_EPS)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(width, out, 1) if width != out else None

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        if self.conv_shortcut is None:
            return x + h
        if self.training:  # DDP warns of gradients in another layout than their weights
            x = x.contiguous()
        return self.conv_shortcut(x) + h


class AttentionBlock(nn.Module):
    """Attention of every pixel to every pixel, one head, residual."""

    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.group_norm = nn.GroupNorm(groups, width, eps=_EPS)
        self.to_q = nn.Linear(width, width)
        self.to_k = nn.Linear(width, width)
        self.to_v = nn.Linear(width, width)
        self.to_out = nn.ModuleList([nn.Linear(width, width)])

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.group_norm(x.flatten(2)).transpose(1, 2)[:, None]  # [N,1,H W,C]
        h = F.scaled_dot_product_attention(self.to_q(tokens), self.to_k(tokens), self.to_v(tokens))
        return self.to_out[0](h)[:, 0].transpose(1, 2).reshape(x.shape) + x


class Downsample(nn.Module):
    """Half the resolution: a 3x3 convolution of stride 2, padded at the right and below."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Twice the resolution: nearest neighbours and a 3x3 convolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class DownBlock(nn.Module):
    """`layers` residual blocks, then half the resolution on all levels but the last."""

    def __init__(self, width: int, out: int, layers: int, groups: int, *, last: bool) -> None:
        super().__init__()
        self.resnets = _resnets(width, out, layers, groups)
        self.downsamplers = None if last else nn.ModuleList([Downsample(out)])

    def forward(self, x: Tensor) -> Tensor:
        for resnet in self.resnets:
            x = resnet(x)
        return x if self.downsamplers is None else self.downsamplers[0](x)


class UpBlock(nn.Module):
    """`layers` residual blocks, then twice the resolution on all levels but the last."""

    def __init__(self, width: int, out: int, layers: int, groups: int, *, last: bool) -> None:
        super().__init__()
        self.resnets = _resnets(width, out, layers, groups)
        self.upsamplers = None if last else nn.ModuleList([Upsample(out)])

    def forward(self, x: Tensor) -> Tensor:
        for resnet in self.resnets:
            x = resnet(x)
        return x if self.upsamplers is None else self.upsamplers[0](x)


class MidBlock(nn.Module):
    """Two residual blocks, with attention between them where `attended`."""

    def __init__(self, width: int, groups: int, *, attended: bool) -> None:
        super().__init__()
        self.attentions = nn.ModuleList()  # registered first, as in diffusers' state dict
        first = ResnetBlock(width, width, groups)
        if attended:
            self.attentions.append(AttentionBlock(width, groups))
        self.resnets = nn.ModuleList([first, ResnetBlock(width, width, groups)])

    def forward(self, x: Tensor) -> Tensor:
        x = self.resnets[0](x)
        for attention in self.attentions:
            x = attention(x)
        return self.resnets[1](x)


def _resnets(width: int, out: int, layers: int, groups: int) -> nn.ModuleList:
    widths = [width, *[out] * (layers - 1)]
    return nn.ModuleList([ResnetBlock(each, out, groups) for each in widths])


class Encoder(nn.Module):
    """Pictures [N,C,H,W] to the parameters of the posterior [N,2L,h,w], before `quant_conv`."""

    def __init__(self, cfg: AutoencoderKLConfig) -> None:
        super().__init__()
        widths, groups = cfg.block_out_channels, cfg.norm_num_groups
        self.conv_in = nn.Conv2d(cfg.in_channels, widths[0], 3, padding=1)
        self.down_blocks = nn.ModuleList(
            DownBlock(width, out, cfg.layers_per_block, groups, last=i == len(widths) - 1)
            for i, (width, out) in enumerate(zip((widths[0], *widths), widths, strict=False))
        )
        self.mid_block = MidBlock(widths[-1], groups, attended=cfg.mid_block_add_attention)
        self.conv_norm_out = nn.GroupNorm(groups, widths[-1], eps=_EPS)
        self.conv_out = nn.Conv2d(widths[-1], 2 * cfg.latent_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for block in self.down_blocks:
            x = block(x)
        x = self.mid_block(x)
        return self.conv_out(F.silu(self.conv_norm_out(x)))


class Decoder(nn.Module):
    """Latents [N,L,h,w], after `post_quant_conv`, to pictures [N,C,H,W]."""

    def __init__(self, cfg: AutoencoderKLConfig) -> None:
        super().__init__()
        widths, groups = cfg.block_out_channels[::-1], cfg.norm_num_groups
        self.conv_in = nn.Conv2d(cfg.latent_channels, widths[0], 3, padding=1)
        self.up_blocks = (
            nn.ModuleList()
        )  # registered before the middle, as in diffusers' state dict
        self.mid_block = MidBlock(widths[0], groups, attended=cfg.mid_block_add_attention)
        for i, (width, out) in enumerate(zip((widths[0], *widths), widths, strict=False)):
            last = i == len(widths) - 1
            self.up_blocks.append(UpBlock(width, out, cfg.layers_per_block + 1, groups, last=last))
        self.conv_norm_out = nn.GroupNorm(groups, widths[-1], eps=_EPS)
        self.conv_out = nn.Conv2d(widths[-1], cfg.out_channels, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        x = self.mid_block(self.conv_in(z))
        for block in self.up_blocks:
            x = block(x)
        return self.conv_out(F.silu(self.conv_norm_out(x)))


class DiagonalGaussian:
    """The posterior of `parameters` [N,2L,h,w]: means, then log-variances, which are clamped."""

    def __init__(self, parameters: Tensor) -> None:
        self.mean, logvar = parameters.chunk(2, dim=1)
        self.logvar = logvar.clamp(_LEAST_LOG_VARIANCE, _LARGEST_LOG_VARIANCE)
        self.std = torch.exp(0.5 * self.logvar)
        self.var = torch.exp(self.logvar)

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """[N,L,h,w], drawn on the generator's device."""
        device = self.mean.device if generator is None else generator.device
        noise = torch.randn(
            self.mean.shape, generator=generator, device=device, dtype=self.mean.dtype
        )
        return self.mean + self.std * noise.to(self.mean.device)

    def kl(self) -> Tensor:
        """[N] divergence from the unit Gaussian in nats, summed over a latent."""
        each = 0.5 * (self.mean.square() + self.var - 1 - self.logvar)
        return each.sum(dim=(1, 2, 3))


class Encoded(NamedTuple):
    latent_dist: DiagonalGaussian


class Decoded(NamedTuple):
    sample: Tensor


class AutoencoderKL(nn.Module):
    """`encode`, `decode`, `config` and `register_to_config` are called as diffusers' are."""

    def __init__(self, config: AutoencoderKLConfig) -> None:
        super().__init__()
        self.config = config
        channels = config.latent_channels
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.quant_conv = (
            nn.Conv2d(2 * channels, 2 * channels, 1) if config.use_quant_conv else None
        )
        self.post_quant_conv = (
            nn.Conv2d(channels, channels, 1) if config.use_post_quant_conv else None
        )

    def encode(self, x: Tensor) -> Encoded:
        """The posterior of pictures `x` [N,C,H,W] in [-1,1]."""
        h = self.encoder(x)
        return Encoded(DiagonalGaussian(h if self.quant_conv is None else self.quant_conv(h)))

    def decode(self, z: Tensor) -> Decoded:
        """Pictures [N,C,H,W], about [-1,1], of latents `z` [N,L,h,w] without scale."""
        return Decoded(self.decoder(z if self.post_quant_conv is None else self.post_quant_conv(z)))

    def register_to_config(self, **changes: Any) -> None:
        """Replace values of the config. TypeError: an unknown key."""
        self.config = replace(self.config, **changes)


def current_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`tensors` under today's names, from those of any release of diffusers."""
    out = {}
    for name, value in tensors.items():
        for old, new in _LEGACY.items():
            name = name.replace(old, new)
        out[name] = value
    return out
