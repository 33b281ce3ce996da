"""The object at rest in one pass: a network that regresses the latents of its orbit from a text, frame by
frame, as feed-forward reconstruction does from pictures (LRM, Hong et al. 2023, arXiv 2311.04400).

It gives the mean of what its training showed for that text: sharp where the text names one object, blurred
where it names several. Beside it stands what such objects are known to do. B videos, T frames, C latent
channels, h w latent pixels, D text width, P pooled width, W width, K harmonics.
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
from orster_cli.diffusion.encoded import Encoded
from orster_cli.diffusion.starts import Start, start_of, starts_in
from orster_cli.diffusion.subjects import doing_of, subjects_in
from orster_cli.io.sharded import read_sharded, write_sharded
from orster_cli.io.tensors import fill_module, without_weights
from orster_cli.io.whole_numbers import in_type

STEM, CONFIG = "model", "config.json"
LARGEST = 1 << 14  # of any size
FORMAT, VERSION = "orster-rest-regressor", 4
LISTS = ("subjects", "rigs", "starts", "done")


@dataclass(frozen=True, kw_only=True)
class RestConfig:
    """Sizes. `channels`, `side`: of the latents, which are square; `text`, `pooled`: widths of the
    encoder's tokens and pooled vector; `last`: of the features that the latents are read from, more than
    `width`, or the pictures of all objects would have to lie in a space of so few dimensions. `subjects`:
    phrases of each object that it was trained on, the fullest first; `rigs`: the number of each one's rig;
    `starts`: what objects of these rigs do; `done`: of each object the numbers of those that it was seen
    doing."""

    channels: int
    side: int
    text: int
    pooled: int
    width: int = 256
    blocks: int = 3
    last: int = 512
    harmonics: int = 8
    subjects: tuple[tuple[str, ...], ...] = ()
    rigs: tuple[int, ...] = ()
    starts: tuple[Start, ...] = ()
    done: tuple[tuple[int, ...], ...] = ()

    def start_of(self, text: str, phrase: str) -> int | None:
        """The number of what `text` has the subject do whose fullest phrase is `phrase`; None: its rig does
        no such thing."""
        for subject in self._numbers_of(phrase):
            said = doing_of(text, self.subjects[subject])
            start = start_of(said, self.starts, self.rigs[subject])
            if start is not None:
                return start
        return None

    def actions_of(self, phrase: str) -> list[str]:
        """The actions of which the rigs of the subjects of that `phrase` have starts."""
        rigs = {self.rigs[subject] for subject in self._numbers_of(phrase)}
        return [start.phrases[0] for start in self.starts if start.rig in rigs]

    def _numbers_of(self, phrase: str) -> list[int]:
        """Of the subjects with a rig whose fullest phrase is `phrase`."""
        known = self.subjects[: len(self.rigs)]
        return [number for number, phrases in enumerate(known) if phrases[0] == phrase]


class RestRegressor(nn.Module):
    """`mean` [C h w] of the latents that it was trained on, and `text_mean`, `text_deviation` [2D+P] of the
    texts' features, by which these are whitened."""

    def __init__(self, config: RestConfig) -> None:
        super().__init__()
        self.config = config
        numbers, width = config.channels * config.side**2, config.width
        features = 2 * config.text + config.pooled
        angles = 2 * config.harmonics + 1
        self.text_in = nn.Linear(features, width)
        self.blocks = nn.ModuleList(_Block(width, angles) for _ in range(config.blocks))
        self.norm = nn.LayerNorm(width)
        self.last = nn.Linear(width, config.last)
        self.out = nn.Linear(config.last, numbers)
        self.register_buffer("mean", torch.zeros(numbers))
        self.register_buffer("text_mean", torch.zeros(features))
        self.register_buffer("text_deviation", torch.ones(features))

    def forward(self, azimuths: Tensor, text: Encoded) -> Tensor:
        """Latents [B,C,T,h,w] of what the texts name at `azimuths` [B,T] in degrees."""
        config = self.config
        angles = harmonics(azimuths, config.harmonics)
        features = self.text_in(self.read(text))
        frames = features[:, None].expand(-1, azimuths.shape[1], -1)
        for block in self.blocks:
            frames = block(frames, angles)
        out = self.mean + self.out(F.gelu(self.last(self.norm(frames))))
        shape = (config.channels, config.side, config.side)
        return out.unflatten(-1, shape).transpose(1, 2)

    def read(self, text: Encoded) -> Tensor:
        """Features [B,2D+P] of texts: the pooled vector, and mean and deviation of the tokens."""
        tokens = text.tokens
        read = torch.cat([text.pooled, tokens.mean(dim=1), tokens.std(dim=1)], dim=-1)
        return (read - self.text_mean) / self.text_deviation


class _Block(nn.Module):
    """A residual layer whose inner features are scaled and shifted by the angles (FiLM, Perez et al.
    2018)."""

    def __init__(self, width: int, angles: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.film = nn.Linear(angles, 2 * width)
        self.inner, self.out = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor, angles: Tensor) -> Tensor:
        scale, shift = self.film(angles).chunk(2, dim=-1)
        return x + self.out(F.gelu(self.inner(self.norm(x) * (1 + scale) + shift)))


def harmonics(degrees: Tensor, count: int) -> Tensor:
    """[...,2 K + 1]: cosines and sines of multiples of angles [...]."""
    angles = torch.deg2rad(degrees)[..., None] * torch.arange(count + 1, device=degrees.device)
    return torch.cat([angles.cos(), angles[..., 1:].sin()], dim=-1)


def save_rest(rest: RestRegressor, folder: Path, dtype: torch.dtype | None = None) -> None:
    """Into `folder`, weights in `dtype` (`io.whole_numbers`; None: unchanged)."""
    write_sharded(folder, STEM, in_type(rest.state_dict(), dtype))
    value = {"format": FORMAT, "version": VERSION, **asdict(rest.config)}
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(one)}" for name, one in value.items())
    (folder / CONFIG).write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")


def load_rest(folder: Path, *, empty: bool = False) -> RestRegressor:
    """What `save_rest` wrote, in float32, in evaluation mode; `empty`: on the meta device, without weights.
    InputError."""
    path = folder / CONFIG
    value = read_object(path)
    subjects = subjects_in(value, path)
    if (value.pop("format", None), value.pop("version", None)) != (FORMAT, VERSION):
        raise InputError(f"{path}: expected {FORMAT} version {VERSION}")
    known = starts_in(value, path, len(subjects))
    for name in LISTS:
        value.pop(name, None)
    sizes = {field.name for field in fields(RestConfig)} - set(LISTS)
    if set(value) != sizes or not all(type(n) is int and 0 < n <= LARGEST for n in value.values()):
        raise InputError(f"{path}: expected whole numbers from 1 to {LARGEST}: {sorted(sizes)}")
    with without_weights():
        rest = RestRegressor(RestConfig(**value, subjects=subjects, **known))
    if not empty:
        fill_module(rest, read_sharded(folder, STEM), where=str(folder))
    return rest.eval()
