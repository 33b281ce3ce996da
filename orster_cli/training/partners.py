"""Exchanged videos: Z^S of an object in another motion, Z^T of another object in the same motion.

The paper's premise (Sec. 1) is that another object can perform the same action, and so share the temporal
distribution. A model that is trained on exchanged videos can tell what a channel is for: the spatial one is
never told the motion, the temporal one never the looks. B videos, T frames, C latent channels, h w pixels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from orster_cli.core.errors import InputError
from orster_cli.core.seeding import derive_seed
from orster_cli.dataset.reader import Dataset
from orster_cli.training.held_out import object_name

AT_REST = 0.3  # share of exchanged videos whose Z^S is that of the object at rest
SAME_CAMERA = 1e-3  # largest difference of the entries of two cameras


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Latents [B,C,T,h,w] that Z^S (`spatial`) and Z^T (`temporal`) are taken from; `temporal_rest`: the
    object at rest of the latter; `exchanged` [B]: where they are not the video's own."""

    spatial: Tensor
    temporal: Tensor
    temporal_rest: Tensor
    exchanged: Tensor


@dataclass(frozen=True)
class Pair:
    """Samples whose Z^S and Z^T are used. `spatial` None: the object at rest."""

    spatial: str | None
    temporal: str


class Partners:
    """Draws the `Pair` of a sample of `keys`. Motions are the same where the animations have one name, as
    in files that share a rig; a name that one object has twice tells nothing."""

    def __init__(self, dataset: Dataset, keys: Sequence[str], share: float, seed: int) -> None:
        """`share`: of videos that are exchanged. InputError: no two objects have a motion in common."""
        self.share, self.seed = share, seed
        self._objects = {key: object_name(dataset, key) for key in keys}
        names = {key: dataset.info(key).get("clip_name") for key in keys}
        often = Counter((self._objects[key], names[key]) for key in keys)
        vague = {name for (_, name), count in often.items() if count > 1}
        self._motions = {key: None if name in vague else name for key, name in names.items()}
        self._of_object: dict[str, list[str]] = {}
        self._of_motion: dict[str, list[str]] = {}
        for key in keys:
            self._of_object.setdefault(self._objects[key], []).append(key)
            if self._motions[key]:
                self._of_motion.setdefault(self._motions[key], []).append(key)
        if not any(self._same_motion(key) for key in keys):
            raise InputError(
                f"{dataset.root}: no two objects that are trained on have an animation of the same name",
                hint="for exchange, prepare more objects of one rig together; or set exchange to 0",
            )

    def _same_motion(self, key: str) -> list[str]:
        """Samples of other objects."""
        others = self._of_motion.get(self._motions.get(key) or "", [])
        return [other for other in others if self._objects[other] != self._objects[key]]

    def candidates(self) -> Iterator[tuple[str, str]]:
        """Samples of two objects in the same motion."""
        for key in self._motions:
            yield from ((key, other) for other in self._same_motion(key))

    def draw(self, key: str, step: int, index: int) -> Pair | None:
        """Of the video at a batch index of a step; None: it keeps its own, as every sample that is not of
        `keys` does."""
        drawn = torch.Generator().manual_seed(derive_seed(self.seed, "exchange", step, index))
        chance, rest = torch.rand(2, generator=drawn).tolist()
        others = self._same_motion(key) if chance < self.share else []
        if not others:
            return None
        own = [other for other in self._of_object[self._objects[key]] if other != key]
        spatial = None if rest < AT_REST or not own else _one_of(own, drawn)
        return Pair(spatial, _one_of(others, drawn))


def _one_of(keys: Sequence[str], generator: torch.Generator) -> str:
    return keys[int(torch.randint(len(keys), (), generator=generator))]


def same_cameras(one: Tensor, other: Tensor) -> Tensor:
    """[B]: whether the cameras [B,T,4,4] of two videos are the same."""
    return (one - other).abs().amax(dim=(1, 2, 3)) < SAME_CAMERA
