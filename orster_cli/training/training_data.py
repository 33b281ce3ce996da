"""The dataset of a training run, and the feeds that draw batches from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import nn

from orster_cli.config.train import ModelConfig, PretrainConfig, StudentConfig, TrainConfig
from orster_cli.core.errors import InputError, Preempted
from orster_cli.core.reporting import Reporter
from orster_cli.core.stopping import StopFlag
from orster_cli.dataset.captioned import captioned
from orster_cli.dataset.reader import Dataset
from orster_cli.diffusion.encoded import Encoder
from orster_cli.diffusion.frame_vae import FrameVAE
from orster_cli.training.data_memory import DataMemory
from orster_cli.training.datafeed import LatentFeed
from orster_cli.training.frame_cache import FrameCache
from orster_cli.training.frame_feed import FrameFeed
from orster_cli.training.held_out import HeldOut, clips_in_common, held_out_keys, without
from orster_cli.training.latent_store import LatentStore
from orster_cli.training.latents import LatentCache
from orster_cli.training.peers import all_done
from orster_cli.training.placeholder_batches import PlaceholderFrames, PlaceholderLatents
from orster_cli.training.text_table import CHUNK, TextTable, table_bytes

VIEW = {"3d": "static", "video": "front", "4d": "dynamic"}  # that a model of a role is trained on


@dataclass(frozen=True, kw_only=True)
class Source:
    """A dataset and where it is trained on. `part`: this process and their number. `held_out`: a dataset
    whose clips are measured and never trained on, and its id. `placeholder`: for a memory plan, batches
    have the right sizes and no content, and on the meta device teachers have no weights. `stores`:
    latents that are in memory already, by the id of their dataset, for several stages in one process."""

    dataset: Dataset
    id: str
    device: torch.device
    reporter: Reporter
    stop: StopFlag
    part: tuple[int, int] = (0, 1)
    held_out: tuple[Dataset, str] | None = None
    placeholder: bool = False
    stores: Mapping[str, LatentStore] = field(default_factory=dict)


def latent_feed(
    train: TrainConfig,
    source: Source,
    vae: FrameVAE,
    view: str,
    frames: int,
    resolution: int,
    pictures: int = 0,
    encoder: Encoder | None = None,
) -> LatentFeed | PlaceholderLatents:
    """Latents of `view`, encoded where the cache lacks them, in memory where they fit, and the texts that
    `encoder` makes of the captions. The held-out clips are its `held_out`."""
    vae.check_size(resolution, resolution, "the dataset")
    if source.placeholder:
        return PlaceholderLatents(
            frames=frames,
            channels=vae.channels,
            side=resolution // vae.factor,
            resolution=resolution,
            pictures=pictures,
        )
    if train.gives_texts():
        captioned(source.dataset, source.reporter)
    memory = DataMemory(source.device, train.data_memory, source.part[1])
    texts = None if encoder is None else _texts(source, encoder, memory)
    student = train if isinstance(train, StudentConfig) else None

    def store(dataset: Dataset, identity: str) -> LatentStore:
        if identity in source.stores:
            return source.stores[identity]
        return LatentStore(
            _latents(source, dataset, identity, vae, resolution),
            frames,
            device=source.device,
            memory=memory,
            reporter=source.reporter,
        )

    def feed(
        store: LatentStore, keys: list[str], dynamic: float, exchange: float = 0.0
    ) -> LatentFeed:
        return LatentFeed(
            store.cache,
            view=view,
            frames=frames,
            batch=train.batch,
            seed=train.seed,
            dynamic=dynamic,
            still=student.still if student else 0.0,
            still_camera=student.still_camera if student else 0.0,
            pictures=pictures,
            keys=keys,
            store=store,
            texts=texts,
            drop_who=train.drop_who,
            drop_what=train.drop_what,
            exchange=exchange,
        )

    own = store(source.dataset, source.id)
    kept = _held_out(train, source, view)
    share = train.exchange if isinstance(train, PretrainConfig) else 0.0
    out = feed(own, without(source.dataset.keys(), kept), train.dynamic, share)
    if train.object and not out.knows_rest():
        raise InputError(
            f"{source.dataset.root}: the share object is {train.object:g}, and no {view} video has the "
            "object at rest from its cameras beside it",
            hint="--set SECTION.object=0 (text and image have shares too)"
            + (", or prepare the dataset from animated objects" if view == "dynamic" else ""),
        )
    if source.held_out is not None:
        data, its = source.held_out
        own = store(data, its)
        kept = [key for key in list(data.keys()) if view in own.cache.views(key)]
    if kept:
        measured = feed(own, kept, 1.0)
        out.held_out = HeldOut(measured, len(measured.keys))
    return out


def _latents(
    source: Source, dataset: Dataset, identity: str, vae: FrameVAE, resolution: int
) -> LatentCache:
    """The latents of a dataset on the disk, all of them: what reads them next may read any."""
    cache = LatentCache(dataset, identity, vae, resolution)
    vae.to(source.device)
    done = cache.fill(
        vae, device=source.device, reporter=source.reporter, stop=source.stop, part=source.part
    )
    if not all_done(done, source.device):
        raise Preempted("stopped while encoding", hint="run the same command again to go on")
    return cache


def _texts(source: Source, encoder: Encoder, memory: DataMemory) -> TextTable:
    """All captions, encoded once, on the device or in host memory; where they do not fit, those of the
    latest batches."""
    if isinstance(encoder, nn.Module):
        encoder.eval().requires_grad_(False).to(source.device)
    captions = sorted({text for texts in source.dataset.texts().values() for text in texts})
    each = table_bytes(encoder, 1)
    place = memory.place(each * (len(captions) + 1))
    if place is not None:
        return TextTable(encoder, source.device, place, captions)
    most = max(memory.left() // each, CHUNK)
    source.reporter.info(
        f"{each * len(captions) / 1e6:,.0f} MB of encoded captions are more than the share data_memory of "
        f"the memory: {most:,} of {len(captions):,} are kept, the others encoded for each batch"
    )
    memory.place(each * most)
    return TextTable(encoder, source.device, torch.device("cpu"), most=most)


def _held_out(train: TrainConfig, source: Source, view: str = "") -> list[str]:
    """The samples of the dataset that are not trained on. InputError: nothing is left to train on."""
    data = source.dataset
    if source.held_out is not None:
        kept = clips_in_common(data, source.held_out[0])
        if kept:
            source.reporter.warn(f"{len(kept)} clips are held out and not trained on")
    else:
        kept = held_out_keys(data, train.held_out)
        if train.held_out and not kept and source.part[0] == 0:
            source.reporter.note(
                f"held_out: too few objects for a share of {train.held_out:g}: none is held out, and the "
                "last step is kept"
            )
    if len(kept) == len(data):
        raise InputError(
            f"{data.root}: all {len(data)} clips are held out",
            hint="give another --held-out, or a smaller share held_out",
        )
    return [key for key in kept if not view or view in data.info(key)["frames"]]


def frame_feed(
    train: TrainConfig, source: Source, resolution: int, *, texts: bool = False
) -> FrameFeed | PlaceholderFrames:
    """Frames of all samples (`texts`: of those with a caption), decoded once by the first process where
    they fit on the disk. The held-out clips are its `held_out`."""
    if source.placeholder:
        return PlaceholderFrames(resolution=resolution)

    def feed(dataset: Dataset, identity: str, keys: list[str]) -> FrameFeed:
        return FrameFeed(
            dataset,
            resolution=resolution,
            batch=train.batch,
            seed=train.seed,
            cache=_frame_cache(replace(source, dataset=dataset, id=identity), resolution),
            keys=keys,
            device=source.device,
        )

    data = source.dataset
    usable = captioned(data, source.reporter, pairs=True) if texts else data.keys()
    kept = _held_out(train, source)
    out = feed(data, source.id, without(usable, kept))
    measured = None
    if source.held_out is not None:
        measured = feed(*source.held_out, source.held_out[0].keys())
    elif kept:
        measured = feed(data, source.id, kept)
    if measured is not None:
        out.held_out = HeldOut(measured, len(measured.keys), repeat=True)
    return out


def _frame_cache(source: Source, resolution: int) -> FrameCache:
    """The cache, filled unless it does not fit."""
    cache = FrameCache(source.dataset, source.id, resolution)
    if source.part[0] != 0:
        return cache
    try:
        if not cache.fits():
            source.reporter.info(f"no room for {cache.path}: each step decodes its frames")
        elif not cache.fill(reporter=source.reporter, stop=source.stop):
            raise Preempted("stopped while decoding", hint="run the same command again to go on")
    except OSError as error:
        source.reporter.info(f"{cache.path}: {error.strerror}: each step decodes its frames")
    return cache


def resolution_of(model: ModelConfig, source: Source) -> int:
    """Pixels of a frame: the setting, or those of the dataset's first sample."""
    if model.resolution:
        return model.resolution
    key = source.dataset.keys()[0]
    views = source.dataset.sample_json(key)["views"]
    return int(next(iter(views.values()))["width"])


def sizes_of(model: ModelConfig, source: Source, role: str) -> tuple[int, int]:
    """Frames and pixels of a clip."""
    frames = model.frames
    if not frames:
        key = source.dataset.keys()[0]
        frames = int(source.dataset.info(key)["frames"].get(VIEW[role], 0))
    return frames, resolution_of(model, source)
