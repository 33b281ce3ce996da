"""A 4D diffusion as a folder: ``unet/`` opens as diffusers' UNet3DConditionModel, or as its
I2VGenXLUNet where the backbone has an image branch; ``std4d/`` holds the rest (cameras, motion,
conditions, disentanglement, joint attention). A trunk whose first transformer has other heads than
diffusers' opens in neither: its ``unet/config.json`` names a class of ours.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from orster_cli.core.errors import ConfigError
from orster_cli.core.strict_json import read_object
from orster_cli.diffusion.image_branch import unet_config
from orster_cli.diffusion.std4d import STD4D, STD4DConfig
from orster_cli.io.sharded import read_sharded, write_sharded
from orster_cli.io.tensors import fill_module, without_weights
from orster_cli.io.whole_numbers import in_type

UNET, REST = "unet", "std4d"
UNET_STEM, REST_STEM = "diffusion_pytorch_model", "model"
TRUNK, BRANCH = "trunk.", "image_branch."
REFERENCE = "reference_in.weight"


def create(config: STD4DConfig, seed: int) -> STD4D:
    """A new model; equal for equal seeds, whatever the global random state."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return STD4D(config)


def save(model: STD4D, folder: Path, dtype: torch.dtype | None = None) -> None:
    """Write `model` into `folder`, its weights in `dtype` (`io.whole_numbers`; None: unchanged)."""
    tensors = in_type(model.state_dict(), dtype)
    unet = {
        n.removeprefix(TRUNK).removeprefix(BRANCH): v
        for n, v in tensors.items()
        if n.startswith((TRUNK, BRANCH))
    }
    rest = {n: v for n, v in tensors.items() if not n.startswith((TRUNK, BRANCH))}
    save_parts(model.config, unet, rest, folder)


def save_parts(
    config: STD4DConfig, unet: Mapping[str, Tensor], rest: Mapping[str, Tensor], folder: Path
) -> None:
    """Write `unet` (the backbone: trunk and image branch, by diffusers' names) and `rest` into `folder`.
    One shard is in memory at a time where `unet` is mapped to a file."""
    write_sharded(folder / UNET, UNET_STEM, unet)
    diffusers = (
        config.trunk.to_diffusers() if config.image_fps is None else unet_config(config.trunk)
    )
    _write_json(folder / UNET / "config.json", diffusers)
    write_sharded(folder / REST, REST_STEM, rest)
    _write_json(folder / REST / "config.json", config.to_dict())


def new_rest(config: STD4DConfig, seed: int) -> dict[str, Tensor]:
    """The tensors of a new model without its backbone and without joint attention. They depend on the
    trunk's first width, context and channels only, so no large trunk is made."""
    assert not config.joint_attention
    shallow = replace(
        config.trunk,
        block_out_channels=config.trunk.block_out_channels[:1],
        attention=(False,),
        layers_per_block=1,
    )
    state = create(replace(config, trunk=shallow), seed).state_dict()
    return {name: value for name, value in state.items() if not name.startswith((TRUNK, BRANCH))}


def load(folder: Path, *, empty: bool = False) -> STD4D:
    """The model that `save` wrote, in float32 on the CPU, in evaluation mode; `empty`: on the meta
    device, without weights. InputError, ConfigError."""
    value = read_object(folder / REST / "config.json")
    config = STD4DConfig.from_dict(value, where=str(folder / REST / "config.json"))
    if empty:
        return on_meta(config)
    unet, rest = read_sharded(folder / UNET, UNET_STEM), read_sharded(folder / REST, REST_STEM)
    return assemble(config, unet, rest, where=str(folder))


def assemble(
    config: STD4DConfig, unet: Mapping[str, Tensor], rest: Mapping[str, Tensor], *, where: str
) -> STD4D:
    """The inverse of `save_parts`: a model of `config` from its tensors. InputError for missing,
    unexpected or misshapen ones."""
    model = on_meta(config)
    branch = set() if model.image_branch is None else set(model.image_branch.state_dict())
    tensors = {(BRANCH if n in branch else TRUNK) + n: v for n, v in unet.items()}
    fill_module(model, {**tensors, **rest}, where=where)
    return model


def on_meta(config: STD4DConfig) -> STD4D:
    """A model without weights, in evaluation mode."""
    with without_weights():
        return STD4D(config).eval()


def start_from(base: STD4D, config: STD4DConfig, seed: int) -> STD4D:
    """A new model of `config` with the weights of `base` where names and shapes agree (the whole trunk).
    Parameters absent from `base` keep their initial values, and so do the channels of a reference's mask
    that it lacks: zeros, which change nothing. ConfigError: the trunks differ in size."""
    if base.config.trunk != config.trunk:
        raise ConfigError("the trunk to start from is of another size than the model's")
    model = create(config, seed)
    own, other = model.state_dict(), base.state_dict()
    fitting = {n: v for n, v in other.items() if n in own and own[n].shape == v.shape}
    model.load_state_dict(fitting, strict=False)
    if config.reference_mask and not base.config.reference_mask:
        reference = other[REFERENCE]
        own[REFERENCE][:, : reference.shape[1]].copy_(reference)
    return model


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
