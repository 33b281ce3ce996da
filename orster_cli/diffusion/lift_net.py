"""From one picture of an object to its shape: a network that says, for each ray of the picture, which parts
of it lie inside the object, and which colour its far side has (occupancy along rays, as in PIFu, Saito et
al. 2019, arXiv 1905.05172, for all points of a frustum at once).

The picture is seen by a camera of the project's orbits: distance RADIUS from the object's middle, field of
view FOV_DEG. What lies inside is taken from -`reach` to `reach` around that distance, in equal bins.
B pictures, S pixels a side, D bins, s = S / 2, P = PATCH.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from orster_cli.core.errors import InputError
from orster_cli.core.strict_json import read_object
from orster_cli.io.sharded import read_sharded, write_sharded
from orster_cli.io.tensors import fill_module, without_weights
from orster_cli.io.whole_numbers import in_type

STEM, CONFIG = "model", "config.json"
FORMAT, VERSION = "orster-lift", 1
LARGEST, MOST_WIDTHS = 1 << 12, 8
INPUTS = 6  # colours on grey, opacity, place
PATCH = 4  # pixels a side that the first layer reads as channels
GROUPS, HEADS = 8, 4


@dataclass(frozen=True, kw_only=True)
class LiftConfig:
    """`side`: S; `bins`: D; `widths`: channels at S / P pixels a side, and at each half of that."""

    side: int = 128
    bins: int = 64
    widths: tuple[int, ...] = (64, 128, 192)
    reach: float = 0.72


class LiftNet(nn.Module):
    """A U-Net with attention at the lowest resolution."""

    def __init__(self, config: LiftConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.widths
        seen = INPUTS * PATCH**2
        self.first = nn.Conv2d(seen, widths[0], 3, padding=1)
        self.down = nn.ModuleList(_Residual(width) for width in widths[:-1])
        self.lower = nn.ModuleList(
            nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairwise(widths)
        )
        lowest = widths[-1]
        self.middle = nn.Sequential(
            _Residual(lowest), _Attention(lowest), _Residual(lowest), _Attention(lowest),
            _Residual(lowest),
        )  # fmt: skip
        self.higher = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in pairwise(widths))
        self.up = nn.ModuleList(
            nn.Sequential(nn.Conv2d(2 * width, width, 1), _Residual(width), _Residual(width))
            for width in widths[:-1]
        )
        self.wide = nn.Conv2d(widths[0] + seen, 2 * widths[0], 3, padding=1)
        self.last = nn.Conv2d(2 * widths[0], (config.bins + 3) * (PATCH // 2) ** 2, 1)

    def forward(self, rgba: Tensor) -> tuple[Tensor, Tensor]:
        """Of pictures [B,4,S,S] in [0,1] with straight colours: logits [B,D,s,s] that a point lies inside,
        the nearest bin first, and the far side's colours [B,3,s,s], about [0,1]."""
        seen = F.pixel_unshuffle(self._seen(rgba), PATCH)
        x, kept = self.first(seen), []
        for down, lower in zip(self.down, self.lower, strict=True):
            x = down(x)
            kept.append(x)
            x = lower(x)
        x = self.middle(x)
        for up, higher, beside in zip(
            reversed(self.up), reversed(self.higher), reversed(kept), strict=True
        ):
            x = F.interpolate(higher(x), scale_factor=2.0, mode="nearest")
            x = up(torch.cat([x, beside], dim=1))
        x = self.wide(torch.cat([F.silu(x), seen], dim=1))
        out = F.pixel_shuffle(self.last(F.silu(x)), PATCH // 2)
        return out[:, :-3], out[:, -3:] + 0.5

    def _seen(self, rgba: Tensor) -> Tensor:
        """[B,INPUTS,S,S]"""
        side = rgba.shape[-1]
        axis = torch.linspace(-1, 1, side, device=rgba.device)
        y, x = torch.meshgrid(axis, axis, indexing="ij")
        place = torch.stack([x, y]).expand(len(rgba), -1, -1, -1)
        color, alpha = rgba[:, :3], rgba[:, 3:]
        return torch.cat([(2 * color - 1) * alpha, 2 * alpha - 1, place], dim=1)


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.GroupNorm(GROUPS, width) for _ in range(2))
        self.convs = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        nn.init.zeros_(self.convs[1].weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.convs[1].bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for norm, conv in zip(self.norms, self.convs, strict=True):
            y = conv(F.silu(norm(y)))
        return x + y


class _Attention(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(GROUPS, width)
        self.qkv, self.out = nn.Conv2d(width, 3 * width, 1), nn.Conv2d(width, width, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        heads = self.qkv(self.norm(x)).flatten(2).unflatten(1, (3, HEADS, -1))
        q, k, v = heads.transpose(-1, -2).unbind(1)
        y = F.scaled_dot_product_attention(q, k, v).transpose(-1, -2)
        return x + self.out(y.flatten(1, 2).unflatten(-1, x.shape[-2:]))


def bin_depths(config: LiftConfig, radius: float) -> Tensor:
    """[D] distances of the bins' middles along the camera's axis, which stands `radius` away."""
    step = 2 * config.reach / config.bins
    return radius - config.reach + step * (torch.arange(config.bins) + 0.5)


def save_lift(lift: LiftNet, folder: Path, dtype: torch.dtype | None = None) -> None:
    """Into `folder`, weights in `dtype` (`io.whole_numbers`; None: unchanged)."""
    write_sharded(folder, STEM, in_type(lift.state_dict(), dtype))
    value = {"format": FORMAT, "version": VERSION, **asdict(lift.config)}
    (folder / CONFIG).write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def load_lift(folder: Path, *, empty: bool = False) -> LiftNet:
    """What `save_lift` wrote, in float32, in evaluation mode; `empty`: on the meta device, without weights.
    InputError."""
    path = folder / CONFIG
    value = read_object(path)
    if value.pop("format", None) != FORMAT or value.pop("version", None) != VERSION:
        raise InputError(f"{path}: expected {FORMAT} version {VERSION}")
    if set(value) != {field.name for field in fields(LiftConfig)}:
        raise InputError(f"{path}: expected {sorted(field.name for field in fields(LiftConfig))}")
    widths = value.pop("widths")
    sizes = [value["side"], value["bins"], *(widths if type(widths) is list else [0])]
    if not all(type(n) is int and 0 < n <= LARGEST for n in sizes):
        raise InputError(f"{path}: expected whole numbers from 1 to {LARGEST}: side, bins, widths")
    if not 2 <= len(widths) <= MOST_WIDTHS or any(width % GROUPS for width in widths):
        raise InputError(f"{path}: expected 2 to {MOST_WIDTHS} widths, multiples of {GROUPS}")
    if value["side"] % (least := PATCH * 2 ** (len(widths) - 1)):
        raise InputError(f"{path}: side {value['side']} is no multiple of {least}")
    if type(value["reach"]) is not float or not 0 < value["reach"] < 2:
        raise InputError(f"{path}: expected a reach from 0 to 2")
    with without_weights():
        lift = LiftNet(LiftConfig(**value, widths=tuple(widths)))
    if not empty:
        fill_module(lift, read_sharded(folder, STEM), where=str(folder))
    return lift.eval()
