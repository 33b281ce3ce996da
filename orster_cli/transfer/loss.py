"""The distillation loss (Eq. 14), and what is measured of it.

B videos, T frames, C channels, H W pixels. Features are [B T,C,H,W].
"""

from __future__ import annotations

from torch import Tensor

SMALLEST_ENERGY = 1e-20  # of centred features, as a divisor


def token_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """|student - teacher| of features [B T,C,H,W]: each token's norm over the channels, divided by
    sqrt(C), averaged over the tokens."""
    squares = (student.float() - teacher.float()).square().mean(dim=1)
    return (squares + 1e-12).sqrt().mean()


# Eq. 14: lambda_o |f_s^4d - f_s| + (1 - lambda_o) |f_t^4d - f_t|
def orster_loss(spatial: Tensor, temporal: Tensor, lambda_o: float) -> Tensor:
    """The weighted sum of the two distances. lambda_o 0 leaves out the spatial term, 1 the temporal one
    (Table 3)."""
    return lambda_o * spatial + (1 - lambda_o) * temporal


def centred_features(features: Tensor, kind: str, frames: int) -> Tensor:
    """[B,T,C,H,W], float32: `features` without the mean of each frame (`kind` "spatial") or of each pixel
    over time ("temporal")."""
    video = features.float().unflatten(0, (-1, frames))
    axes = (3, 4) if kind == "spatial" else (1,)
    return video - video.mean(dim=axes, keepdim=True)


def centred_cosine(student: Tensor, teacher: Tensor, kind: str, frames: int) -> Tensor:
    """Cosine of the centred features of each video, averaged over the videos: how much of what differs
    from pixel to pixel (or, temporal, from moment to moment) the student has. A student that has the means
    alone scores 0; its plain cosine would be about 0.9."""
    s, t = (centred_features(x, kind, frames).flatten(1) for x in (student, teacher))
    energy = s.square().sum(dim=1) * t.square().sum(dim=1)
    return ((s * t).sum(dim=1) / energy.clamp_min(SMALLEST_ENERGY).sqrt()).mean()


def variance_share(target: Tensor, teacher: Tensor, kind: str, frames: int) -> Tensor:
    """Variance of the centred target over that of the centred teacher: what attention leaves of it."""
    kept, whole = (centred_features(x, kind, frames).square().sum() for x in (target, teacher))
    return kept / whole.clamp_min(SMALLEST_ENERGY)
