"""How much detail the frames of a clip have beside the object's static orbit.

A diffusion model blurs what it is not sure of: limbs that move far, or whole bodies. A fit that takes such
frames at their word gives up limbs for smudges, so they count less. T frames, H W pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from orster_cli.core.compositing import WHITE
from orster_cli.core.types import OrbitClip

# shares of the static orbit's detail. What mini-object's frame VAE alone leaves of it is 0.6 to 0.8; frames
# in which nobody could tell the object have 0.16 to 0.28, recognisable ones 0.3 and more
SMUDGE, SHARP = 0.2, 0.6
COVERED = 0.1  # alpha


def detail(clip: OrbitClip, static: OrbitClip) -> Tensor:
    """[T]: squared differences between neighbouring pixels of a frame, summed, as a share of those of the
    `static` orbit's frame from the nearest camera, 1 where that has none. Both have frames of one size.

    An object that covers less of the frame than at rest, being further away or curled up, has shorter
    edges, so it is compared with as much less. A smudge covers more, and is not."""
    far = torch.cdist(clip.cameras.w2c.flatten(1).double(), static.cameras.w2c.flatten(1).double())
    nearest = far.argmin(dim=1)
    whole = _energy(static)[nearest]
    length = (_covered(clip) / _covered(static)[nearest]).sqrt().clamp(max=1)
    # a white object on white has no detail to lose
    return torch.where(whole > 1e-3, _energy(clip) / (length * whole).clamp_min(1e-6), 1.0)


def _energy(clip: OrbitClip) -> Tensor:
    """[T]"""
    shown = clip.over(torch.full((3,), WHITE))
    steps = (shown.diff(dim=axis).square().flatten(1).sum(dim=1) for axis in (-1, -2))
    return sum(steps, torch.zeros(len(clip)))


def _covered(clip: OrbitClip) -> Tensor:
    """[T]: pixels that the object covers at all, 1 at least."""
    if clip.alpha is None:
        return torch.ones(len(clip))
    return (clip.alpha > COVERED).flatten(1).sum(dim=1).float().clamp_min(1)


def frame_weights(shares: Tensor, least: float) -> Tensor:
    """[T] loss weights of frames with the shares [T] of `detail`: `least` up to `SMUDGE`, 1 from `SHARP`
    on, linear between."""
    return ((shares - SMUDGE) / (SHARP - SMUDGE)).clamp(0, 1) * (1 - least) + least
