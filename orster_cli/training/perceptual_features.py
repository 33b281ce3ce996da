"""Perceptual features phi_l of Eq. 15: layers of a frozen network.

N frames, H W pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from orster_cli.core.errors import MissingResourceError
from orster_cli.core.frames import standardised
from orster_cli.diffusion.frame_vae import FrameVAE
from orster_cli.training.stage_losses import Features

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet
_RELUS = (3, 8, 15, 22, 29)  # layers of VGG16 that LPIPS also uses


def vae_features(vae: FrameVAE) -> Features:
    """The levels of the frame VAE's encoder, each normalised over the channels. Needs no download."""

    def layers(frames: Tensor) -> list[Tensor]:
        encoder = vae.vae.encoder
        x = encoder.conv_in(vae.normalised(frames))
        out = []
        for block in encoder.down_blocks:
            x = block(x)
            out.append(_unit(x))
        return out

    return layers


def vgg_network(device: torch.device) -> nn.Module:
    """The convolutions of VGG16 trained on ImageNet; on the meta device without weights.
    MissingResourceError: they are not in torch's cache and cannot be downloaded."""
    from torchvision.models import VGG16_Weights, vgg16

    pretrained = None if device.type == "meta" else VGG16_Weights.IMAGENET1K_V1
    try:
        with torch.device("meta" if pretrained is None else "cpu"):
            trunk: nn.Module = vgg16(weights=pretrained).features.to(device).eval()
    except (OSError, RuntimeError) as error:
        raise MissingResourceError(
            f"VGG16's weights cannot be had here: {error}",
            hint="fetch them where there is a network: python -c 'import torchvision; "
            'torchvision.models.vgg16(weights="IMAGENET1K_V1")\', or set align.features=vae',
        ) from error
    for parameter in trunk.parameters():
        parameter.requires_grad_(False)
    return trunk


def vgg_features(trunk: nn.Module) -> Features:
    """The layers `_RELUS` of `vgg_network`, each normalised over the channels."""

    def layers(frames: Tensor) -> list[Tensor]:
        x = standardised(frames, _MEAN, _STD)
        out = []
        for number, layer in enumerate(list(trunk.children())[: _RELUS[-1] + 1]):
            x = layer(x)
            if number in _RELUS:
                out.append(_unit(x))
        return out

    return layers


def _unit(x: Tensor) -> Tensor:
    return x / x.square().sum(dim=1, keepdim=True).add(1e-10).sqrt()
