"""The channels of a forward pass (Eq. 3-4): which of the trunk's units run in each, and which learn.

B videos, C channels, F frames, H W latent pixels, L tokens, D context width, E embedding width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint, noop_context_fn


@dataclass(frozen=True)
class Channel:
    """A pass through the trunk, and whose parameters it trains: the spatial units', the temporal units' or
    both. Units that it does not train run with detached parameters, or are bypassed
    (`ForwardContext.bypass`). Shared layers learn from every channel."""

    name: str
    spatial: bool
    temporal: bool

    def owns(self, transformer: str) -> bool:
        """Whether it trains the transformer of that name."""
        return self.spatial if is_spatial(transformer) else self.temporal


MERGED = Channel("merged", spatial=True, temporal=True)
# Eq. 3: Z_{t-1}^S = eps^S(Z_t^S, t); the scheduler does the step, on the fused prediction
SPATIAL = Channel("spatial", spatial=True, temporal=False)
# Eq. 4: Z_{t-1}^T = eps^T(Z_t^T, t)
TEMPORAL = Channel("temporal", spatial=False, temporal=True)


def is_spatial(transformer: str) -> bool:
    """Whether this is the name of a spatial transformer (else of a temporal one)."""
    return ".attentions." in transformer


def by_unit(taps: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Residuals by "channel/unit" as residuals by unit."""
    return {name.partition("/")[2]: value for name, value in taps.items()}


def detached(module: nn.Module) -> nn.Module:
    """A module that computes what `module` does with its present parameters and sends gradients to its
    inputs, never to the parameters. They share memory; nothing is copied.

    `torch.func.functional_call` does the same in seven times the time."""
    twin = module.__class__.__new__(module.__class__)
    parameters = {n: None if p is None else p.detach() for n, p in module._parameters.items()}
    children = {n: None if m is None else detached(m) for n, m in module._modules.items()}
    twin.__dict__.update(module.__dict__, _parameters=parameters, _modules=children)
    return twin


States = list[tuple[Channel, Tensor]]  # features [B F,C,H,W] of each channel


@dataclass
class ForwardContext:
    """What all channels of one forward pass share, and the features that it collects.

    `bypass`: of units that a channel does not train only skip connections remain. `joint`: modules that
    mix all tokens of a clip at the coarsest level. `taps`: the residual [B F,C,H,W] of each unit in
    `wanted`, in the channel that trains it, by "channel/unit"."""

    frames: int
    embedding: Tensor  # [B F,E]
    context: Tensor  # [B,L,D]
    wanted: frozenset[str] = frozenset()
    bypass: bool = False
    joint: Sequence[nn.Module] = ()
    recompute: bool = False  # each layer in the backward pass
    recompute_contexts: Callable[..., Any] = noop_context_fn
    taps: dict[str, Tensor] = field(default_factory=dict)
    twins: dict[nn.Module, nn.Module] = field(default_factory=dict)

    def run_layer(self, layer: Callable[..., Any], *args: Any) -> Any:
        """`layer(*args)`, its activations kept or recomputed."""
        if self.recompute:
            return checkpoint(layer, *args, use_reentrant=False, context_fn=self.recompute_contexts)
        return layer(*args)

    def spatial(self, channel: Channel, unit: nn.Module) -> Any:
        """The spatial `unit` as `channel` runs it; None: bypassed."""
        return self._unit(channel.spatial, unit)

    def temporal(self, channel: Channel, unit: nn.Module) -> Any:
        """The temporal `unit` as `channel` runs it; None: bypassed."""
        return self._unit(channel.temporal, unit)

    def _unit(self, trained: bool, unit: nn.Module) -> nn.Module | None:
        if trained:
            return unit
        if self.bypass:
            return None
        if not torch.is_grad_enabled():
            return unit
        if unit not in self.twins:
            self.twins[unit] = detached(unit)
        return self.twins[unit]

    def mix(self, i: int, states: States) -> States:
        """`states` after the `i`-th of the `joint` modules, if there is one."""
        if i >= len(self.joint):
            return states
        return [(c, self.run_layer(self.joint[i], x, self.frames)) for c, x in states]

    def tap(self, channel: Channel, unit: str, residual: Tensor) -> Tensor:
        """`residual` itself, collected where it is wanted."""
        if unit in self.wanted and channel.owns(unit):
            self.taps[f"{channel.name}/{unit}"] = residual
        return residual
