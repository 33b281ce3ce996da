"""Spatial and temporal cross-attention with the joint kernel (Eq. 12-13).

N sets of L tokens (the H W pixels of a frame, or the T frames of a pixel), C channels, d attention width,
B videos.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from orster_cli.diffusion.precision import as_computed, full_precision
from orster_cli.transfer.kernel import JointKernel

SHARPNESS = 6.0  # logit of a token with itself at the start, for L = 1; measured, see PairAttention
LARGEST_CHANGE = 0.25  # of a target against the teacher, in units of the teacher's centred norm
MOST_SETS = 32_768  # a call of a fused kernel: some put the sets on a grid axis of 65,535
ALIGNED = 8  # numbers in 16 bytes of half precision: CUDA's fused kernels read no other widths
SMALLEST_NORM = 1e-4  # of a centred token, for directions

Pair = tuple[Tensor, Tensor]  # of standardised features: the 3D teacher's and the video teacher's


def centred(tokens: Tensor) -> Tensor:
    """Tokens [N,L,C] without the mean of their set."""
    return tokens - tokens.mean(dim=1, keepdim=True)


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q k^T) v [N,L,C] for q and k [N,L,D] and v [N,L,C].

    Memory: a few times N L (C + D) numbers, whatever L. Where L <= D the table of scores is no larger than
    q; beyond it a fused kernel is used, which keeps none. For that one all are padded with zeros to one
    width, a multiple of `ALIGNED`: a CPU and a GPU would fall back to the table."""
    if q.shape[1] <= q.shape[2]:
        return torch.einsum("nij,njc->nic", torch.einsum("nid,njd->nij", q, k).softmax(-1), v)
    width = -(-max(q.shape[-1], v.shape[-1]) // ALIGNED) * ALIGNED
    wide = (F.pad(x, (0, width - x.shape[-1]))[:, None].split(MOST_SETS) for x in (q, k, v))
    parts = zip(*wide, strict=True)
    out = [F.scaled_dot_product_attention(*part, scale=1.0)[:, 0] for part in parts]
    return torch.cat(out)[..., : v.shape[-1]]


class PairAttention(nn.Module):
    """softmax(q_i k_j / sqrt(d) + log kappa_ij) over the tokens of a set; values are the features.

    Queries and keys are projections of the tokens without the mean of their set, scaled to one norm, times
    a learned factor. Both projections start as the same orthogonal one, so each token starts to attend to
    itself and to tokens like it. Without the scaling, tokens of large norm win: on features of a trained
    model the variance is kept, but it is that of other tokens. The factor grows with log L, so that
    many unlike tokens do not outweigh the token itself.

    Deviation from the paper: the output is f + gamma (f_bar - f), gamma <= 1, never farther from the
    teacher than `LARGEST_CHANGE` times the teacher's centred norm. Eq. 14 trains the attention too, and
    a constant target is the easiest to match: without the bound 200 steps leave 10 to 20 % of the
    variance. With it at least (1 - LARGEST_CHANGE)^2 = 56 % is left, whatever is learned. Inside the
    bound gamma is 1, and Eq. 12-13 are the paper's."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.query = nn.Linear(channels, width, bias=False)
        self.key = nn.Linear(channels, width, bias=False)
        nn.init.orthogonal_(self.query.weight)
        with torch.no_grad():
            self.key.weight.copy_(self.query.weight)
        self.log_sharpness = nn.Parameter(torch.zeros(()))

    def forward(self, tokens: Tensor, kernel: JointKernel | None, pair: Pair | None) -> Tensor:
        """[N,L,C] of `tokens` [N,L,C], near them. `pair`: both teachers' standardised tokens [N,L,C], for
        `kernel`. Without a kernel (Table 3): queries and keys alone."""
        return within_reach(self.average(tokens, kernel, pair), tokens)

    # Eq. 12-13
    def average(self, tokens: Tensor, kernel: JointKernel | None, pair: Pair | None) -> Tensor:
        """f_bar [N,L,C], before it is pulled back."""
        rest = as_computed(centred(tokens))  # one copy for both projections
        queries, keys = (
            F.normalize(project(rest).float(), dim=-1, eps=SMALLEST_NORM)
            for project in (self.query, self.key)
        )
        with full_precision(tokens.device):  # kappa's logarithm needs float32
            sharpness = (SHARPNESS + math.log(tokens.shape[1])) * self.log_sharpness.exp()
            queries = sharpness * queries
            if kernel is not None and pair is not None:
                more = kernel.pair_factors(*pair)
                queries, keys = (
                    torch.cat(both, dim=-1) for both in zip((queries, keys), more, strict=True)
                )
            return attend(queries, keys, tokens)


def within_reach(target: Tensor, teacher: Tensor) -> Tensor:
    """`target` [N,L,C], moved towards `teacher` [N,L,C] where it is farther from it than `LARGEST_CHANGE`
    times the norm of the set's centred teacher features."""
    change = target - teacher
    distance = (change.square().sum(dim=(1, 2), keepdim=True) + 1e-12).sqrt()
    reach = LARGEST_CHANGE * centred(teacher).square().sum(dim=(1, 2), keepdim=True).sqrt()
    return teacher + (reach / distance).clamp_max(1.0) * change


class TokenAttention(nn.Module):
    """Eq. 12-13 with one kappa per token (ablation): queries from the features, keys kappa_j projected
    from 1 to d channels. These keys have rank one: attention starts uniform, and the target is the mean
    of the set. On features of a trained model less than 0.1 % of the centred variance is left."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.query = nn.Linear(channels, width, bias=False)
        self.key = nn.Linear(1, width, bias=False)

    def forward(self, tokens: Tensor, kernel: JointKernel | None, pair: Pair | None) -> Tensor:
        """[N,L,C] of `tokens` [N,L,C]; `pair` as for `PairAttention`."""
        assert kernel is not None
        assert pair is not None
        keys = self.key(kernel.log_kappa(*pair).exp()[..., None].to(tokens))
        # one head: fused kernels need four dimensions, and plain products would keep L x L weights
        parts = (x[:, None] for x in (self.query(tokens), keys, tokens))
        return F.scaled_dot_product_attention(*parts)[:, 0]


KernelAttention = PairAttention | TokenAttention


def spatial_attention(
    attention: KernelAttention,
    features: Tensor,
    kernel: JointKernel | None,
    pair: Pair | None,
) -> Tensor:
    """Eq. 12 for `features` [B T,C,H,W]: among the pixels of each frame. `pair`: the standardised features
    [B T,C,H,W] of the 3D and of the video teacher, for `kernel`."""

    def tokens(x: Tensor) -> Tensor:
        return x.flatten(2).transpose(1, 2)

    out = attention(tokens(features), kernel, pair and (tokens(pair[0]), tokens(pair[1])))
    return out.transpose(1, 2).reshape(features.shape)


def temporal_attention(
    attention: KernelAttention,
    features: Tensor,
    kernel: JointKernel | None,
    pair: Pair | None,
    frames: int,
) -> Tensor:
    """Eq. 13 for `features` [B T,C,H,W]: among the frames of each pixel; `pair` as above."""

    def tokens(x: Tensor) -> Tensor:
        return x.unflatten(0, (-1, frames)).permute(0, 3, 4, 1, 2).flatten(0, 2)  # [B H W,T,C]

    out = attention(tokens(features), kernel, pair and (tokens(pair[0]), tokens(pair[1])))
    video = out.unflatten(0, (-1, *features.shape[2:]))  # [B,H,W,T,C]
    return video.permute(0, 3, 4, 1, 2).reshape(features.shape)
