"""An asset on disk: `canonical.ply` (3DGS layout), `motion.safetensors`, `asset.json`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from orster_cli.core.errors import InputError
from orster_cli.core.strict_json import read_json
from orster_cli.io.ply import read_ply, write_ply
from orster_cli.io.tensors import read_tensors, write_tensors
from orster_cli.splatting.deformation import DeformationConfig, DeformationField
from orster_cli.splatting.gaussians4d import Gaussians4D, Motion, Timeline

CANONICAL, MOTION, DESCRIPTION = "canonical.ply", "motion.safetensors", "asset.json"
FORMAT = "orster-asset"


def save_asset(folder: Path, asset: Gaussians4D) -> None:
    """Write `asset` into `folder`."""
    write_ply(folder / CANONICAL, asset.canonical)
    motion = asset.motion
    write_tensors(folder / MOTION, motion.state_dict())
    value = {
        "format": FORMAT,
        "version": 1,
        "gaussians": len(asset.canonical),
        "timeline": asdict(motion.timeline),
        "field": motion.field.config.to_dict(),
    }
    (folder / DESCRIPTION).write_text(json.dumps(value, indent=1), encoding="utf-8")


def load_asset(folder: Path) -> Gaussians4D:
    """The asset in `folder`. Raises InputError that names the invalid file."""
    path = folder / DESCRIPTION
    value = read_json(path)
    if not isinstance(value, dict) or value.get("format") != FORMAT or value.get("version") != 1:
        raise InputError(f"{path}: expected {FORMAT} version 1")
    canonical = read_ply(folder / CANONICAL)
    tensors = read_tensors(folder / MOTION)
    try:
        motion = _motion(value, tensors)
        motion.load_state_dict(tensors)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"{folder / MOTION}: does not fit {DESCRIPTION}: {str(error).splitlines()[0]}",
            hint="the asset is damaged or was written by another version; construct it again",
        ) from error
    motion.eval().requires_grad_(False)
    return Gaussians4D(canonical=canonical, motion=motion)


def _motion(value: dict[str, Any], tensors: dict[str, Tensor]) -> Motion:
    prefix = "field.features."
    field = DeformationField(
        DeformationConfig.from_dict(value["field"]),
        tensors[f"{prefix}planes.aabb"],
        spatial_prior=tensors.get(f"{prefix}spatial.tokens"),
        temporal_prior=tensors.get(f"{prefix}temporal.tokens"),
    )
    return Motion(Timeline(**value["timeline"]), field)
