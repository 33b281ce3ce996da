"""Learned perceptual distances: LPIPS v0.1 (Zhang et al. 2018) and its shift-tolerant form (Ghildyal and
Liu 2022). Their numbers are not comparable with each other.

B images, C channels, H W pixels; images in [0,1].
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from orster_cli.core.errors import InputError, MissingResourceError
from orster_cli.io.torch_files import read_torch

Distance = Callable[[Tensor, Tensor], Tensor]  # two [B,3,H,W] -> [B]
TRUNKS = {"alex": ("alexnet", "alexnet-owt-*.pth"), "vgg": ("vgg16", "vgg16-*.pth")}
LEAST_SIDE = 32  # pixels; smaller images leave no deep features
ST_FILE = "weights/vST0.0/alex_shift_tolerant.pth"
# mean and standard deviation of ImageNet's colours, for images in [-1,1]
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)


def find_trunk(net: str) -> Path:
    """torchvision's weights of the trunk of `net` ("alex", "vgg") in torch's cache.

    MissingResourceError: they are not on this machine."""
    name, pattern = TRUNKS[net]
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    found = sorted(folder.glob(pattern))
    if not found:
        raise MissingResourceError(
            f"LPIPS needs torchvision's {name} weights ({pattern}), none in {folder}",
            hint=f'python -c "import torchvision; torchvision.models.{name}(weights='
            "'IMAGENET1K_V1')\" where there is a network, or copy the file there",
        )
    return found[0]


def load_lpips(net: str, trunk: Path) -> nn.Module:
    """LPIPS v0.1 with the heads of the `lpips` package over the weights in the file `trunk`
    (torchvision's names). Call it with images in [-1,1]. InputError: not that trunk's weights."""
    import lpips

    # the package would download the trunk; it is built without weights and filled here
    network = lpips.LPIPS(net=net, pnet_rand=True, verbose=False)
    weights = read_torch(trunk)
    state = {}
    for name, value in network.net.state_dict().items():
        layer = name.split(".", 1)[1]  # "slice2.3.weight" is torchvision's "features.3.weight"
        found = weights.get(f"features.{layer}")
        if not isinstance(found, Tensor) or found.shape != value.shape:
            raise InputError(f"{trunk}: not torchvision's {TRUNKS[net][0]}: features.{layer}")
        state[name] = found
    network.net.load_state_dict(state)
    return network.requires_grad_(False).eval().to(memory_format=torch.channels_last)


def lpips_distance(network: nn.Module) -> Distance:
    """[B] distances by what `load_lpips` returned."""

    def distance(first: Tensor, second: Tensor) -> Tensor:
        return network(2 * first - 1, 2 * second - 1).flatten()

    return distance


class _Blur(nn.Module):
    """Halves the resolution after a 3x3 binomial filter with reflected borders."""

    def forward(self, x: Tensor) -> Tensor:
        taps = x.new_tensor([1.0, 2.0, 1.0])
        kernel = (taps[:, None] * taps / 16).expand(x.shape[1], 1, 3, 3)
        padded = F.pad(x, (2, 2, 2, 2), mode="reflect")
        return F.conv2d(padded, kernel, stride=2, groups=x.shape[1])


class ShiftTolerantLpips(nn.Module):
    """AlexNet with a blur before each step down in resolution, and heads of its own.

    The network of the `stlpips-pytorch` package. The package imports modules that it does not declare, so
    only its weight file is used."""

    NAMES = ("slice1.0", "slice2.5", "slice3.9", "slice4.11", "slice5.13")

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 64, 192, 384, 256, 256)
        shapes = ((11, 2), (5, 2), (3, 1), (3, 1), (3, 1))  # kernel, padding
        self.convs = nn.ModuleList(
            nn.Conv2d(widths[i], widths[i + 1], kernel, padding=padding)
            for i, (kernel, padding) in enumerate(shapes)
        )
        self.heads = nn.ModuleList(nn.Conv2d(width, 1, 1, bias=False) for width in widths[1:])
        self.blur = _Blur()

    def features(self, images: Tensor) -> list[Tensor]:
        """Five [B,C,h,w] of `images` [B,3,H,W] in [0,1]."""
        shift, scale = (images.new_tensor(v)[:, None, None] for v in (SHIFT, SCALE))
        x = F.relu(self.blur(self.convs[0]((2 * images - 1 - shift) / scale)))
        out = [x]
        for i, conv in enumerate(self.convs):
            if i == 0:
                continue
            if i <= 2:
                x = self.blur(F.max_pool2d(x, 3, 1))
            x = F.relu(conv(x))
            out.append(x)
        return out

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """[B] of two [B,3,H,W] in [0,1]."""
        total = first.new_zeros(len(first))
        pairs = zip(self.features(first), self.features(second), self.heads, strict=True)
        for a, b, head in pairs:
            difference = (_unit(a) - _unit(b)).square()
            total = total + head(difference).mean(dim=(1, 2, 3))
        return total


def _unit(features: Tensor) -> Tensor:
    return features / (features.norm(dim=1, keepdim=True) + 1e-10)


def find_st_lpips() -> Path:
    """The weights in the `stlpips-pytorch` package. MissingResourceError: it is not installed."""
    found = importlib.util.find_spec("stlpips_pytorch")
    for place in (found.submodule_search_locations or []) if found else []:
        path = Path(place) / ST_FILE
        if path.is_file():
            return path
    raise MissingResourceError(
        "the shift-tolerant LPIPS needs the weights of the package stlpips-pytorch",
        hint="pip install --no-deps stlpips-pytorch==0.0.2",
    )


def load_st_lpips(path: Path) -> ShiftTolerantLpips:
    """The network with the weights that `find_st_lpips` found. InputError: other weights."""
    weights: Mapping[str, Tensor] = read_torch(path)
    network = ShiftTolerantLpips()
    try:
        for conv, name in zip(network.convs, network.NAMES, strict=True):
            conv.load_state_dict({p: weights[f"net.{name}.{p}"] for p in ("weight", "bias")})
        for i, head in enumerate(network.heads):
            head.load_state_dict({"weight": weights[f"lin{i}.model.1.weight"]})
    except (KeyError, RuntimeError) as error:
        raise InputError(f"{path}: not the shift-tolerant LPIPS of AlexNet: {error}") from error
    return network.requires_grad_(False).eval().to(memory_format=torch.channels_last)
