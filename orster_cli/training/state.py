"""The state of training as named tensors, on one process or gathered from many."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)

from orster_cli.training.best import Best
from orster_cli.training.ema import Ema

_WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)  # on the first process alone
_EVERYWHERE = StateDictOptions(full_state_dict=True)
_SPREAD = StateDictOptions(full_state_dict=True, broadcast_from_rank0=False)
_MODEL, _MOMENTS, _AVERAGE, _BEST = "model/", "moments/", "average/", "best/"


def state_of(
    model: nn.Module, optimizer: torch.optim.Optimizer, ema: Ema | None, best: Best | None = None
) -> dict[str, Tensor]:
    """Weights and buffers, the optimizer's moments by parameter, the averaged and the kept weights. Where
    parameters are sharded over processes all of them must call; the first gets the full tensors."""
    tensors = {_MODEL + n: v for n, v in get_model_state_dict(model, options=_WHOLE).items()}
    moments = get_optimizer_state_dict(model, optimizer, options=_WHOLE).get("state", {})
    for name, values in moments.items():
        for kind, value in values.items():
            tensors[f"{_MOMENTS}{name}/{kind}"] = torch.as_tensor(value)
    if ema is not None:
        tensors |= {_AVERAGE + n: v for n, v in ema.values.items()}
    if best is not None:
        tensors |= {_BEST + n: v for n, v in best.tensors().items()}
    return tensors


def load_state(
    tensors: dict[str, Tensor],
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    ema: Ema | None,
    best: Best | None = None,
) -> None:
    """The inverse of `state_of`."""

    def part(prefix: str) -> dict[str, Tensor]:
        return {n.removeprefix(prefix): v for n, v in tensors.items() if n.startswith(prefix)}

    set_model_state_dict(model, part(_MODEL), options=_SPREAD)
    fresh = get_optimizer_state_dict(model, optimizer, options=_EVERYWHERE)
    # a parameter that no step has used has no moments yet: they start at zero
    moments = {
        name: {kind: torch.zeros_like(torch.as_tensor(value)) for kind, value in kinds.items()}
        for name, kinds in fresh["state"].items()
    }
    for name, value in part(_MOMENTS).items():
        parameter, _, kind = name.rpartition("/")
        moments[parameter][kind] = value
    set_optimizer_state_dict(
        model,
        optimizer,
        {"state": moments, "param_groups": fresh["param_groups"]},
        options=_SPREAD,
    )
    if ema is not None:
        ema.load(part(_AVERAGE))
    if best is not None:
        best.load(part(_BEST))
