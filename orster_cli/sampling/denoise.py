"""From noise to latents: diffusers' solvers, one guidance per condition.

B videos, C latent channels, T frames, h w latent pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from orster_cli.diffusion.conditions import Conditions, stack
from orster_cli.diffusion.schedule import NoiseSchedule
from orster_cli.diffusion.std4d import STD4D

ORDER = ("object", "image", "text")  # guidance adds them in this order
Progress = Callable[[int, int], None]


def solver(schedule: NoiseSchedule, name: str):  # type: ignore[no-untyped-def]
    """diffusers' scheduler `name` (ddim, or the multistep dpm++) for `schedule`."""
    from diffusers import DDIMScheduler, DPMSolverMultistepScheduler

    config = schedule.to_diffusers()
    if name == "ddim":
        return DDIMScheduler.from_config(config)
    return DPMSolverMultistepScheduler.from_config(
        {**config, "algorithm_type": "dpmsolver++", "solver_order": 2}
    )


def starting_noise(seeds: Sequence[int], shape: Sequence[int]) -> Tensor:
    """[B,C,T,h,w]: each video's own, whatever else is in the batch."""
    draws = [
        torch.randn(tuple(shape), generator=torch.Generator().manual_seed(seed)) for seed in seeds
    ]
    return torch.stack(draws)


def given_kinds(given: Conditions) -> list[str]:
    """Which kinds of conditions can be guided by, in the order in which guidance adds them. The empty
    text that stands beside an image is none of them, so say which by `guidance`."""
    has = {"object": given.object, "image": given.reference, "text": given.text}
    return [
        kind
        for kind in ORDER
        if has[kind] is not None and not (kind == "image" and given.object is not None)
    ]


def guided(
    model: STD4D,
    z: Tensor,
    timesteps: Tensor,
    given: Conditions,
    nothing: Conditions,
    guidance: Mapping[str, float],
) -> Tensor:
    """The prediction [B,C,T,h,w] with a scale for each kind of condition:
    e(none) + sum_k s_k (e(kinds to k) - e(kinds before k)), as Brooks et al. 2023 do for two; for one
    kind classifier-free guidance (Ho and Salimans 2022). All passes are one batch."""
    kinds = [kind for kind in given_kinds(given) if kind in guidance]
    if all(guidance[kind] == 1.0 for kind in kinds):
        return model(z, timesteps, given).prediction
    every = torch.ones(len(z), dtype=torch.bool, device=z.device)
    variants = [given]
    for kind in reversed(kinds):  # the fullest first
        variants.append(variants[-1].without(kind, every, nothing))
    count = len(variants)
    joined = stack(variants)
    out = model(z.repeat(count, 1, 1, 1, 1), timesteps.repeat(count), joined).prediction.chunk(
        count
    )
    prediction = out[-1]
    for place, kind in enumerate(kinds):
        fuller, barer = out[count - 2 - place], out[count - 1 - place]
        prediction = prediction + guidance[kind] * (fuller - barer)
    return prediction


@torch.no_grad()
def denoise(
    model: STD4D,
    schedule: NoiseSchedule,
    noise: Tensor,
    given: Conditions,
    nothing: Conditions,
    *,
    guidance: Mapping[str, float],
    steps: int,
    scheduler: str = "ddim",
    progress: Progress | None = None,
) -> Tensor:
    """Latents [B,C,T,h,w] of `noise` (the same shape, unit variance) under `given`, whose rows are the
    videos; `nothing` is what a condition that is dropped becomes."""
    stepper = solver(schedule, scheduler)
    stepper.set_timesteps(steps, device=noise.device)
    z = noise * stepper.init_noise_sigma
    if progress is not None:
        progress(0, len(stepper.timesteps))
    for done, t in enumerate(stepper.timesteps, start=1):
        at = t.expand(len(z)).to(z.device)
        prediction = guided(model, stepper.scale_model_input(z, t), at, given, nothing, guidance)
        z = stepper.step(prediction.float(), t, z).prev_sample
        if progress is not None:
            progress(done, len(stepper.timesteps))
    return z


def without_text_guidance(given: Conditions, nothing: Conditions) -> Conditions:
    """`given` with the empty text, for a video that is asked for by an image or an object alone."""
    assert nothing.text is not None
    rows = len(next(v for v in (given.reference, given.cameras, given.motion) if v is not None))
    pooled = None if nothing.pooled is None else nothing.pooled.expand(rows, -1)
    return replace(given, text=nothing.text.expand(rows, -1, -1), pooled=pooled)
