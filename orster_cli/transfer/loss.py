"""The distillation loss (Eq. 14). B videos, T frames, C channels, H W pixels."""

from __future__ import annotations

from torch import Tensor


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
