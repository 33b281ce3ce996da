"""The trunk: the UNet3D graph that ModelScopeT2V, VideoMV and diffusers' `UNet3DConditionModel` share.

Its state dict is that model's, name for name and shape for shape, at any size. What is new is that its
units are told apart: spatial units (ResnetBlock2D, SpatialTransformer) never mix frames, temporal units
(TemporalConvLayer, TemporalTransformer) never mix pixels, and a pass names the units that act.
B videos, C channels, F frames, H W latent pixels, L tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint, noop_context_fn

from orster_cli.diffusion.layers import (
    Resample,
    ResnetBlock2D,
    SpatialTransformer,
    TemporalConvLayer,
    TemporalTransformer,
    TimestepEmbedding,
    sinusoids,
)
from orster_cli.diffusion.trunk_config import TrunkConfig

ENTRY_HEADS = 8  # of `transformer_in`, at every size


@dataclass(frozen=True)
class Channel:
    """Which units act in one stream of features. Bypassed units keep their skip paths."""

    name: str
    spatial: bool
    temporal: bool


MERGED = Channel("merged", spatial=True, temporal=True)
# Eq. 3: Z_{t-1}^S = eps^S(Z_t^S, t); the scheduler does the step, on the fused prediction
SPATIAL = Channel("spatial", spatial=True, temporal=False)
# Eq. 4: Z_{t-1}^T = eps^T(Z_t^T, t)
TEMPORAL = Channel("temporal", spatial=False, temporal=True)


def is_spatial(transformer: str) -> bool:
    """Whether a transformer's name is that of a spatial one."""
    return ".attentions." in transformer


def temporal_beside(spatial: str) -> str:
    """Name of the temporal transformer that follows the spatial one of that name."""
    return spatial.replace(".attentions.", ".temp_attentions.")


