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
from orster_cli.diffusion.bundle import Facts, WholeBundle, load_bundle
from orster_cli.diffusion.conditions import Conditions
from orster_cli.diffusion.parametrization import Parametrization, rest_of
from orster_cli.metrics.psnr import psnr
from orster_cli.sampling.sample_clips import Sampler


def sampler_of(model: Path, cfg: SampleConfig, device: str = "cpu") -> Sampler:
    bundle = load_bundle(model).whole(str(model))
    return Sampler(bundle, cfg, device=torch.device(device), reporter=Silent())


@torch.no_grad()
def conditional_mean(bundle: WholeBundle, noise: Tensor, cond: Conditions) -> Tensor:
    """Latents [B,C,T,h,w]: the model's estimate of the clean latents in one step from pure `noise` at the
    schedule's last timestep, without guidance. Where no signal is left there, a perfect model's is the
    mean of all clips under `cond`."""
    form = Parametrization.of(bundle.schedule, bundle.facts.residual_scale)
    last = torch.full((len(noise),), form.schedule.num_train_timesteps - 1, device=noise.device)
    prediction = bundle.std4d(noise, last, cond).prediction.float()
    return form.latents_of(form.predict_clean(noise, prediction, last), *rest_of(cond))


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
