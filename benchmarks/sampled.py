"""Shared by benchmarks of a trained model: the sampler, the true clips, and how close a sample is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from orster_cli.config.sample import SampleConfig
from orster_cli.core.frames import at_resolution, evenly_spaced
from orster_cli.core.reporting import Silent
from orster_cli.core.types import OrbitClip
from orster_cli.diffusion.bundle import Facts, load_bundle
from orster_cli.metrics.psnr import psnr
from orster_cli.sampling.sample_clips import Sampler


def sampler_of(model: Path, cfg: SampleConfig) -> Sampler:
    bundle = load_bundle(model).whole(str(model))
    return Sampler(bundle, cfg, device=torch.device("cpu"), reporter=Silent())


def as_shown(clip: OrbitClip, facts: Facts, key: str) -> Tensor:
    """[T,3,H,W]: the frames of a clip that a model is trained on, on white."""
    pick = evenly_spaced(len(clip), facts.frames, where=key)
    return at_resolution(clip, facts.resolution)[pick]


def nearness(
    made: Tensor, own: str | None, true: Mapping[str, Tensor]
) -> tuple[float | None, float, str]:
    """PSNR of `made` [T,3,H,W] to the clip `own` of `true` (None if there is none), and to the nearest
    other clip, with its key."""
    others = {key: float(psnr(made, f).mean()) for key, f in true.items() if key != own}
    nearest = max(others, key=others.__getitem__)
    mine = None if own is None else float(psnr(made, true[own]).mean())
    return mine, others[nearest], nearest
