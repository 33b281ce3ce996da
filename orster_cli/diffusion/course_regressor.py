"""How an action that is known goes: a network that regresses where each point of an object's surface is at
each moment of it, from the object's shape before.

Objects of one rig share their animations, and look unlike. The shape is what the network is shown, as
points with normals (PointNet, Qi et al. 2017); the action is one of the `starts` of the model's regressor
of objects at rest. It gives the mean of what its training showed for these. The object need not stand as
the action begins: its pose is part of its shape. B objects, P points that are moved, T moments, W width.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from orster_cli.core.errors import InputError
from orster_cli.core.strict_json import read_object
from orster_cli.geometry.farthest_points import farthest_points
from orster_cli.io.sharded import read_sharded, write_sharded
from orster_cli.io.tensors import fill_module, without_weights
from orster_cli.io.whole_numbers import in_type

STEM, CONFIG = "model", "config.json"
LARGEST = 1 << 14  # of any size
FORMAT, VERSION = "orster-course-regressor", 3
MANY = 256  # known shapes that are compared at once
SMALLEST = 1e-6  # world units that an object has at least, in its longest side


@dataclass(frozen=True, kw_only=True)
class CourseConfig:
    """Sizes. `starts` and `subjects`: of the regressor of objects at rest beside it; `moments`: of an
    action, evenly spaced from its begin to its end; `shape`: features of a shape; `octaves`: of the waves
    that a place is told by; `known`: shapes that are kept, of `points` each."""

    starts: int
    known: int
    subjects: int
    points: int = 256
    moments: int = 16
    width: int = 320
    blocks: int = 6
    shape: int = 384
    octaves: int = 5


@dataclass(frozen=True)
class Surface:
    """Points of B surfaces, `places` [B,N,3] in world units and unit `normals` [B,N,3]."""

    places: Tensor
    normals: Tensor

    def in_box(self, middle: Tensor, side: Tensor) -> Surface:
        """Seen from the `middle` [B,3] of a box, in its `side` [B]."""
        return Surface((self.places - middle[:, None]) / side[:, None, None], self.normals)

    def box(self) -> tuple[Tensor, Tensor]:
        """The middle [B,3] of the box around each, and its longest side [B]."""
        low, high = self.places.amin(dim=1), self.places.amax(dim=1)
        return (low + high) / 2, (high - low).amax(dim=1).clamp_min(SMALLEST)


@dataclass(frozen=True)
class Seen:
    """What is seen of B shapes: `features` [B,W], and the box around each, its `middle` [B,3] and its
    longest `side` [B] in world units."""

    features: Tensor
    middle: Tensor
    side: Tensor


def outline(shape: Surface, count: int) -> Tensor:
    """[B,S,3] `count` points that are spread evenly over shapes, in their boxes."""
    places = shape.in_box(*shape.box()).places
    return torch.stack([one[farthest_points(one, count)] for one in places])


class CourseRegressor(nn.Module):
    """Places are told in the box around the shape, so that neither size nor position matters.
    `known_shapes` [K,3S]: those that it was trained on, so told: of each subject of the regressor of
    objects at rest its bind pose, and where each of the starts begins that it was seen doing.
    `known_features` [N,W]: what is seen of the bind poses alone."""

    known_shapes: Tensor
    known_features: Tensor

    def __init__(self, config: CourseConfig) -> None:
        super().__init__()
        self.config = config
        told, width = 6 + 6 * config.octaves, config.width
        self.seen = nn.Sequential(
            nn.Linear(told, 128), nn.GELU(), nn.Linear(128, 256), nn.GELU(),
            nn.Linear(256, config.shape),
        )  # fmt: skip
        self.shape = nn.Linear(2 * config.shape, width)
        self.start_in = nn.Embedding(config.starts, width)
        self.known = nn.Linear(width, width)
        self.point_in = nn.Linear(told, width)
        self.blocks = nn.ModuleList(_Block(width) for _ in range(config.blocks))
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, 3 * config.moments)
        nn.init.normal_(self.start_in.weight, std=0.5)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        self.register_buffer("known_shapes", torch.zeros(config.known, 3 * config.points))
        self.register_buffer("known_features", torch.zeros(config.subjects, width))

    def see(self, shape: Surface) -> Seen:
        """The B shapes."""
        box = shape.box()
        seen = self.seen(self._told(shape.in_box(*box)))
        pooled = self.shape(torch.cat([seen.amax(dim=1), seen.mean(dim=1)], dim=-1))
        return Seen(pooled, *box)

    def unlike(self, shape: Surface) -> Tensor:
        """[K] how unlike one shape, with B = 1, is to each of the known ones: the mean distance of its
        points to the nearest of the other's, and the other way round, in shares of the box."""
        own = outline(shape, self.config.points)[0]
        found = []
        for other in self.known_shapes.unflatten(-1, (-1, 3)).split(MANY):
            apart = torch.cdist(own.expand(len(other), -1, -1), other)
            found.append(apart.amin(dim=2).mean(dim=1) + apart.amin(dim=1).mean(dim=1))
        return torch.cat(found)

    def forward(self, seen: Seen, points: Surface, starts: Tensor) -> Tensor:
        """How far [B,T,P,3] the `points` have gone at each moment of the actions of `starts` [B], by their
        numbers, in world units."""
        action = self.start_in(starts)
        known = self.known(F.silu(seen.features + action)) + action
        features = self.point_in(self._told(points.in_box(seen.middle, seen.side)))
        for block in self.blocks:
            features = block(features, known)
        far = self.out(self.norm(features)).unflatten(-1, (self.config.moments, 3))
        scaled: Tensor = far.transpose(1, 2) * seen.side[:, None, None, None]
        return scaled

    def _told(self, points: Surface) -> Tensor:
        octaves = torch.arange(self.config.octaves, device=points.places.device)
        waves = (points.places[..., None] * (math.pi * 2.0**octaves)).flatten(-2)
        return torch.cat([points.places, points.normals, waves.sin(), waves.cos()], dim=-1)


class _Block(nn.Module):
    """A residual layer whose inner features are scaled and shifted by what is known (FiLM, Perez et al.
    2018)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.film = nn.Linear(width, 2 * width)
        self.inner, self.out = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor, known: Tensor) -> Tensor:
        scale, shift = self.film(F.silu(known))[:, None].chunk(2, dim=-1)
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
        raise InputError(
            f"{path}: expected {FORMAT} version {VERSION}",
            hint="it is of another version of orster: take course/ of mini-object, or train it again",
        )
    sizes = {field.name for field in fields(CourseConfig)}
    if set(value) != sizes or not all(type(n) is int and 0 < n <= LARGEST for n in value.values()):
        raise InputError(f"{path}: expected whole numbers from 1 to {LARGEST}: {sorted(sizes)}")
    if value["moments"] < 2:
        raise InputError(f"{path}: moments: expected at least 2")
    with without_weights():
        course = CourseRegressor(CourseConfig(**value))
    if not empty:
        fill_module(course, read_sharded(folder, STEM), where=str(folder))
    return course.eval()
