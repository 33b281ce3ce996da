"""A 4D diffusion as a folder: ``unet/`` opens as diffusers' UNet3DConditionModel, ``std4d/`` holds
what that model has not (cameras, motion, conditions, disentanglement).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from orster_cli.core.errors import InputError
from orster_cli.core.strict_json import parse_json
from orster_cli.diffusion.std4d import STD4D, STD4DConfig
from orster_cli.diffusion.trunk import Trunk, TrunkConfig
from orster_cli.io.sharded import read_sharded, write_sharded

UNET, REST = "unet", "std4d"
UNET_STEM, REST_STEM = "diffusion_pytorch_model", "model"
TRUNK = "trunk."


def create(config: STD4DConfig, seed: int) -> STD4D:
    """A new model; the same for the same seed, whatever was drawn before."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return STD4D(config)


def save(model: STD4D, folder: Path, dtype: torch.dtype | None = None) -> None:
    """Write `model` into `folder`, its weights in `dtype` (None: as they are)."""
    tensors = {n: v if dtype is None else v.to(dtype) for n, v in model.state_dict().items()}
    trunk = {n.removeprefix(TRUNK): v for n, v in tensors.items() if n.startswith(TRUNK)}
    rest = {n: v for n, v in tensors.items() if not n.startswith(TRUNK)}
    write_sharded(folder / UNET, UNET_STEM, trunk)
    _write_json(folder / UNET / "config.json", model.config.trunk.to_diffusers())
    write_sharded(folder / REST, REST_STEM, rest)
    _write_json(folder / REST / "config.json", model.config.to_dict())


def load(folder: Path) -> STD4D:
    """The model that `save` wrote, in float32 on the CPU, in evaluation mode. InputError, ConfigError."""
    value = read_json(folder / REST / "config.json")
    config = STD4DConfig.from_dict(value, where=str(folder / REST / "config.json"))
    tensors = {
        TRUNK + n: v for n, v in read_sharded(folder / UNET, UNET_STEM).items()
    } | read_sharded(folder / REST, REST_STEM)
    with torch.device("meta"):
        model = STD4D(config)
    fill(model, tensors, where=str(folder))
    return model.eval()


def load_trunk(folder: Path) -> Trunk:
    """The trunk of a folder that diffusers' `UNet3DConditionModel.save_pretrained` (or `save`) wrote."""
    config = TrunkConfig.from_diffusers(
        read_json(folder / "config.json"), where=str(folder / "config.json")
    )
    with torch.device("meta"):
        trunk = Trunk(config)
    fill(trunk, read_sharded(folder, UNET_STEM), where=str(folder))
    return trunk.eval()


def fill(module: nn.Module, tensors: Mapping[str, Tensor], *, where: str) -> None:
    """Give a module on the meta device `tensors` as float32 weights; InputError lists names that are
    missing, unexpected or of another shape."""
    wanted = module.state_dict()
    faults = [f"missing {name}" for name in wanted if name not in tensors]
    faults += [f"unexpected {name}" for name in tensors if name not in wanted]
    faults += [
        f"{name}: expected {list(wanted[name].shape)}, got {list(value.shape)}"
        for name, value in tensors.items()
        if name in wanted and wanted[name].shape != value.shape
    ]
    if faults:
        more = f" and {len(faults) - 5} more" if len(faults) > 5 else ""
        raise InputError(f"{where}: not this model's weights: {'; '.join(faults[:5])}{more}")
    float32 = {n: v.float() if v.is_floating_point() else v for n, v in tensors.items()}
    module.load_state_dict(float32, assign=True)


def read_json(path: Path) -> dict[str, Any]:
    """An object; InputError where there is none."""
    if not path.is_file():
        raise InputError(f"{path}: no such file: expected a model's folder there")
    value = parse_json(path.read_text(encoding="utf-8"), where=str(path))
    if not isinstance(value, dict):
        raise InputError(f"{path}: expected an object")
    return value


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
