"""The frame VAE: frames to latents and back, one at a time (Sec. 3.1).

An `AutoencoderKL` at any size, in diffusers' files. N frames, H W pixels, C latent channels, h w latent
pixels.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from orster_cli.core.errors import ConfigError, InputError
from orster_cli.core.strict_json import read_object
from orster_cli.diffusion.autoencoder_kl import (
    KIND,
    AttentionBlock,
    AutoencoderKL,
    AutoencoderKLConfig,
    Downsample,
    ResnetBlock,
    Upsample,
    current_names,
)
from orster_cli.diffusion.block_pca import BlockPCA
from orster_cli.io.sharded import read_sharded, write_sharded
from orster_cli.io.tensors import content_id, fill_module, without_weights
from orster_cli.io.whole_numbers import in_type

STEM = "diffusion_pytorch_model"
PCA_STEM = "block_pca"
OWN_KIND = "OrsterFrameVAE"  # an AutoencoderKL and block_pca: neither is the VAE alone
CONFIG = "config.json"
_LOG_VARIANCE = -5.0  # of a new posterior
_LOG_VARIANCE_OF_PCA = -7.0
# how a new encoder reads a pixel: brightness, red - blue and green - magenta, which vary less and less
_OPPONENTS = [[1.0, 1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 2.0, -1.0]]
_GAINS = [1.0, 3.0, 5.0]


class FrameVAE(nn.Module):
    """Its latents are scaled to about unit variance. With `pca`, the networks add to a linear map of
    blocks: to its codes when they encode, to its frames when they decode."""

    def __init__(self, vae: AutoencoderKL, pca: BlockPCA | None = None) -> None:
        super().__init__()
        self.vae, self.pca = vae, pca

    @classmethod
    def create(
        cls,
        widths: tuple[int, ...],
        *,
        channels: int,
        groups: int,
        seed: int,
        patch: int = 1,
        pca: bool = False,
    ) -> FrameVAE:
        """A new one; each width after the first halves the picture, which it reads in blocks of `patch`
        pixels a side. `pca`: with a `BlockPCA`, which is to be fitted; the networks start as zero.
        ConfigError for impossible ones."""
        if any(width % groups for width in widths):
            raise ConfigError(f"vae: widths {list(widths)} are not all multiples of {groups}")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            vae = AutoencoderKL(
                AutoencoderKLConfig(
                    in_channels=3 * patch**2,
                    out_channels=3 * patch**2,
                    block_out_channels=tuple(widths),
                    down_block_types=("DownEncoderBlock2D",) * len(widths),
                    up_block_types=("UpDecoderBlock2D",) * len(widths),
                    latent_channels=channels,
                    norm_num_groups=groups,
                    scaling_factor=1.0,
                )
            )
            if pca:
                base = BlockPCA(channels, patch * 2 ** (len(widths) - 1))
                _start_as_nothing(vae)
                return cls(vae, base)
            _start_near_linear(vae)
        return cls(vae)

    @property
    def factor(self) -> int:
        """Pixels of a frame to one latent pixel, each side."""
        return self.patch * 2 ** (len(self.vae.config.block_out_channels) - 1)

    @property
    def patch(self) -> int:
        """Pixels a side of the blocks that the first layer reads as channels. More than 1 in small
        models only, where layers at full resolution would take most of the time."""
        return math.isqrt(self.vae.config.in_channels // 3)

    @property
    def channels(self) -> int:
        """Channels of the latents."""
        return int(self.vae.config.latent_channels)

    @property
    def id(self) -> str:
        """SHA-256 of scale and weights, which identifies the VAE that latents belong to."""
        if self.pca is None:
            return content_id(self.vae, self._scale())
        return content_id(self, self._scale())

    def _scale(self) -> tuple[float, float]:
        config = self.vae.config
        return float(config.scaling_factor), float(config.shift_factor or 0.0)

    def check_size(self, height: int, width: int, where: str) -> None:
        """ConfigError: frames of that size do not divide into latent pixels."""
        if height % self.factor or width % self.factor:
            raise ConfigError(
                f"{where}: {width}x{height} pixels are not a multiple of the VAE's {self.factor}"
            )

    def encode(
        self, frames: Tensor, generator: torch.Generator | None = None, *, chunk: int = 16
    ) -> Tensor:
        """[N,C,h,w] of `frames` [N,3,H,W] in [0,1], `chunk` at a time: the means, or
        samples where there is a generator."""
        self.check_size(*frames.shape[-2:], where="frames")
        scale, shift = self._scale()
        out = []
        for part in frames.split(chunk):
            posterior = self.vae.encode(self.normalised(part)).latent_dist
            z = posterior.mean if generator is None else posterior.sample(generator)
            out.append((z + self._codes(part) - shift) * scale)
        return torch.cat(out)

    # Eq. 6: X^4D = VAE_dec(Z^4D), frame by frame
    def decode(self, latents: Tensor, *, chunk: int = 8) -> Tensor:
        """[N,3,H,W], about [0,1] and not clamped, of `latents` [N,C,h,w], `chunk` at a time."""
        scale, shift = self._scale()
        return torch.cat([self._pixels(part / scale + shift) for part in latents.split(chunk)])

    def normalised(self, frames: Tensor) -> Tensor:
        """Frames [N,3,H,W] in [0,1] as the first layer reads them: in [-1,1], blocks as channels."""
        return F.pixel_unshuffle(2 * frames - 1, self.patch)

    def _codes(self, frames: Tensor) -> Tensor | float:
        """The linear part of the latents [N,C,h,w] of `frames` [N,3,H,W] in [0,1]."""
        return 0.0 if self.pca is None else self.pca.codes(2 * frames - 1)

    def _pixels(self, z: Tensor) -> Tensor:
        """[N,3,H,W], about [0,1], of latents [N,C,h,w] without scale."""
        out = F.pixel_shuffle(self.vae.decode(z).sample, self.patch)
        return (out if self.pca is None else out + self.pca.frames(z)) / 2 + 0.5

    def losses(self, frames: Tensor, noise: Tensor) -> dict[str, Tensor]:
        """Training losses of `frames` [N,3,H,W] with `noise` [N,C,h,w]: mean squared differences of the
        pixels (`reconstruction`), of the steps between neighbours (`edges`, which keep outlines
        sharp) and of red - green and yellow - blue (`colours`), and `kl` (nats per number).
        Squared, since absolute ones leave the model at a white picture for long."""
        posterior = self.vae.encode(self.normalised(frames)).latent_dist
        mean = posterior.mean + self._codes(frames)
        out = self._pixels(mean + posterior.std * noise)
        steps = [F.mse_loss(out.diff(dim=axis), frames.diff(dim=axis)) for axis in (-1, -2)]
        kl = 0.5 * (mean.square() + posterior.var - 1 - posterior.logvar).mean()
        return {
            "reconstruction": F.mse_loss(out, frames),
            "edges": sum(steps),
            "colours": F.mse_loss(_opponents(out), _opponents(frames)),
            "kl": kl,
        }

    @torch.no_grad()
    def latent_distance(self, other: FrameVAE) -> float:
        """Relative distance of the latents of two VAEs on fixed pictures: about 0 where only the decoder
        or the precision differs, infinite where sizes differ."""
        if (self.factor, self.channels) != (other.factor, other.channels):
            return math.inf
        coarse = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
        pictures = F.interpolate(coarse, scale_factor=self.factor, mode="bilinear")
        mine, theirs = (
            vae.encode(pictures.to(next(vae.parameters()))).float().cpu() for vae in (self, other)
        )
        return float((mine - theirs).norm() / mine.norm())

    def freeze_encoder(self) -> None:
        """Leave only the decoder trainable."""
        linear = None if self.pca is None else self.pca.encode
        for part in (self.vae.encoder, self.vae.quant_conv, linear):
            if part is not None:
                part.requires_grad_(False)

    @torch.no_grad()
    def set_scale(self, frames: Tensor) -> None:
        """Set the scale so that the latents of `frames` [N,3,H,W] have unit variance and zero mean."""
        self.vae.register_to_config(scaling_factor=1.0, shift_factor=0.0)
        z = self.encode(frames)
        values = {"scaling_factor": 1 / float(z.std()), "shift_factor": float(z.mean())}
        self.vae.register_to_config(**values)


@torch.no_grad()
def _start_near_linear(vae: AutoencoderKL) -> None:
    """Initial weights with which colours and shapes pass at once, coarsely: every residual branch is the
    identity, halving is a mean and doubling a repetition, other layers are orthogonal maps of a pixel to
    a pixel, hues are read louder than brightness, and the posterior is narrow. Default ones take thousands
    of steps to let colours through."""
    for layer in vae.modules():
        if isinstance(layer, ResnetBlock):
            _zero(layer.conv2)
            if layer.conv_shortcut is not None:
                _orthogonal(layer.conv_shortcut)
        elif isinstance(layer, AttentionBlock):
            _zero(layer.to_out[0])
        elif isinstance(layer, Downsample | Upsample):
            _zero(layer.conv)
            each = torch.arange(layer.conv.out_channels)
            if isinstance(layer, Upsample):
                layer.conv.weight[each, each, 1, 1] = 1.0
            else:  # padded at the right and below: its first two taps are the pixels that become one
                layer.conv.weight[each, each, :2, :2] = 0.25
    for part in (vae.encoder, vae.decoder):
        _orthogonal(part.conv_in)
        _orthogonal(part.conv_out)
    hues = F.normalize(torch.tensor(_OPPONENTS), dim=1)
    block = torch.eye(vae.config.in_channels // 3)
    louder = torch.kron(torch.tensor(_GAINS)[:, None] * hues, block)
    first, last = vae.encoder.conv_in.weight, vae.decoder.conv_out.weight
    first[:, :, 1, 1] = first[:, :, 1, 1] @ louder
    last[:, :, 1, 1] = torch.kron(hues.T.contiguous(), block) @ last[:, :, 1, 1]
    for layer in (vae.quant_conv, vae.post_quant_conv):
        _zero(layer)
        layer.weight[:, :, 0, 0] = torch.eye(layer.out_channels)
    means = vae.config.latent_channels
    vae.encoder.conv_out.weight[means:] = 0.0
    vae.encoder.conv_out.bias[means:] = _LOG_VARIANCE


@torch.no_grad()
def _start_as_nothing(vae: AutoencoderKL) -> None:
    """Initial weights of networks that add to a linear map: zero out, and a narrow posterior."""
    for layer in (vae.encoder.conv_out, vae.decoder.conv_out, vae.quant_conv, vae.post_quant_conv):
        _zero(layer)
    for layer in (vae.quant_conv, vae.post_quant_conv):
        layer.weight[:, :, 0, 0] = torch.eye(layer.out_channels)
    vae.encoder.conv_out.bias[vae.config.latent_channels :] = _LOG_VARIANCE_OF_PCA


def _zero(layer: nn.Module) -> None:
    for value in layer.parameters():
        nn.init.zeros_(value)


def _orthogonal(conv: nn.Conv2d) -> None:
    """The middle tap alone, without a bias."""
    _zero(conv)
    middle = conv.kernel_size[0] // 2
    conv.weight[:, :, middle, middle] = nn.init.orthogonal_(torch.empty(conv.weight.shape[:2]))


def _opponents(frames: Tensor) -> Tensor:
    """[N,2,H,W]: red - green and yellow - blue of frames [N,3,H,W]."""
    red, green, blue = frames.unbind(1)
    return torch.stack([red - green, (red + green) / 2 - blue], dim=1)


def save_vae(vae: FrameVAE, folder: Path, dtype: torch.dtype | None = None) -> None:
    """Write `vae` in shards that diffusers' `AutoencoderKL.from_pretrained` reads: in float16 where `dtype`
    asks for whole numbers (`io.whole_numbers`), which it would take for weights. A `pca` is beside them,
    under a class name that diffusers refuses, since it would open one part of two."""
    config = vae.vae.config.to_diffusers()
    if dtype == torch.int8 and vae.pca is None:
        dtype = torch.float16
    for stem, part in ((STEM, vae.vae), (PCA_STEM, vae.pca)):
        if part is not None:
            write_sharded(folder, stem, in_type(part.state_dict(), dtype))
    if vae.pca is not None:
        config["_class_name"] = OWN_KIND
    text = json.dumps(config, indent=2)
    (folder / CONFIG).write_text(text + "\n", encoding="utf-8")


def load_vae(folder: Path, *, empty: bool = False) -> FrameVAE:
    """The VAE that `save_vae` or diffusers' `AutoencoderKL.save_pretrained` wrote, in float32 on the CPU,
    in evaluation mode; `empty`: on the meta device, without weights. InputError: not such a folder;
    ConfigError: a setting that is not supported."""
    path = folder / CONFIG
    value: dict[str, Any] = read_object(path)
    kind = value.pop("_class_name", KIND)
    if kind not in (KIND, OWN_KIND):
        raise InputError(f"{path}: expected an {KIND}, got {kind!r}")
    try:
        config = AutoencoderKLConfig.from_diffusers(value, where=str(path))
        with without_weights():
            vae = FrameVAE(AutoencoderKL(config))
            if kind == OWN_KIND:
                vae.pca = BlockPCA(vae.channels, vae.factor)
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: not an {KIND}'s config: {error}") from error
    if len({config.in_channels, config.out_channels, 3 * vae.patch**2}) > 1:
        raise InputError(f"{path}: expected 3 channels in and out, or 3 times a square")
    if not empty:
        fill_module(vae.vae, current_names(read_sharded(folder, STEM)), where=str(folder))
        if vae.pca is not None:
            fill_module(vae.pca, read_sharded(folder, PCA_STEM), where=str(folder))
    return vae.eval()
