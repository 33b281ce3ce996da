"""The trunk: the UNet3D graph that ModelScopeT2V, VideoMV and diffusers' `UNet3DConditionModel` share.

Its state dict is that model's, name for name and shape for shape, at any size. The difference: it runs in
one or two channels, which train spatial units (ResnetBlock2D, SpatialTransformer; they never mix frames),
temporal units (TemporalConvLayer, TemporalTransformer; they never mix pixels) or both.
B videos, C channels, F frames, H W latent pixels, L tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import noop_context_fn

from orster_cli.diffusion.channels import (
    MERGED,
    SPATIAL,
    TEMPORAL,
    Channel,
    ForwardContext,
    States,
    is_spatial,
)
from orster_cli.diffusion.layers import (
    Resample,
    ResnetBlock2D,
    SpatialTransformer,
    TemporalConvLayer,
    TemporalTransformer,
    TimestepEmbedding,
    sinusoids,
)
from orster_cli.diffusion.precision import FullPrecisionConv2d, as_computed
from orster_cli.diffusion.trunk_config import TrunkConfig

__all__ = ["MERGED", "SPATIAL", "TEMPORAL", "Channel", "Trunk", "is_spatial", "temporal_partner"]


def temporal_partner(spatial: str) -> str:
    """Name of the temporal transformer that follows the transformer `spatial`."""
    return spatial.replace(".attentions.", ".temp_attentions.")


class _Units(nn.Module):
    """Spatial and temporal units in turn: resnet, temporal convolution, transformer, temporal
    transformer. The three kinds of blocks are its subclasses."""

    resnets: nn.ModuleList
    temp_convs: nn.ModuleList
    attentions: nn.ModuleList
    temp_attentions: nn.ModuleList

    def _make(self, cfg: TrunkConfig, widths: Sequence[tuple[int, int]], attended: int) -> None:
        embedding = 4 * cfg.block_out_channels[0]
        groups = cfg.norm_num_groups
        self.resnets = nn.ModuleList(
            [ResnetBlock2D(i, o, embedding, groups, cfg.norm_eps) for i, o in widths]
        )
        self.temp_convs = nn.ModuleList(
            [TemporalConvLayer(o, groups, cfg.temporal_dropout) for _, o in widths]
        )
        head = cfg.attention_head_dim
        self.attentions = nn.ModuleList()
        self.temp_attentions = nn.ModuleList()
        for _, out in widths[:attended]:
            heads = out // head
            context = cfg.cross_attention_dim
            self.attentions.append(SpatialTransformer(out, heads, head, groups, context))
            self.temp_attentions.append(TemporalTransformer(out, heads, head, groups, None))

    def _layer(self, i: int, states: States, ctx: ForwardContext, name: str) -> States:
        return self._attend(i, self._convolve(i, states, ctx), ctx, name)

    def _convolve(self, i: int, states: States, ctx: ForwardContext) -> States:
        out = []
        for channel, x in states:
            resnet = ctx.spatial(channel, self.resnets[i])
            over_time = ctx.temporal(channel, self.temp_convs[i])
            h = self.resnets[i].skip(x) if resnet is None else resnet(x, ctx.embedding)
            out.append((channel, h if over_time is None else over_time(h, ctx.frames)))
        return out

    def _attend(self, i: int, states: States, ctx: ForwardContext, name: str) -> States:
        if i >= len(self.attentions):
            return states
        out = []
        for channel, h in states:
            attention = ctx.spatial(channel, self.attentions[i])
            if attention is not None:
                residual = attention.residual(h, ctx.context)
                h = h + ctx.tap(channel, f"{name}.attentions.{i}", residual)
            attention = ctx.temporal(channel, self.temp_attentions[i])
            if attention is not None:
                residual = attention.residual(h, ctx.frames)
                h = h + ctx.tap(channel, f"{name}.temp_attentions.{i}", residual)
            out.append((channel, h))
        return out


class DownBlock(_Units):
    def __init__(self, cfg: TrunkConfig, width: int, out: int, attended: bool, last: bool) -> None:
        super().__init__()
        widths = [(width if i == 0 else out, out) for i in range(cfg.layers_per_block)]
        self._make(cfg, widths, len(widths) if attended else 0)
        self.downsamplers = None if last else nn.ModuleList([Resample(out, up=False)])

    def forward(
        self, states: States, ctx: ForwardContext, name: str
    ) -> tuple[States, list[States]]:
        skips = []
        for i in range(len(self.resnets)):
            states = ctx.run_layer(self._layer, i, states, ctx, name)
            skips.append(states)
        if self.downsamplers is not None:
            states = [(channel, self.downsamplers[0](x)) for channel, x in states]
            skips.append(states)
        return states, skips


class MidBlock(_Units):
    def __init__(self, cfg: TrunkConfig) -> None:
        super().__init__()
        width = cfg.block_out_channels[-1]
        self._make(cfg, [(width, width)] * 2, 1)

    def forward(self, states: States, ctx: ForwardContext, name: str) -> States:
        states = ctx.run_layer(self._layer, 0, states, ctx, name)
        states = ctx.mix(0, states)
        return ctx.run_layer(self._convolve, 1, states, ctx)


class UpBlock(_Units):
    def __init__(
        self, cfg: TrunkConfig, widths: Sequence[tuple[int, int]], attended: bool, last: bool
    ) -> None:
        super().__init__()
        self._make(cfg, widths, len(widths) if attended else 0)
        self.upsamplers = None if last else nn.ModuleList([Resample(widths[-1][1], up=True)])

    def forward(
        self,
        states: States,
        skips: list[States],
        ctx: ForwardContext,
        name: str,
        size: tuple[int, int] | None,
    ) -> States:
        """`skips`: features that are concatenated before each resnet, in reverse order; `size` [h, w]:
        of the next block's features."""
        for i, skip in zip(range(len(self.resnets)), reversed(skips), strict=True):
            states = ctx.run_layer(self._joined, i, states, skip, ctx, name)
        if self.upsamplers is not None:
            up = self.upsamplers[0]
            states = [(channel, ctx.run_layer(up, x, size)) for channel, x in states]
        return states

    def _joined(
        self, i: int, states: States, skips: States, ctx: ForwardContext, name: str
    ) -> States:
        both = [
            (channel, torch.cat([x, skip], dim=1))
            for (channel, x), (_, skip) in zip(states, skips, strict=True)
        ]
        return self._layer(i, both, ctx, name)


