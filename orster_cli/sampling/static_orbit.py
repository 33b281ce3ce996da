"""The object at rest of a clip that has none, by a model."""

from __future__ import annotations

from dataclasses import replace

import torch

from orster_cli.core.types import OrbitClip
from orster_cli.sampling.sample_clips import Sampler, SampleRequest


def sample_static_orbit(sampler: Sampler, clip: OrbitClip, *, seed: int) -> OrbitClip:
    """The static orbit of a clip's object from the clip's cameras, sampled from its first view at
    motion 0."""
    side = sampler.bundle.facts.resolution
    first = clip.over()[0]
    resting = Sampler(
        sampler.bundle,
        replace(sampler.cfg, motion=0.0),
        device=sampler.device,
        reporter=sampler.reporter,
    )
    request = SampleRequest(image=first, text=clip.prompt)
    made = next(resting.sample(request, [seed], clip.cameras.resized(side, side)))
    return replace(made.clip, times=torch.zeros(len(made.clip)))
