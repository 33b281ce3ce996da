"""The dataset of a training run, and the feeds that draw batches from it."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from orster_cli.config.train import ModelConfig, StudentConfig, TrainConfig
from orster_cli.core.errors import Preempted
from orster_cli.core.reporting import Reporter
from orster_cli.core.stopping import StopFlag
from orster_cli.dataset.captioned import captioned
from orster_cli.dataset.reader import Dataset
from orster_cli.diffusion.frame_vae import FrameVAE
from orster_cli.training.datafeed import FrameFeed, LatentFeed
from orster_cli.training.frame_cache import FrameCache
from orster_cli.training.latents import LatentCache
from orster_cli.training.placeholder_batches import PlaceholderFrames, PlaceholderLatents

VIEW = {"3d": "static", "video": "front", "4d": "dynamic"}  # that a model of a role is trained on


@dataclass(frozen=True, kw_only=True)
class Source:
    """A dataset and where it is trained on. `part`: this process and their number. `placeholder`: for a
    memory plan, batches have the right sizes and no content, and on the meta device teachers have no
    weights."""

    dataset: Dataset
    id: str
    device: torch.device
    reporter: Reporter
    stop: StopFlag
    part: tuple[int, int] = (0, 1)
    placeholder: bool = False


def latent_feed(
    train: TrainConfig,
    source: Source,
    vae: FrameVAE,
    view: str,
    frames: int,
    resolution: int,
    pictures: int = 0,
) -> LatentFeed | PlaceholderLatents:
    """Latents of `view`, encoded where the cache lacks them."""
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
    cache = LatentCache(source.dataset, source.id, vae, resolution)
    vae.to(source.device)
    done = cache.fill(
        vae, device=source.device, reporter=source.reporter, stop=source.stop, part=source.part
    )
    if not done:
        raise Preempted("stopped while encoding", hint="run the same command again to go on")
    return LatentFeed(
        cache,
        view=view,
        frames=frames,
        batch=train.batch,
        seed=train.seed,
        dynamic=train.dynamic,
        still=train.still if isinstance(train, StudentConfig) else 0.0,
        pictures=pictures,
        drop_who=train.drop_who,
        drop_what=train.drop_what,
    )


def frame_feed(
    train: TrainConfig, source: Source, resolution: int, *, texts: bool = False
) -> FrameFeed | PlaceholderFrames:
    """Frames of all samples (`texts`: of those with a caption), decoded once by the first process where
    they fit on the disk."""
    if source.placeholder:
        return PlaceholderFrames(resolution=resolution)
    return FrameFeed(
        source.dataset,
        resolution=resolution,
        batch=train.batch,
        seed=train.seed,
        cache=_frame_cache(source, resolution),
        keys=captioned(source.dataset, source.reporter, pairs=True) if texts else None,
    )


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
