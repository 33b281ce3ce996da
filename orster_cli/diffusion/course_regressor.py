"""How an action that is known goes, frame by frame, in one pass: a network that regresses the latents of an
object at a moment of it from those of the same side where it begins.

Objects of one rig share their animations, and look unlike: the object is what the network is shown, the
action one of the `starts` of the model's regressor of objects at rest. It gives the mean of what its
training showed for these. B videos, T frames, C latent channels, h w latent pixels, W width.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from orster_cli.core.errors import InputError
from orster_cli.core.strict_json import read_object
from orster_cli.diffusion.rest_regressor import harmonics
from orster_cli.io.sharded import read_sharded, write_sharded
from orster_cli.io.tensors import fill_module, without_weights
from orster_cli.io.whole_numbers import in_type

STEM, CONFIG = "model", "config.json"
LARGEST = 1 << 14  # of any size
FORMAT, VERSION = "orster-course-regressor", 1
HALF_TURN = 180.0  # degrees of the slowest wave of time, which is no circle


@dataclass(frozen=True, kw_only=True)
class CourseConfig:
    """Sizes. `channels`, `side`: of the latents, which are square; `starts`: of the regressor of objects at
    rest beside it; `known`: width of what is known of action, moment and side together; `last`: of the
    features that the latents are read from; `angles`, `waves`: harmonics of azimuth and time."""

    channels: int
    side: int
    starts: int
    width: int = 512
    blocks: int = 3
    known: int = 256
    last: int = 640
    angles: int = 8
    waves: int = 10


class CourseRegressor(nn.Module):
    """`mean`, `deviation` [C h w] of the latents that it was trained on, by which they are whitened."""

    def __init__(self, config: CourseConfig) -> None:
        super().__init__()
        self.config = config
        numbers = config.channels * config.side**2
        waves = 2 * (config.angles + config.waves) + 2
        self.start_in = nn.Embedding(config.starts, 2 * config.known)
        self.when_in = nn.Linear(waves, config.known)
        self.known = nn.Linear(config.known, config.known)
        self.still_in = nn.Linear(numbers, config.width)
        self.blocks = nn.ModuleList(
            _Block(config.width, config.known) for _ in range(config.blocks)
        )
        self.norm = nn.LayerNorm(config.width)
        self.last = nn.Linear(config.width, config.last)
        self.out = nn.Linear(config.last, numbers)
        nn.init.normal_(self.start_in.weight, std=0.5)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        self.register_buffer("mean", torch.zeros(numbers))
        self.register_buffer("deviation", torch.ones(numbers))

    def forward(self, still: Tensor, azimuths: Tensor, times: Tensor, starts: Tensor) -> Tensor:
        """Latents [B,C,T,h,w] of objects that begin as `still` [B,C,T,h,w] from the sides at `azimuths`
        [B,T] in degrees, at `times` [B,T] in [0,1] of the actions of `starts` [B], by their numbers."""
        config = self.config
        began = still.transpose(1, 2).flatten(2)
        angles = harmonics(azimuths, config.angles)
        waves = harmonics(HALF_TURN * times, config.waves)
        when = self.when_in(torch.cat([angles, waves], dim=-1))
        scale, shift = self.start_in(starts)[:, None].chunk(2, dim=-1)
        known = self.known(F.silu(when * (1 + scale) + shift))
        frames = self.still_in((began - self.mean) / self.deviation)
        for block in self.blocks:
            frames = block(frames, known)
        moved = self.out(F.gelu(self.last(self.norm(frames))))
        made = began + self.deviation * moved
        shape = (config.channels, config.side, config.side)
        return made.unflatten(-1, shape).transpose(1, 2)

    def of_clip(self, still: Tensor, azimuths: Tensor, times: Tensor, start: int) -> Tensor:
        """Latents [B,C,T,h,w] of one action of objects that begin as `still` [B,C,T,h,w], from cameras at
        `azimuths` [T] and `times` [T]."""
        seen = [one.to(still).expand(len(still), -1) for one in (azimuths, times)]
        return self(still, *seen, torch.full((len(still),), start, device=still.device))


class _Block(nn.Module):
    """A residual layer whose inner features are scaled and shifted by what is known (FiLM, Perez et al.
    2018)."""

    def __init__(self, width: int, known: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.film = nn.Linear(known, 2 * width)
        self.inner, self.out = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor, known: Tensor) -> Tensor:
        scale, shift = self.film(F.silu(known)).chunk(2, dim=-1)
        return x + self.out(F.gelu(self.inner(self.norm(x) * (1 + scale) + shift)))


def save_course(course: CourseRegressor, folder: Path, dtype: torch.dtype | None = None) -> None:
    """Into `folder`, weights in `dtype` (`io.whole_numbers`; None: unchanged)."""
    write_sharded(folder, STEM, in_type(course.state_dict(), dtype))
    value = {"format": FORMAT, "version": VERSION, **asdict(course.config)}
    (folder / CONFIG).write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def load_course(folder: Path, *, empty: bool = False) -> CourseRegressor:
    """What `save_course` wrote, in float32, in evaluation mode; `empty`: on the meta device, without
    weights. InputError."""
    path = folder / CONFIG
    value = read_object(path)
    if (value.pop("format", None), value.pop("version", None)) != (FORMAT, VERSION):
        raise InputError(f"{path}: expected {FORMAT} version {VERSION}")
    sizes = {field.name for field in fields(CourseConfig)}
    if set(value) != sizes or not all(type(n) is int and 0 < n <= LARGEST for n in value.values()):
        raise InputError(f"{path}: expected whole numbers from 1 to {LARGEST}: {sorted(sizes)}")
    with without_weights():
        course = CourseRegressor(CourseConfig(**value))
    if not empty:
        fill_module(course, read_sharded(folder, STEM), where=str(folder))
    return course.eval()
