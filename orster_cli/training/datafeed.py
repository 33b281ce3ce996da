"""Batches by step: a sample is determined by seed, step and batch index alone, on one process or many,
whether the run was interrupted or not.

B videos, T frames, C latent channels, h w latent pixels, H W pixels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from statistics import median
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from orster_cli.core.errors import InputError
from orster_cli.core.frames import evenly_spaced
from orster_cli.core.seeding import derive_seed
from orster_cli.dataset.captions import draw_text
from orster_cli.diffusion.encoded import Encoded
from orster_cli.training.ground_truth import GroundTruth
from orster_cli.training.host_copies import to_device
from orster_cli.training.latent_store import LatentStore, Taken
from orster_cli.training.latents import LatentCache
from orster_cli.training.orbit_draws import STATIC, Draw, OrbitDraws
from orster_cli.training.partners import Pair, Partners, Sources, same_cameras
from orster_cli.training.text_table import TextTable

if TYPE_CHECKING:
    from orster_cli.dataset.reader import Dataset
    from orster_cli.training.held_out import HeldOut

MOTIONLESS = 0.0
CAMERAS_LOOKED_AT = 64  # pairs of samples, before an exchange is refused


def epoch_order(seed: int, epoch: int, count: int) -> list[int]:
    """The order of `count` samples in an epoch."""
    generator = torch.Generator().manual_seed(derive_seed(seed, "epoch", epoch))
    return torch.randperm(count, generator=generator).tolist()


def pick_caption(
    info: Mapping[str, Any], seed: int, step: int, drop_who: float = 0.0, drop_what: float = 0.0
) -> str:
    """The text of an index entry at a step: `draw_text`."""
    return draw_text(info, seed, step, drop_who=drop_who, drop_what=drop_what)


class SampleOrder:
    """Which sample stands at each batch index of each step: every sample once an epoch."""

    def __init__(self, count: int, batch: int, seed: int) -> None:
        self.count, self.batch = count, batch
        self._order = lru_cache(maxsize=4)(lambda epoch: epoch_order(seed, epoch, count))

    def at(self, step: int, index: int) -> int:
        """The sample's number in the dataset."""
        epoch, position = divmod(step * self.batch + index, self.count)
        return self._order(epoch)[position]


@dataclass(frozen=True, kw_only=True)
class LatentBatch:
    """`latents` [B,C,T,h,w] and their cameras [B,T,4,4]; `static_latents` [B,C,T,h,w]: of the static
    object from the same cameras, or the same latents where it is not known: `rest_known` [B] (None: of all
    videos); `first_frames` [B,3,H,W]; `motion` [B]: its strength (nan: unknown);
    `text`: the captions, encoded, and `empty`: the empty text (None: not encoded yet);
    `frames` [B,n,3,H,W]: ground-truth frames number `frame_numbers` [n], for stages that decode;
    `sources`: of exchanged videos."""

    latents: Tensor
    cameras: Tensor
    static_latents: Tensor
    first_frames: Tensor
    motion: Tensor
    captions: list[str]
    rest_known: Tensor | None = None
    text: Encoded | None = None
    empty: Encoded | None = None
    frames: Tensor | None = None
    frame_numbers: Tensor | None = None
    sources: Sources | None = None


