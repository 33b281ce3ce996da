"""Contact sheets of a model in training.

N frames, T frames of a clip, H W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from orster_cli.config.sample import SampleConfig
from orster_cli.core.reporting import Silent
from orster_cli.diffusion.bundle import WholeBundle
from orster_cli.diffusion.frame_vae import FrameVAE
from orster_cli.io.images import contact_sheet
from orster_cli.sampling.sample_clips import Sampler, SampleRequest

STEPS = 20  # of the sampler: fewer than the default
GUIDANCE = 3.0
CELL = 96  # pixels of a frame on the sheet


def sample_sheet(bundle: WholeBundle, captions: Sequence[str], device: torch.device) -> Tensor:
    """[3,H,W]: a row for each caption, always from the same noise. The model is left in evaluation mode."""
    cfg = SampleConfig(steps=STEPS, guidance_text=GUIDANCE)
    sampler = Sampler(bundle, cfg, device=device, reporter=Silent())
    rows = [
        list(next(sampler.sample(SampleRequest(text=text), [0])).clip.frames) for text in captions
    ]
    return contact_sheet(rows, list(captions), cell=CELL)


@torch.no_grad()
def reconstruction_sheet(vae: FrameVAE, frames: Tensor) -> Tensor:
    """[3,H,W]: `frames` [N,3,H,W] above their reconstructions."""
    vae.vae.eval()
    out = vae.decode(vae.encode(frames)).clamp(0, 1)
    rows = [list(frames.cpu()), list(out.cpu())]
    return contact_sheet(rows, ["frames", "reconstructions"], cell=CELL)
