"""Denoising: from noise or from given latents, with one guidance scale per condition.

B videos, C latent channels, T frames, h w latent pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from orster_cli.core.errors import ConfigError
from orster_cli.diffusion.conditions import Conditions, stack
from orster_cli.diffusion.schedule import NoiseSchedule
from orster_cli.diffusion.solvers import solver_steps
from orster_cli.diffusion.std4d import STD4D

ORDER = ("object", "image", "text")  # in which guidance adds conditions
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Guided:
    """The conditions of a pass, those that dropped ones become, and the guidance scale of each kind."""

    cond: Conditions
    uncond: Conditions
    guidance: dict[str, float]


def starting_noise(seeds: Sequence[int], shape: Sequence[int]) -> Tensor:
    """[B,C,T,h,w]: one seed a video, whatever else is in the batch."""
    draws = [
        torch.randn(tuple(shape), generator=torch.Generator().manual_seed(seed)) for seed in seeds
    ]
    return torch.stack(draws)


def condition_kinds(cond: Conditions) -> list[str]:
    """The kinds of conditions in `cond`, in the order in which guidance adds them. Text counts even where
    it is the empty one of an image without a caption: `guidance` says which kinds are used."""
    has = {"object": cond.object_latents, "image": cond.reference, "text": cond.text}
    return [
        kind
        for kind in ORDER
        if has[kind] is not None and not (kind == "image" and cond.object_latents is not None)
    ]


def guided(
    model: STD4D,
    z: Tensor,
    timesteps: Tensor,
    cond: Conditions,
    uncond: Conditions,
    guidance: Mapping[str, float],
) -> Tensor:
    """The guided prediction [B,C,T,h,w], with a scale per kind of condition:
    e(none) + sum_k s_k (e(kinds to k) - e(kinds before k)), as Brooks et al. 2023 for two kinds. For one
    it is classifier-free guidance (Ho and Salimans 2022). All passes run as one batch."""
    kinds = [kind for kind in condition_kinds(cond) if kind in guidance]
    if all(guidance[kind] == 1.0 for kind in kinds):
        return model(z, timesteps, cond).prediction
    every = torch.ones(len(z), dtype=torch.bool, device=z.device)
    variants = [cond]
    for kind in reversed(kinds):  # all conditions first
        variants.append(variants[-1].without(kind, every, uncond))
    count = len(variants)
    joined = stack(variants)
    out = model(z.repeat(count, 1, 1, 1, 1), timesteps.repeat(count), joined).prediction.chunk(
        count
    )
    prediction = out[-1]
    for i, kind in enumerate(kinds):
        with_kind, without_kind = out[count - 2 - i], out[count - 1 - i]
        prediction = prediction + guidance[kind] * (with_kind - without_kind)
    return prediction


@torch.no_grad()
def denoise(
    model: STD4D,
    schedule: NoiseSchedule,
    noise: Tensor,
    cond: Conditions,
    uncond: Conditions,
    *,
    guidance: Mapping[str, float],
    steps: int,
    scheduler: str = "ddim",
    start: Tensor | None = None,
    strength: float = 1.0,
    progress: Progress | None = None,
) -> Tensor:
    """Latents [B,C,T,h,w] from `noise` (the same shape, unit variance) under `cond`; dropped conditions
    become those of `uncond`.

    `start`: clean latents of that shape to begin from (SDEdit, Meng et al. 2022). They get the noise of
    the first of the last round(`strength` * `steps`) steps, which alone are run; with none to run, `start`
    itself comes back. ConfigError: `strength` outside [0,1], below 1 without `start`, or a `start` of
    another shape."""
    last = _steps_to_run(steps, strength, noise, start)
    if last == 0 and start is not None:
        return start.clone()
    plan = solver_steps(schedule, scheduler, steps, last=last)
    z = noise if start is None else plan[0].noised(start, noise)
    clean = None
    if progress is not None:
        progress(0, len(plan))
    for done, step in enumerate(plan, start=1):
        at = torch.full((len(z),), step.timestep, device=z.device)
        prediction = guided(model, z, at, cond, uncond, guidance)
        z, clean = step(z, prediction.float(), clean)
        if progress is not None:
            progress(done, len(plan))
    return z


def _steps_to_run(steps: int, strength: float, noise: Tensor, start: Tensor | None) -> int:
    if not 0 <= strength <= 1:
        raise ConfigError(f"strength: expected 0 to 1, got {strength}")
    if start is None:
        if strength < 1:
            raise ConfigError(f"strength: {strength} needs latents to start from; expected 1")
        return steps
    if start.shape != noise.shape:
        raise ConfigError(f"start: expected {list(noise.shape)}, got {list(start.shape)}")
    return round(strength * steps)


def with_empty_text(cond: Conditions, uncond: Conditions) -> Conditions:
    """`cond` with the empty text, for an image or an object without a caption."""
    assert uncond.text is not None
    rows = len(next(v for v in (cond.reference, cond.cameras, cond.motion) if v is not None))
    pooled = None if uncond.pooled is None else uncond.pooled.expand(rows, -1)
    return replace(cond, text=uncond.text.expand(rows, -1, -1), pooled=pooled)
