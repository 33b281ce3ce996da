"""ST-HexPlane: a HexPlane that attends to the transferred priors (Eq. 8-9).

N points, F features of the HexPlane, M tokens of a prior with P channels each, A output width of the
attention.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from orster_cli.splatting.cpu_attention import attend
from orster_cli.splatting.hexplane import HexPlane

MAX_TOKENS = 128  # per prior: every step computes attention for every Gaussian


def pool_tokens(features: Tensor, limit: int = MAX_TOKENS) -> Tensor:
    """[M,P] -> [min(M, limit),P] by averaging neighbouring tokens, in order."""
    if features.ndim != 2 or not len(features):
        raise ValueError(f"pool_tokens: expected [M,P] with M > 0, got {list(features.shape)}")
    if len(features) <= limit:
        return features
    return torch.nn.functional.adaptive_avg_pool1d(features.T[None], limit)[0].T.contiguous()


# Eq. 8: V^{s/t} = Attn(D(x, y, z, t), O^{s/t}, O^{s/t})
class PriorAttention(nn.Module):
    """V = Attn(D, O, O): each point's feature attends to the tokens of one prior (Eq. 8).

    The tokens O [M,P] are fixed. They are normalised per token, because the networks that produce them
    differ in scale. Q, K and V are learned linear projections; the paper has none, but D and O differ
    in width.
    """

    tokens: Tensor

    def __init__(self, features: int, tokens: Tensor, width: int) -> None:
        super().__init__()
        if tokens.ndim != 2 or not 1 <= len(tokens) <= MAX_TOKENS:
            raise ValueError(
                f"PriorAttention: expected 1 to {MAX_TOKENS} tokens [M,P], got "
                f"{list(tokens.shape)}; reduce them with pool_tokens"
            )
        channels = tokens.shape[1]
        normalised = torch.nn.functional.layer_norm(tokens.detach().float(), (channels,))
        self.register_buffer("tokens", normalised)
        self.query = nn.Linear(features, width)
        self.key = nn.Linear(channels, width)
        self.value = nn.Linear(channels, width)

    def forward(self, features: Tensor) -> Tensor:
        """[N,F] -> [N,A]."""
        if features.device.type == "cpu" and features.dtype == torch.float32 and len(features):
            keys = self.key(self.tokens) / self.query.out_features**0.5
            scores, bias = keys @ self.query.weight, keys @ self.query.bias
            return attend(features, scores, bias, self.value(self.tokens))
        return torch.nn.functional.scaled_dot_product_attention(
            self.query(features)[None, None],
            self.key(self.tokens)[None, None],
            self.value(self.tokens)[None, None],
        )[0, 0]


# Eq. 9: the input of the heads, [V^s; V^t]
class STHexPlane(nn.Module):
    """[D; V^s; V^t] of points in space and time (Eq. 8-9); a prior of None is left out.

    `spatial` [M,P] are the tokens of O^s, `temporal` those of O^t. Equation 9 has [V^s; V^t] alone; D
    is concatenated here, so that detail finer than the priors reaches the heads and the field works
    without priors.
    """

    def __init__(
        self,
        planes: HexPlane,
        *,
        spatial: Tensor | None = None,
        temporal: Tensor | None = None,
        width: int = 32,
    ) -> None:
        super().__init__()
        features = planes.config.features
        self.planes = planes
        self.spatial = None if spatial is None else PriorAttention(features, spatial, width)
        self.temporal = None if temporal is None else PriorAttention(features, temporal, width)
        self.features = features + width * ((spatial is not None) + (temporal is not None))

    def forward(self, points: Tensor, t: float) -> Tensor:
        """[N, features] at `points` [N,3] and time `t` in [0,1]."""
        d = self.planes(points, t)
        priors = [prior(d) for prior in (self.spatial, self.temporal) if prior is not None]
        return torch.cat([d, *priors], dim=-1) if priors else d