def by_unit(taps: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Residuals by "channel/unit" as residuals by unit."""
    return {name.partition("/")[2]: value for name, value in taps.items()}


@dataclass
class Pass:
    """One run through the trunk: what all streams share, and the features that are kept.

    `taps` maps "channel/unit" to the residual [B F,C,H,W] of the units whose names are in `wanted`."""

    frames: int
    embedding: Tensor  # [B F,E]
    context: Tensor  # [B,L,D]
    wanted: frozenset[str] = frozenset()
    recompute: bool = False  # in the backward pass, one layer at a time
    recompute_contexts: Callable[..., Any] = noop_context_fn
    taps: dict[str, Tensor] = field(default_factory=dict)

    def through(self, layer: Callable[..., Any], *given: Any) -> Any:
        if self.recompute:
            return checkpoint(
                layer, *given, use_reentrant=False, context_fn=self.recompute_contexts
            )
        return layer(*given)

    def keep(self, channel: Channel, unit: str, residual: Tensor) -> Tensor:
        if unit in self.wanted:
            self.taps[f"{channel.name}/{unit}"] = residual
        return residual


Streams = list[tuple[Channel, Tensor]]


class _Units(nn.Module):
    """Spatial and temporal units in turn: resnet, temporal convolution, transformer, temporal
    transformer. Subclassed for the three kinds of blocks."""

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

    def _layer(self, i: int, streams: Streams, run: Pass, name: str) -> Streams:
        return self._attend(i, self._convolve(i, streams, run), run, name)

    def _convolve(self, i: int, streams: Streams, run: Pass) -> Streams:
        out = []
        for channel, x in streams:
            h = self.resnets[i](x, run.embedding) if channel.spatial else self.resnets[i].skip(x)
            out.append((channel, self.temp_convs[i](h, run.frames) if channel.temporal else h))
        return out

    def _attend(self, i: int, streams: Streams, run: Pass, name: str) -> Streams:
        if i >= len(self.attentions):
            return streams
        out = []
        for channel, h in streams:
            if channel.spatial:
                residual = self.attentions[i].residual(h, run.context)
                h = h + run.keep(channel, f"{name}.attentions.{i}", residual)
            if channel.temporal:
                residual = self.temp_attentions[i].residual(h, run.frames)
                h = h + run.keep(channel, f"{name}.temp_attentions.{i}", residual)
            out.append((channel, h))
        return out


class DownBlock(_Units):
    def __init__(self, cfg: TrunkConfig, width: int, out: int, attended: bool, last: bool) -> None:
        super().__init__()
        widths = [(width if i == 0 else out, out) for i in range(cfg.layers_per_block)]
        self._make(cfg, widths, len(widths) if attended else 0)
        self.downsamplers = None if last else nn.ModuleList([Resample(out, up=False)])

    def forward(self, streams: Streams, run: Pass, name: str) -> tuple[Streams, list[Streams]]:
        kept = []
        for i in range(len(self.resnets)):
            streams = run.through(self._layer, i, streams, run, name)
            kept.append(streams)
        if self.downsamplers is not None:
            streams = [(channel, self.downsamplers[0](x)) for channel, x in streams]
            kept.append(streams)
        return streams, kept


class MidBlock(_Units):
    def __init__(self, cfg: TrunkConfig) -> None:
        super().__init__()
        width = cfg.block_out_channels[-1]
        self._make(cfg, [(width, width)] * 2, 1)

    def forward(self, streams: Streams, run: Pass, name: str) -> Streams:
        streams = run.through(self._layer, 0, streams, run, name)
        return run.through(self._convolve, 1, streams, run)


class UpBlock(_Units):
    def __init__(
        self, cfg: TrunkConfig, widths: Sequence[tuple[int, int]], attended: bool, last: bool
    ) -> None:
        super().__init__()
        self._make(cfg, widths, len(widths) if attended else 0)
        self.upsamplers = None if last else nn.ModuleList([Resample(widths[-1][1], up=True)])

    def forward(
        self,
        streams: Streams,
        kept: list[Streams],
        run: Pass,
        name: str,
        size: tuple[int, int] | None,
    ) -> Streams:
        """`kept`: what lies beside each resnet, the last first; `size` is what the next block's
        features measure."""
        for i, beside in zip(range(len(self.resnets)), reversed(kept), strict=True):
            streams = run.through(self._joined, i, streams, beside, run, name)
        if self.upsamplers is not None:
            up = self.upsamplers[0]
            streams = [(channel, run.through(up, x, size)) for channel, x in streams]
        return streams

    def _joined(self, i: int, streams: Streams, beside: Streams, run: Pass, name: str) -> Streams:
        both = [
            (channel, torch.cat([x, skip], dim=1))
            for (channel, x), (_, skip) in zip(streams, beside, strict=True)
        ]
        return self._layer(i, both, run, name)


class Trunk(nn.Module):
    """eps(z, t, y): the UNet3D, in one or several channels at once."""

    def __init__(self, config: TrunkConfig) -> None:
        super().__init__()
        self.config = cfg = config
        self.checkpointing = False  # recompute each layer in the backward pass
        self.recompute_contexts: Callable[..., Any] = noop_context_fn  # as torch's `context_fn`
        widths, groups = cfg.block_out_channels, cfg.norm_num_groups
        levels = len(widths)
        self.conv_in = nn.Conv2d(cfg.in_channels, widths[0], 3, padding=1)
        self.time_embedding = TimestepEmbedding(widths[0], 4 * widths[0])
        self.transformer_in = TemporalTransformer(
            widths[0], ENTRY_HEADS, cfg.attention_head_dim, groups, None
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
        self.conv_out = nn.Conv2d(widths[0], cfg.out_channels, 3, padding=1)

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
        added: Tensor | None = None,
        beside: Tensor | None = None,
        entry: Tensor | None = None,
        wanted: frozenset[str] = frozenset(),
    ) -> tuple[dict[Channel, Tensor], dict[str, Tensor]]:
        """Predictions [B,O,F,H,W] for `latents` [B,C,F,H,W], one of each channel that is given, at
        `timesteps` [B] under `context` [B,L,D]; `added` [B,F,E] is added to the time embedding,
        `beside` [B,C',F,H,W] are further channels of the latents, `entry` [B F,C,H,W] is added to the
        first features.

        Returns also the residuals [B F,C,H,W] of the units in `wanted`, by "channel/unit" names."""
        some = next(iter(latents.values()))
        batch, _, frames = some.shape[:3]
        per_frame = self.embed_time(timesteps)[:, None].expand(-1, frames, -1)
        if added is not None:
            per_frame = per_frame + added.to(per_frame)
        recompute = self.checkpointing and torch.is_grad_enabled()
        run = Pass(frames, per_frame.flatten(0, 1), context, wanted, recompute)
        run.recompute_contexts = self.recompute_contexts
        streams: Streams = []
        for channel, own in latents.items():
            z = own if beside is None else torch.cat([own, beside.to(own)], dim=1)
            x = z.transpose(1, 2).flatten(0, 1).contiguous(memory_format=torch.channels_last)
            x = self.conv_in(x)
            x = (x if entry is None else x + entry).contiguous(memory_format=torch.channels_last)
            if channel.temporal:
                residual = run.through(self.transformer_in.residual, x, frames)
                x = x + run.keep(channel, "transformer_in", residual)
            streams.append((channel, x))
        kept = [streams]
        for i, block in enumerate(self.down_blocks):
            streams, more = block(streams, run, f"down_blocks.{i}")
            kept += more
        streams = self.mid_block(streams, run, "mid_block")
        for i, block in enumerate(self.up_blocks):
            cut = len(kept) - len(block.resnets)
            size = None if block.upsamplers is None else _size(kept[cut - 1])
            streams = block(streams, kept[cut:], run, f"up_blocks.{i}", size)
            del kept[cut:]
        out = {}
        for channel, x in streams:
            h = self.conv_out(F.silu(self.conv_norm_out(x)))
            out[channel] = h.view(batch, frames, *h.shape[1:]).transpose(1, 2)
        # layers that are recomputed hold `run`: what they tapped again would keep their graphs alive
        taps, run.taps, run.wanted = run.taps, {}, frozenset()
        return out, taps


def _size(streams: Streams) -> tuple[int, int]:
    height, width = streams[0][1].shape[-2:]
    return height, width
