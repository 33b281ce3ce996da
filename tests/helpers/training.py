"""A tiny model family and a dataset for tests of the training stages and of sampling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from orster_cli.artifacts.store import begin
from orster_cli.config.prepare import PrepareConfig
from orster_cli.config.schema import Config
from orster_cli.config.train import (
    AlignConfig,
    DistillConfig,
    EncoderConfig,
    FinetuneConfig,
    ModelConfig,
    PretrainConfig,
    TeacherConfig,
    VaeConfig,
)
from orster_cli.core.reporting import Silent
from orster_cli.core.stopping import StopFlag
from orster_cli.dataset.captions import Caption
from orster_cli.dataset.prepare import prepare
from orster_cli.dataset.reader import Dataset
from orster_cli.dataset.sources import find_sources
from orster_cli.diffusion.bundle import Bundle, Facts, WholeBundle, save_bundle
from orster_cli.diffusion.frame_vae import FrameVAE
from orster_cli.diffusion.mini_encoder import new_mini
from orster_cli.diffusion.schedule import NoiseSchedule
from orster_cli.diffusion.std4d import STD4D, STD4DConfig
from orster_cli.training.prepared import Models
from orster_cli.training.training_data import Source
from tests.helpers.diffusion import CONFIG, TRUNK, shaken

FRAMES, SIDE = 4, 16
_SHORT = {"steps": 3, "batch": 2, "lr": 1e-3, "warmup": 1, "log_every": 1}
MODEL = ModelConfig(
    widths=(16, 32),
    attention=(True, False),
    head_width=8,
    groups=4,
    context_width=16,
    frames=FRAMES,
    vae_widths=(8, 8),
    encoder_width=16,
)
CFG = Config(
    model=MODEL,
    vae=VaeConfig(**_SHORT),
    encoder=EncoderConfig(**{**_SHORT, "batch": 4}),
    teacher=TeacherConfig(**_SHORT),
    pretrain=PretrainConfig(**_SHORT),
    distill=DistillConfig(**_SHORT),
    align=AlignConfig(**_SHORT, frames=2),
    finetune=FinetuneConfig(**_SHORT),
)


def dataset(
    creature: Path,
    folder: Path,
    *,
    side: int = SIDE,
    frames: int = FRAMES,
    captions: Sequence[str | None] | None = None,
    grid: int = 0,
) -> Path:
    """A dataset artifact of the creature's two clips, with captions; a clip with caption None is left
    out."""
    cfg = PrepareConfig(frames=frames, resolution=side, supersample=1, curate=False, grid=grid)
    rows = {
        (creature.name, k): Caption(text=t or "", use=t is not None)
        for k, t in enumerate(captions or CAPTIONS)
    }
    draft = begin(folder, kind="dataset", command="prepare-data", config={})
    assert draft is not None
    with draft:
        sources = find_sources([creature])
        done = prepare(sources, rows, draft.dir, draft.scratch, cfg, workers=1, reporter=Silent())
        draft.commit(done.content, licences=done.licences)
    return folder


CAPTIONS = ("a teal creature walking", "a teal creature waving")


def source(folder: Path, part: tuple[int, int] = (0, 1)) -> Source:
    return Source(
        dataset=Dataset.read(folder),
        id="tiny",
        device=torch.device("cpu"),
        reporter=Silent(),
        stop=StopFlag(),
        part=part,
    )


def tiny_vae() -> FrameVAE:
    return FrameVAE.create((8, 8), channels=4, groups=4, seed=0).eval()


def bundle(role: str = "4d", config: STD4DConfig = CONFIG) -> WholeBundle:
    """Random weights, every part doing something; the encoder is as wide as the model reads."""
    width = 12
    std4d = replace_config(config, text_width=width, image_width=width, pooled_width=width)
    return WholeBundle(
        Facts(role=role, frames=FRAMES, resolution=SIDE, motion=0.01),
        shaken(std4d),
        tiny_vae(),
        new_mini(width, 0).eval(),
        NoiseSchedule(),
    )


def replace_config(config: STD4DConfig, **changes: object) -> STD4DConfig:
    return replace(config, **changes)  # type: ignore[arg-type]


def merged(role: str) -> WholeBundle:
    return bundle(role, replace(CONFIG, merged=True))


def save_teachers(place: Path) -> None:
    """Two teachers, which share their frame VAE and encoder with each other and with `bundle()`."""
    for role in ("3d", "video"):
        save_bundle(merged(role), place / role)


def teachers(place: Path) -> Models:
    """A two-channel student and the two teachers below `place`, which are made where they are not there."""
    if not (place / "3d").exists():
        save_teachers(place)
    start = Bundle(**vars(bundle()))
    return Models(start=start, teacher_3d=place / "3d", teacher_video=place / "video")


def weights_of(model: STD4D) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


__all__ = ["CFG", "CONFIG", "TRUNK"]