class Trunk(nn.Module):
    """eps(z, t, y): the UNet3D, run in one or more channels."""

    def __init__(self, config: TrunkConfig) -> None:
        super().__init__()
        self.config = cfg = config
        self.checkpointing = False  # recompute each layer in the backward pass
        self.recompute_contexts: Callable[..., Any] = noop_context_fn  # as torch's `context_fn`
        widths, groups = cfg.block_out_channels, cfg.norm_num_groups
        levels = len(widths)
        self.conv_in = FullPrecisionConv2d(cfg.in_channels, widths[0], 3, padding=1)
        self.time_embedding = TimestepEmbedding(widths[0], 4 * widths[0])
        self.transformer_in = TemporalTransformer(
            widths[0], cfg.transformer_in_heads, cfg.attention_head_dim, groups, None
        )
        self.down_blocks = nn.ModuleList(
            [
                DownBlock(cfg, widths[max(i - 1, 0)], widths[i], cfg.attention[i], i == levels - 1)
                for i in range(levels)
            ]
        )
        self.mid_block = MidBlock(cfg)
        self.up_blocks = nn.ModuleList()
        for i in reversed(range(levels)):
            deeper = widths[min(i + 1, levels - 1)]
            shallower = widths[max(i - 1, 0)]
            count = cfg.layers_per_block + 1
            into = [
                (deeper if k == 0 else widths[i]) + (shallower if k == count - 1 else widths[i])
                for k in range(count)
            ]
            pairs = [(width, widths[i]) for width in into]
            self.up_blocks.append(UpBlock(cfg, pairs, cfg.attention[i], i == 0))
        self.conv_norm_out = nn.GroupNorm(groups, widths[0], eps=cfg.norm_eps)
        self.conv_out = FullPrecisionConv2d(widths[0], cfg.out_channels, 3, padding=1)

    def transformer_widths(self) -> dict[str, int]:
        """Channels of each spatial and temporal transformer, whose residuals can be tapped, by name."""
        return {
            name: unit.norm.num_channels
            for name, unit in self.named_modules()
            if isinstance(unit, (SpatialTransformer, TemporalTransformer))
            and name != "transformer_in"
        }

    def unit_names(self) -> tuple[list[str], list[str]]:
        """Names of the spatial and of the temporal transformers."""
        names = list(self.transformer_widths())
        return [n for n in names if is_spatial(n)], [n for n in names if not is_spatial(n)]

    def embed_time(self, timesteps: Tensor) -> Tensor:
        """[B,E] of `timesteps` [B]."""
        waves = sinusoids(timesteps, self.conv_in.out_channels)
        return self.time_embedding(waves.to(self.conv_in.weight.dtype))

    def forward(
        self,
        latents: Mapping[Channel, Tensor],
        timesteps: Tensor,
        context: Tensor,
        *,
        frame_embedding: Tensor | None = None,
        extra_channels: Tensor | None = None,
        input_residual: Tensor | None = None,
        wanted: frozenset[str] = frozenset(),
        bypass: bool = False,
        joint: Sequence[nn.Module] = (),
    ) -> tuple[dict[Channel, Tensor], dict[str, Tensor]]:
        """Predictions [B,O,F,H,W] for `latents` [B,C,F,H,W] of each channel, at `timesteps` [B] under
        `context` [B,L,D]. `frame_embedding` [B,F,E] is added to the time embedding, `extra_channels`
        [B,C',F,H,W] are concatenated to the latents, `input_residual` [B F,C,H,W] is added to the first
        states. `joint`: modules of [B F,C,H,W] and F, the first for the middle block, the second before the
        first up block.

        Each channel runs the whole trunk, units that it does not train with detached parameters; with
        `bypass` only their skip connections remain. Under autocast the predictions are float32.

        Also returns the residuals [B F,C,H,W] of the units in `wanted`, each in the channels that train it,
        by "channel/unit"."""
        batch, _, frames = next(iter(latents.values())).shape[:3]
        per_frame = self.embed_time(timesteps)[:, None].expand(-1, frames, -1)
        if frame_embedding is not None:
            per_frame = per_frame + frame_embedding.to(per_frame)
        recompute = self.checkpointing and torch.is_grad_enabled()
        ctx = ForwardContext(
            frames,
            per_frame.flatten(0, 1),
            context,
            wanted,
            bypass,
            joint,
            recompute,
            self.recompute_contexts,
        )
        states: States = []
        for channel, z in latents.items():
            if extra_channels is not None:
                z = torch.cat([z, extra_channels.to(z)], dim=1)
            x = z.transpose(1, 2).flatten(0, 1).contiguous(memory_format=torch.channels_last)
            x = self.conv_in(x)
            x = x if input_residual is None else x + input_residual
            x = as_computed(x).contiguous(memory_format=torch.channels_last)
            over_time = ctx.temporal(channel, self.transformer_in)
            if over_time is not None:
                residual = ctx.run_layer(over_time.residual, x, frames)
                x = x + ctx.tap(channel, "transformer_in", residual)
            states.append((channel, x))
        skips = [states]
        for i, block in enumerate(self.down_blocks):
            states, more = block(states, ctx, f"down_blocks.{i}")
            skips += more
        states = ctx.mix(1, self.mid_block(states, ctx, "mid_block"))
        for i, block in enumerate(self.up_blocks):
            cut = len(skips) - len(block.resnets)
            size = None if block.upsamplers is None else _size(skips[cut - 1])
            states = block(states, skips[cut:], ctx, f"up_blocks.{i}", size)
            del skips[cut:]
        out = {}
        for channel, x in states:
            h = self.conv_out(F.silu(self.conv_norm_out(x.to(self.conv_norm_out.weight.dtype))))
            out[channel] = h.view(batch, frames, *h.shape[1:]).transpose(1, 2)
        # recomputed layers hold the context: features that they tap again would keep their graphs alive
        taps, ctx.taps, ctx.wanted = ctx.taps, {}, frozenset()
        return out, taps


def _size(states: States) -> tuple[int, int]:
    height, width = states[0][1].shape[-2:]
    return height, width
