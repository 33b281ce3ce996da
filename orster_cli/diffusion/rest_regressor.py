"""The object at rest in one pass: a text gives planes of features, of which a small network reads how far
any place is from the object's surface, and the surface's colour (tri-planes, Chan et al. 2022, arXiv
2112.07945; made of a text or picture in one pass as in LRM, Hong et al. 2023, arXiv 2311.04400).

The planes are a mixture of those of the objects that it was trained on: one object's where the text names
it, a blend where it may mean several. They cover the box around it, so that what is thin gets as many cells
as what is long. Beside them stands what such objects are known to do. B texts, N subjects, P places, D text
width, C channels, R cells of a side of a plane.
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
from orster_cli.diffusion.known_texts import words_of
from orster_cli.diffusion.starts import Start, quiet_start, start_of, starts_in
from orster_cli.diffusion.subjects import doing_of, subjects_in
from orster_cli.io.sharded import read_sharded, write_sharded
from orster_cli.io.tensors import fill_module, without_weights
from orster_cli.io.whole_numbers import in_type

STEM, CONFIG = "model", "config.json"
LARGEST = 1 << 14  # of any size
FORMAT, VERSION = "orster-rest-regressor", 6
LISTS = ("subjects", "rigs", "starts", "done")
HALF = 0.64  # half the side of the volume in world units: objects at rest are at most 1 long
UNIT = 0.03  # world units: distances are told in these
AXES = ((0, 1), (0, 2), (1, 2))  # of the three planes


@dataclass(frozen=True, kw_only=True)
class RestConfig:
    """Sizes. `text`, `pooled`: widths of the encoder's tokens and pooled vector; `width`: of what is read
    of a text; `channels` and `side`: of the planes; `hidden`: of the network that reads them. `subjects`:
    phrases of each object that it was trained on, the fullest first; `rigs`: the number of each one's rig;
    `starts`: what objects of these rigs do; `done`: of each object the numbers of those that it was seen
    doing."""

    text: int
    pooled: int
    width: int = 256
    channels: int = 8
    side: int = 32
    hidden: int = 64
    subjects: tuple[tuple[str, ...], ...] = ()
    rigs: tuple[int, ...] = ()
    starts: tuple[Start, ...] = ()
    done: tuple[tuple[int, ...], ...] = ()

    def start_of(self, text: str, phrase: str) -> int | None:
        """The number of what `text` has the subject do whose fullest phrase is `phrase`; None: its rig does
        no such thing."""
        for subject in self.numbers_of(phrase):
            said = doing_of(text, self.subjects[subject])
            start = start_of(said, self.starts, self.rigs[subject])
            if start is not None:
                return start
        return None

    def said_in(self, text: str) -> set[int]:
        """The numbers of what `text` says, one of each rig that does it."""
        words = words_of(text)
        found = (start_of(words, self.starts, rig) for rig in set(self.rigs))
        return {start for start in found if start is not None}

    def quiet(self) -> set[int]:
        """The numbers of the `starts.quiet_start` of the rigs that have one."""
        found = (quiet_start(self.starts, rig) for rig in set(self.rigs))
        return {start for start in found if start is not None}

    def quiet_of(self, phrase: str) -> int | None:
        """The number of what the subject whose fullest phrase is `phrase` does quietly; None: nothing."""
        for subject in self.numbers_of(phrase):
            start = quiet_start(self.starts, self.rigs[subject], self.done[subject])
            if start is not None:
                return start
        return None

    def actions_of(self, phrase: str) -> list[str]:
        """The actions of which the rigs of the subjects of that `phrase` have starts."""
        rigs = {self.rigs[subject] for subject in self.numbers_of(phrase)}
        return [start.phrases[0] for start in self.starts if start.rig in rigs]

    def numbers_of(self, phrase: str) -> list[int]:
        """Of the subjects with a rig whose fullest phrase is `phrase`."""
        known = self.subjects[: len(self.rigs)]
        return [number for number, phrases in enumerate(known) if phrases[0] == phrase]


@dataclass(frozen=True)
class Triplanes:
    """Of B objects: `planes` [B,3,C,R,R] of features, which cover a box from `low` to `high` [B,3] in world
    units."""

    planes: Tensor
    low: Tensor
    high: Tensor

    def features(self, places: Tensor) -> Tensor:
        """[B,P,3 C] at `places` [B,P,3]; outside the box those of its border."""
        within = 2 * (places - self.low[:, None]) / (self.high - self.low)[:, None] - 1
        sides = within.unbind(dim=-1)
        across = [torch.stack([sides[a], sides[b]], dim=-1) for a, b in AXES]
        grid = torch.stack(across, dim=1).flatten(0, 1)[:, :, None]
        read = F.grid_sample(
            self.planes.flatten(0, 1), grid, padding_mode="border", align_corners=True
        ).unflatten(0, (-1, 3))
        return read[..., 0].flatten(1, 2).transpose(1, 2)


class RestRegressor(nn.Module):
    """`table` [N 3 C, R R]: the planes of all subjects; `boxes` [6 N]: the low and high corners of their
    boxes; `text_mean`, `text_deviation` [2D+P] of the texts' features, by which these are whitened."""

    boxes: Tensor

    def __init__(self, config: RestConfig) -> None:
        super().__init__()
        self.config = config
        features, hidden = 2 * config.text + config.pooled, config.hidden
        count, channels = max(len(config.subjects), 1), 3 * config.channels
        self.text_in = nn.Linear(features, config.width)
        self.text_out = nn.Linear(config.width, count)
        self.table = nn.Parameter(0.05 * torch.randn(count * channels, config.side**2))
        self.field = nn.Sequential(
            nn.Linear(channels + 3, hidden), nn.SiLU(),
            nn.Linear(hidden, hidden), nn.SiLU(),
            nn.Linear(hidden, hidden), nn.SiLU(),
            nn.Linear(hidden, 4),
        )  # fmt: skip
        corners = torch.tensor([-HALF] * 3 + [HALF] * 3)
        self.register_buffer("boxes", corners.repeat(count))
        self.register_buffer("text_mean", torch.zeros(features))
        self.register_buffer("text_deviation", torch.ones(features))

    def forward(self, text: Encoded) -> Triplanes:
        """Of what the texts name."""
        shares = self.named(self.read(text)).softmax(dim=-1)
        planes = shares @ self.table.view(shares.shape[1], -1)
        return self.within(planes, shares @ self.boxes.view(-1, 6))

    def within(self, planes: Tensor, boxes: Tensor) -> Triplanes:
        """`planes` [B,3 C R R] of `boxes` [B,6]."""
        return Triplanes(planes.view(-1, *self.planes_shape), *boxes.split(3, dim=-1))

    @property
    def planes_shape(self) -> tuple[int, int, int, int]:
        """[3,C,R,R] of one object."""
        return 3, self.config.channels, self.config.side, self.config.side

    def named(self, features: Tensor) -> Tensor:
        """Logits [B,N] of the subjects that texts name, from their `features`."""
        logits: Tensor = self.text_out(F.gelu(self.text_in(features)))
        return logits

    def at(self, made: Triplanes, places: Tensor) -> tuple[Tensor, Tensor]:
        """Distances [B,P] of `places` [B,P,3] from the surfaces of the objects that are `made`, in `UNIT`s,
        negative inside, and sRGB colours [B,P,3], unlit."""
        out = self.field(torch.cat([made.features(places), places / HALF], dim=-1))
        return out[..., 0], out[..., 1:] + 0.5

    def read(self, text: Encoded) -> Tensor:
        """Whitened features [B,2D+P] of texts: the pooled vector, and mean and deviation of the tokens."""
        return (read_of(text) - self.text_mean) / self.text_deviation


def read_of(text: Encoded) -> Tensor:
    """[B,2D+P] the pooled vector, and mean and deviation of the tokens."""
    tokens = text.tokens
    return torch.cat([text.pooled, tokens.mean(dim=1), tokens.std(dim=1)], dim=-1)


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
        raise InputError(
            f"{path}: expected {FORMAT} version {VERSION}",
            hint="it is of another version of orster: take rest/ of mini-object, or train it again",
        )
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
        low, high = rest.boxes.view(-1, 2, 3).unbind(dim=1)
        if not bool((low < high).all()) or float(rest.boxes.abs().max()) > 2 * HALF:
            raise InputError(f"{folder}: boxes: expected low and high corners near the volume")
    return rest.eval()