class LatentFeed:
    """Videos of one `view` of every sample that has it, of the samples `keys` (None: all), as `OrbitDraws`
    draws them.

    `dynamic`: share of samples, the same for every stage and seed, whose dynamic orbit may be used;
    `still`: share of videos of the static object, at motion 0, of all samples, each object as often as
    another; `still_camera`: as `OrbitDraws`; `pictures`: number of ground-truth frames per video. `store`:
    the latents in memory; `texts`: encodes captions; `drop_who`, `drop_what`: probabilities that a factor
    of a caption is dropped; `exchange`: share of videos with other `Sources`."""

    def __init__(
        self,
        cache: LatentCache,
        *,
        view: str,
        frames: int,
        batch: int,
        seed: int,
        dynamic: float = 1.0,
        still: float = 0.0,
        still_camera: float = 0.0,
        pictures: int = 0,
        keys: Sequence[str] | None = None,
        store: LatentStore | None = None,
        texts: TextTable | None = None,
        drop_who: float = 0.0,
        drop_what: float = 0.0,
        exchange: float = 0.0,
    ) -> None:
        self.drops = (drop_who, drop_what)
        self.cache, self.view, self.frames, self.seed = cache, view, frames, seed
        self.pictures, self.texts = pictures, texts
        self.store = store or LatentStore(cache, frames, device=torch.device("cpu"))
        self.every = list(cache.dataset.keys()) if keys is None else list(keys)
        self.draws = OrbitDraws(cache, view, frames, seed, still=still, still_camera=still_camera)
        self.keys = [key for key in self.every if self.draws.has(key, view)]
        if not self.keys:
            raise InputError(
                f"{cache.dataset.root}: no sample has the view {view}",
                hint="prepare the dataset from animated objects",
            )
        self.at_rest = _by_object(
            cache.dataset, [key for key in self.every if self.draws.has(key, STATIC)]
        )
        if view == "dynamic":
            self.keys = _some(self.keys, dynamic)
        self.order = SampleOrder(len(self.keys), batch, seed)
        self.rest_order = SampleOrder(max(len(self.at_rest), 1), batch, seed)
        self.held_out: HeldOut | None = None
        self.partners: Partners | None = None
        if exchange:
            whole = [key for key in self.keys if self.draws.has(key, STATIC)]
            self.partners = Partners(cache.dataset, whole, exchange, seed)
            self._check_cameras(self.partners)
        self._true = GroundTruth(cache.dataset, cache.resolution)
        self._lessons: dict[str, LatentFeed] = {}

    def knows_rest(self) -> bool:
        """Whether a moving video of the feed has the object at rest beside it."""
        return any(self.draws.has_rest(key) for key in self.keys)

    def motion(self) -> float:
        """Median motion strength of the clips."""
        values = [self.cache.dataset.info(key).get("motion", math.nan) for key in self.keys]
        known = [value for value in values if math.isfinite(value)]
        return float(median(known)) if known else MOTIONLESS

    def captions(self) -> list[str]:
        """The captions of the clips in the dataset's order, each once."""
        captions = [str(self.cache.dataset.info(key).get("caption") or "") for key in self.keys]
        return list(dict.fromkeys(filter(None, captions))) or [""]

    def batch(self, step: int, indices: Sequence[int]) -> LatentBatch:
        """The videos at `indices` of the whole batch of `step`."""
        keys = [
            self._resting(step, index)
            if self.at_rest and self.draws.stands(step, index)
            else self.keys[self.order.at(step, index)]
            for index in indices
        ]
        return self._batch(keys, step, indices)

    def of(self, numbers: Sequence[int], step: int, indices: Sequence[int]) -> LatentBatch:
        """The samples `numbers`, augmented as at `indices` of `step`."""
        return self._batch([self.keys[number] for number in numbers], step, indices)

    def lesson(self, view: str, step: int, indices: Sequence[int]) -> LatentBatch:
        """A batch of the view "static" or "front" of all samples, in an order of its own, whatever the
        feed's own view and share. InputError: no sample has the view."""
        if view not in self._lessons:
            self._lessons[view] = LatentFeed(
                self.cache,
                view=view,
                frames=self.frames,
                batch=self.order.batch,
                seed=derive_seed(self.seed, "lesson", view),
                keys=self.every,
                drop_who=self.drops[0],
                drop_what=self.drops[1],
                store=self.store,
                texts=self.texts,
            )
        return self._lessons[view].batch(step, indices)

    def _resting(self, step: int, index: int) -> str:
        """One of the samples of an object, every object once an epoch: at rest all clips of one are much
        the same, so that objects with many would crowd out the others."""
        keys = self.at_rest[self.rest_order.at(step, index)]
        return keys[derive_seed(self.seed, "resting", step, index) % len(keys)]

    def _batch(self, keys: Sequence[str], step: int, indices: Sequence[int]) -> LatentBatch:
        pairs = [
            self.draws.draw(key, step, index) for key, index in zip(keys, indices, strict=True)
        ]
        draws, statics = [shown for shown, _ in pairs], [static for _, static in pairs]
        infos = [self.cache.dataset.info(key) for key in keys]
        captions = [pick_caption(info, self.seed, step, *self.drops) for info in infos]
        motions = [
            MOTIONLESS if draw.still else float(info.get("motion", math.nan))
            for draw, info in zip(draws, infos, strict=True)
        ]
        shown = self._take(draws)
        same = all(draw is static for draw, static in pairs)
        static = shown if same else self._take(statics)
        known = [draw.still or draw is not static for draw, static in pairs]
        sources = None
        if self.partners is not None:
            chosen = [
                None if draw.still else self.partners.draw(key, step, index)
                for key, draw, index in zip(keys, draws, indices, strict=True)
            ]
            sources = self._sources(chosen, pairs, shown, static, step, indices)
        numbers = self._frame_numbers(step)
        device = self.store.device
        frames = None
        if numbers is not None:
            pictures = torch.stack([self._true_frames(draw, numbers) for draw in draws])
            frames = to_device(pictures, device)
        return LatentBatch(
            latents=shown.latents.transpose(1, 2),
            cameras=shown.w2c,
            static_latents=static.latents.transpose(1, 2),
            first_frames=shown.first,
            motion=to_device(torch.tensor(motions), device),
            captions=captions,
            rest_known=None if all(known) else to_device(torch.tensor(known), device),
            text=None if self.texts is None else self.texts.of(captions),
            empty=None if self.texts is None else self.texts.empty,
            frames=frames,
            frame_numbers=None if numbers is None else to_device(numbers, device),
            sources=sources,
        )

    def _check_cameras(self, partners: Partners) -> None:
        """InputError: none of the first pairs of samples is seen from the same cameras."""
        for one, other in islice(partners.candidates(), CAMERAS_LOOKED_AT):
            taken = self._take([self.draws.draw(key, 0, 0)[0] for key in (one, other)])
            if bool(same_cameras(taken.w2c[:1], taken.w2c[1:])):
                return
        raise InputError(
            f"{self.cache.dataset.root}: objects in the same motion are seen from different cameras: "
            "nothing can be exchanged",
            hint="prepare it without prepare.azimuth_jitter, or with prepare.grid",
        )

    def _sources(
        self,
        chosen: Sequence[Pair | None],
        own: Sequence[tuple[Draw, Draw]],
        shown: Taken,
        static: Taken,
        step: int,
        indices: Sequence[int],
    ) -> Sources:
        """Those of the `chosen` pairs; of a video without one, and of one that was seen from other cameras
        than its pair, its own."""
        spatial, temporal = [draw for draw, _ in own], list(own)
        for i, (pair, index) in enumerate(zip(chosen, indices, strict=True)):
            if pair is not None:
                key = pair.spatial
                spatial[i] = own[i][1] if key is None else self.draws.draw(key, step, index)[0]
                temporal[i] = self.draws.draw(pair.temporal, step, index)
        first, second = self._take(spatial), self._take([draw for draw, _ in temporal])
        rest = self._take([at_rest for _, at_rest in temporal])
        same = same_cameras(first.w2c, shown.w2c) & same_cameras(second.w2c, shown.w2c)
        paired = torch.tensor([pair is not None for pair in chosen])
        exchanged = same & to_device(paired, self.store.device)
        rows = exchanged.view(-1, 1, 1, 1, 1)
        return Sources(
            spatial=torch.where(rows, first.latents, shown.latents).transpose(1, 2),
            temporal=torch.where(rows, second.latents, shown.latents).transpose(1, 2),
            temporal_rest=torch.where(rows, rest.latents, static.latents).transpose(1, 2),
            exchanged=exchanged,
        )

    def _take(self, draws: Sequence[Draw]) -> Taken:
        """The videos, in the order of `draws`, from the views that they are of."""
        order: list[int] = []
        parts: list[Taken] = []
        for view in dict.fromkeys(draw.view for draw in draws):
            mine = [k for k, draw in enumerate(draws) if draw.view == view]
            paths = [kept for k in mine if (kept := draws[k].kept) is not None]
            keys = [draws[k].key for k in mine]
            parts.append(self.store.take(view, keys, torch.stack(paths) if paths else None))
            order += mine
        if len(parts) == 1:
            return parts[0]
        back = to_device(torch.tensor(order).argsort(), self.store.device)
        return Taken(
            torch.cat([part.latents for part in parts]).index_select(0, back),
            torch.cat([part.w2c for part in parts]).index_select(0, back),
            torch.cat([part.first for part in parts]).index_select(0, back),
        )

    def _frame_numbers(self, step: int) -> Tensor | None:
        """Neighbouring frames, the first drawn per step."""
        if not self.pictures:
            return None
        total = self.frames or int(self.cache.dataset.info(self.keys[0])["frames"][self.view])
        count = min(self.pictures, total)
        start = derive_seed(self.seed, "shown", step) % (total - count + 1)
        return torch.arange(start, start + count)

    def _true_frames(self, draw: Draw, numbers: Tensor) -> Tensor:
        """[n,3,H,W] the frames `numbers` of a video."""
        picks = draw.picks
        if picks is None:
            total = int(self.cache.dataset.info(draw.key)["frames"][draw.view])
            picks = evenly_spaced(total, self.frames, where=f"sample {draw.key}")
        return self._true.read(draw.key, draw.view, picks[numbers].tolist())


def _some(keys: list[str], share: float) -> list[str]:
    """A share of `keys`, at least one, in their order. A smaller share is a subset of a larger one."""
    count = max(round(share * len(keys)), 1)
    chosen = set(sorted(keys, key=lambda key: derive_seed("dynamic", key))[:count])
    return [key for key in keys if key in chosen]


def _by_object(dataset: Dataset, keys: Sequence[str]) -> list[list[str]]:
    """`keys` of one source file together; a sample that names none is an object of its own."""
    objects: dict[tuple[str, str], list[str]] = {}
    for key in keys:
        source = str(dataset.info(key).get("source") or "")
        objects.setdefault((source, "" if source else key), []).append(key)
    return list(objects.values())
