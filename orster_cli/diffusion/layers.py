"""Layers of the UNet3D trunk, with the parameter names and the arithmetic of diffusers' own.

Spatial units see one frame at a time, temporal units one pixel position at a time. Every unit is residual:
a bypassed one leaves its skip connection.
B videos, F frames, C channels, H W latent pixels, L tokens. Images are [B F,C,H,W].
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from orster_cli.diffusion.cpu_feed_forward import feed_forward, reference
from orster_cli.diffusion.cpu_linear import Linear, is_plain, linear
from orster_cli.diffusion.precision import full_precision

NORM_EPS = 1e-5  # of the temporal convolutions' and layer norms
TRANSFORMER_NORM_EPS = 1e-6
FEW_KEYS = 32
SLOW_ON_CPUS = (torch.bfloat16, torch.float16)  # types of attention's softmax and fused kernel
MOST_ROWS = 65_535  # of a CUDA kernel's batch axis


def sinusoids(timesteps: Tensor, width: int) -> Tensor:
    """[B,width] cosines then sines of `timesteps` [B] (Ho et al. 2020, in diffusers' order), float32."""
    half = width // 2
    steps = torch.arange(half, dtype=torch.float32, device=timesteps.device)
    angles = timesteps.float()[:, None] * torch.exp(-math.log(10_000.0) * steps / half)
    out = torch.cat([angles.cos(), angles.sin()], dim=-1)
    return F.pad(out, (0, width % 2))


class TimestepEmbedding(nn.Module):
    """Linear, SiLU, linear."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.linear_1 = Linear(width, out)
        self.linear_2 = Linear(out, out)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear_2(F.silu(self.linear_1(x)))


class ResnetBlock2D(nn.Module):
    """Spatial unit: two 3x3 convolutions, the time embedding added between them, and a skip connection."""

    def __init__(self, width: int, out: int, embedding: int, groups: int, eps: float) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, width, eps=eps)
        self.conv1 = nn.Conv2d(width, out, 3, padding=1)
        self.time_emb_proj = Linear(embedding, out)
        self.norm2 = nn.GroupNorm(groups, out, eps=eps)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(width, out, 1) if width != out else None

    def skip(self, x: Tensor) -> Tensor:
        """The skip connection, used alone when the unit is bypassed: a shortcut convolution where the
        width changes, else `x`."""
        return x if self.conv_shortcut is None else self.conv_shortcut(x)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """`x` [B F,C,H,W], `embedding` [B F,E]."""
        h = self.conv1(F.silu(self.norm1(x)))
        h = h + self.time_emb_proj(F.silu(embedding))[:, :, None, None]
        return self.skip(x) + self.conv2(F.silu(self.norm2(h)))


class Resample(nn.Module):
    """Half or twice the resolution, frame by frame. It runs in every channel."""

    def __init__(self, width: int, *, up: bool) -> None:
        super().__init__()
        self.up = up
        self.conv = nn.Conv2d(width, width, 3, stride=1 if up else 2, padding=1)

    def forward(self, x: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """`size` (h, w): the size to enlarge to, where halving rounded an odd one; None: twice."""
        if self.up:
            enlarged = {"size": size} if size is not None else {"scale_factor": 2.0}
            x = F.interpolate(x, mode="nearest", **enlarged)
        return self.conv(x)


def tokens_of(x: Tensor) -> Tensor:
    """Images [N,C,H,W] as tokens [N,H W,C]: a view of channels-last memory."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)


def images_of(tokens: Tensor, size: tuple[int, int]) -> Tensor:
    """Tokens [N,H W,C] as channels-last images [N,C,H,W]: a view."""
    return tokens.unflatten(1, size).permute(0, 3, 1, 2)


def clips_of(x: Tensor, frames: int) -> Tensor:
    """Images [B F,C,H,W] as one picture a video, [B,C,F,H W]: a view of channels-last memory."""
    return tokens_of(x).unflatten(0, (-1, frames)).permute(0, 3, 1, 2)


def from_clips(x: Tensor, size: tuple[int, int]) -> Tensor:
    """The inverse of `clips_of`."""
    return images_of(x.permute(0, 2, 3, 1).flatten(0, 1), size)


class TemporalConv(nn.Module):
    """A convolution over three neighbouring frames, with the weight [O,C,3,1,1] of a Conv3d.

    Computed as a Conv2d over frames and pixels: a Conv3d with this kernel takes a slow path on CPUs and
    needs the frames in another layout."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        as_conv = nn.Conv3d(width, out, (3, 1, 1))  # its initialisation
        self.weight = as_conv.weight
        self.bias = as_conv.bias

    def forward(self, x: Tensor) -> Tensor:
        """`x` [B,C,F,H W]; frames outside the video are zero."""
        return F.conv2d(x, self.weight.squeeze(-1), self.bias, padding=(1, 0))


class _NormAct(nn.Sequential):
    """GroupNorm, SiLU, (dropout) and a temporal convolution, numbered as in diffusers."""

    def __init__(self, width: int, out: int, groups: int, dropout: float | None) -> None:
        layers: list[nn.Module] = [nn.GroupNorm(groups, width, eps=NORM_EPS), nn.SiLU()]
        if dropout is not None:
            layers.append(nn.Dropout(dropout))
        super().__init__(*layers, TemporalConv(width, out))

    def forward(self, x: Tensor) -> Tensor:
        """`x` [B,C,F,H W]."""
        h = F.silu(self[0](x))
        if len(self) == 4 and self.training and self[2].p > 0:
            h = self[2](h)
        return self[-1](h)


class TemporalConvLayer(nn.Module):
    """Temporal unit: four convolutions over time, the last of them zero at the start."""

    def __init__(self, width: int, groups: int, dropout: float) -> None:
        super().__init__()
        self.conv1 = _NormAct(width, width, groups, None)
        self.conv2 = _NormAct(width, width, groups, dropout)
        self.conv3 = _NormAct(width, width, groups, dropout)
        self.conv4 = _NormAct(width, width, groups, dropout)
        nn.init.zeros_(self.conv4[-1].weight)
        nn.init.zeros_(self.conv4[-1].bias)

    def forward(self, x: Tensor, frames: int) -> Tensor:
        h = self.conv4(self.conv3(self.conv2(self.conv1(clips_of(x, frames)))))
        return x + from_clips(h, (x.shape[2], x.shape[3]))


def attend(q: Tensor, k: Tensor, v: Tensor, *, products: bool = False) -> Tensor:
    """Attention of [N,heads,T,width] to [N,heads,L,width]. Few keys (the frames of a pixel) on a CPU are
    multiplied directly: the fused kernel costs more per row than that. `products`: always so. A CPU
    computes the softmax in float32, which is four times as quick as in bfloat16, and more exact."""
    wide = torch.float32 if q.dtype in SLOW_ON_CPUS else q.dtype
    if not products:
        if q.device.type != "cpu":
            return attend_by_parts(q, k, v, MOST_ROWS)
        if k.shape[-2] > FEW_KEYS:
            with full_precision(q.device):
                return F.scaled_dot_product_attention(*(x.to(wide) for x in (q, k, v))).to(v.dtype)
    scores = q * q.shape[-1] ** -0.5 @ k.transpose(-1, -2)
    return scores.softmax(dim=-1, dtype=wide).to(v.dtype) @ v


def attend_by_parts(q: Tensor, k: Tensor, v: Tensor, most: int) -> Tensor:
    """Attention of [N,heads,T,width] to [N,heads,L,width] in calls of at most `most` rows: the fused CUDA
    kernels refuse more than `MOST_ROWS`, and a temporal transformer has one for each pixel of a batch."""
    if len(q) <= most:
        return F.scaled_dot_product_attention(q, k, v)
    parts = zip(q.split(most), k.split(most), v.split(most), strict=True)
    return torch.cat([F.scaled_dot_product_attention(*part) for part in parts])


class Attention(nn.Module):
    """Multi-head attention of `x` [N,T,C] to itself, or to `context` [M,L,D] where M divides N: the rows
    of a video share one context, which is projected once."""

    def __init__(self, width: int, heads: int, head_width: int, context: int | None = None) -> None:
        super().__init__()
        inner = heads * head_width
        self.heads = heads
        self.products = False  # as in `attend`; not saved
        self.to_q = Linear(width, inner, bias=False)
        self.to_k = Linear(context or width, inner, bias=False)
        self.to_v = Linear(context or width, inner, bias=False)
        self.to_out = nn.ModuleList([Linear(inner, width)])

    def _split(self, x: Tensor, rows: int) -> Tensor:
        """[N,heads,T,width]; a context of fewer rows is expanded without a copy."""
        x = x.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        if len(x) == rows:
            return x
        shared = x[:, None].expand(-1, rows // len(x), -1, -1, -1)
        return shared.flatten(0, 1)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        rows = len(x)
        if context is None:  # one product instead of three
            together = torch.cat([self.to_q.weight, self.to_k.weight, self.to_v.weight])
            parts = linear(x, together).chunk(3, dim=-1)
        else:
            parts = (self.to_q(x), self.to_k(context), self.to_v(context))
        q, k, v = (self._split(part, rows) for part in parts)
        out = attend(q, k, v, products=self.products)
        return self.to_out[0](out.transpose(1, 2).flatten(2))


class _GatedProjection(nn.Module):
    """Holds the weights under diffusers' name."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.proj = Linear(width, 2 * out)


class FeedForward(nn.Module):
    """GEGLU to four times the width and back."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.net = nn.ModuleList(
            [_GatedProjection(width, 4 * width), nn.Identity(), Linear(4 * width, width)]
        )

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.net[0].proj, self.net[2]
        run = feed_forward if is_plain(x) else reference
        return run(x, first.weight, first.bias, second.weight, second.bias)


class TransformerBlock(nn.Module):
    """Self-attention, attention to `context` (without one: self-attention again), feed-forward."""

    def __init__(self, width: int, heads: int, head_width: int, context: int | None) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=NORM_EPS)
        self.attn1 = Attention(width, heads, head_width)
        self.norm2 = nn.LayerNorm(width, eps=NORM_EPS)
        self.attn2 = Attention(width, heads, head_width, context)
        self.norm3 = nn.LayerNorm(width, eps=NORM_EPS)
        self.ff = FeedForward(width)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        x = x + self.attn1(self.norm1(x))
        x = x + self.attn2(self.norm2(x), context)
        return x + self.ff(self.norm3(x))


class _Transformer(nn.Module):
    def __init__(
        self, width: int, heads: int, head_width: int, groups: int, context: int | None
    ) -> None:
        super().__init__()
        inner = heads * head_width
        self.norm = nn.GroupNorm(groups, width, eps=TRANSFORMER_NORM_EPS)
        self.proj_in = Linear(width, inner)
        self.transformer_blocks = nn.ModuleList(
            [TransformerBlock(inner, heads, head_width, context)]
        )
        self.proj_out = Linear(inner, width)

    def _tokens(self, x: Tensor, context: Tensor | None) -> Tensor:
        x = self.proj_in(x)
        for block in self.transformer_blocks:
            x = block(x, context)
        return self.proj_out(x)


class SpatialTransformer(_Transformer):
    """Spatial unit: attention among the pixels of one frame and to the condition's tokens.

    `residual` is f_s, the feature of the distillation (Sec. 4.2): output minus input."""

    def residual(self, x: Tensor, context: Tensor) -> Tensor:
        """[B F,C,H,W] for `x` of that shape and `context` [B,L,D]."""
        tokens = self._tokens(tokens_of(self.norm(x)), context)
        return images_of(tokens, (x.shape[2], x.shape[3]))


class TemporalTransformer(_Transformer):
    """Temporal unit: attention among the frames of one pixel position.

    `residual` is f_t, the feature of the distillation (Sec. 4.2): output minus input."""

    def residual(self, x: Tensor, frames: int) -> Tensor:
        """[B F,C,H,W] for `x` of that shape."""
        h = self.norm(clips_of(x, frames)).permute(0, 3, 2, 1)  # [B,H W,F,C]
        h = self._tokens(h.flatten(0, 1), None).unflatten(0, (-1, h.shape[1]))
        return from_clips(h.permute(0, 3, 2, 1), (x.shape[2], x.shape[3]))
