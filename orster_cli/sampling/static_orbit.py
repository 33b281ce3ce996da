"""The object at rest of a clip that has none, by a model."""

from __future__ import annotations

from dataclasses import replace

import torch

from orster_cli.core.frames import cut_as, squared
from orster_cli.core.types import OrbitClip
from orster_cli.sampling.sample_clips import Sampler, SampleRequest


def sample_static_orbit(sampler: Sampler, clip: OrbitClip, *, seed: int) -> OrbitClip:
    """The static orbit of a clip's object from the clip's cameras, sampled from its first view at
    motion 0."""
    side, square = sampler.bundle.facts.resolution, squared(clip)
    resting = Sampler(
        sampler.bundle,
        replace(sampler.cfg, motion=0.0),
        device=sampler.device,
        reporter=sampler.reporter,
    )
    request = SampleRequest(image=square.over()[0], text=clip.prompt)
    made = next(resting.sample(request, [seed], square.cameras.resized(side, side)))
    still = replace(made.clip, times=torch.zeros(len(made.clip)))
    return cut_as(still, clip.cameras.width, clip.cameras.height)
