"""Losses of the training stages (Sec. 4.1, Eq. 15, Eq. 16).

B videos, T frames, C channels, H W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

Features = Callable[[Tensor], Sequence[Tensor]]


class Total(NamedTuple):
    """A term that only some videos have: its `sum` over so many `videos`, zeros over none. So it is there
    in each part of a batch and on each process, and its mean is that of all videos that have it."""

    sum: Tensor
    videos: int

    def __add__(self, other: Total) -> Total:  # type: ignore[override]
        return Total(self.sum + other.sum, self.videos + other.videos)

    def mean(self) -> Tensor:
        """Over the videos that have it; nan where none has."""
        return self.sum / self.videos


Term = Tensor | Total
Loss = tuple[Tensor, dict[str, Tensor]]  # and its terms, for the log


# L_ldm of Sec. 4.1 and L_cond, Eq. 16. The paper writes the norm for one and its square for the other;
# both are the mean squared error here.
def diffusion_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of `prediction` and `target` (noise or v), both [B,C,T,h,w]."""
    return F.mse_loss(prediction.float(), target.float())


# Eq. 15, first term: L_rec = |I_pred - I_gt|_1
def reconstruction_loss(predicted: Tensor, true: Tensor) -> Tensor:
    """Mean absolute difference of frames [N,3,H,W] in [0,1]."""
    return F.l1_loss(predicted, true)


# Eq. 15, second term: L_perc = sum_l |phi_l(I_pred) - phi_l(I_gt)|^2; each layer's mean is summed, so
# that the weight does not depend on the network's size.
def perceptual_loss(features: Features, predicted: Tensor, true: Tensor) -> Tensor:
    """Sum over the layers of `features` of the mean squared differences of frames [N,3,H,W] in [0,1]."""
    with torch.no_grad():
        target = [layer.detach() for layer in features(true)]
    terms = [F.mse_loss(a, b) for a, b in zip(features(predicted), target, strict=True)]
    return torch.stack(terms).sum()


# Eq. 15, third term: L_temp = |F_t^(t+1) - F_t^(t)|^2, per number and averaged over the units
def smoothness_loss(temporal: Mapping[str, Tensor], frames: int) -> Tensor:
    """Mean squared differences of neighbouring frames of temporal features [B T,C,H,W] by unit."""
    terms = []
    for features in temporal.values():
        video = features.unflatten(0, (-1, frames))
        terms.append(F.mse_loss(video[:, 1:], video[:, :-1]))
    return torch.stack(terms).mean()


# Eq. 15, fourth term: L_align = 1 - <F_s, F_t> / (|F_s| |F_t|), per token, averaged over the units
def alignment_loss(spatial: Sequence[Tensor], temporal: Sequence[Tensor]) -> Tensor:
    """One minus the cosine of spatial and temporal features [B T,C,H,W] of the same layers."""
    terms = [
        1 - F.cosine_similarity(s, t, dim=1).mean() for s, t in zip(spatial, temporal, strict=True)
    ]
    return torch.stack(terms).mean()
