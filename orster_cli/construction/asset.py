"""An asset on disk: `canonical.ply` (3DGS layout), `motion.safetensors`, `asset.json`."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from orster_cli.core.errors import InputError
from orster_cli.core.strict_json import read_json
from orster_cli.core.types import FitScale
from orster_cli.io.ply import read_ply, write_ply
from orster_cli.io.tensors import fill_module, read_tensors, without_weights, write_tensors
from orster_cli.splatting.deformation import DeformationConfig, DeformationField
from orster_cli.splatting.gaussians4d import Gaussians4D, Motion, Timeline
from orster_cli.splatting.nodes import nodes_of
from orster_cli.splatting.root import root_of
from orster_cli.splatting.tracks import TrackedNodes, tracks_of

CANONICAL, MOTION, DESCRIPTION = "canonical.ply", "motion.safetensors", "asset.json"
MOST_CYCLES = 10_000
FORMAT = "orster-asset"
# 4 has a field and no known motion, 3 no root motion either, 2 no control nodes either, 1 no "fit" either:
# its low-pass is the same number of pixels at every size
TRACKED, WITH_ROOT, WITH_NODES = 5, 4, 3
VERSION = TRACKED


def save_asset(folder: Path, asset: Gaussians4D) -> None:
    """Write `asset` into `folder`."""
    write_ply(folder / CANONICAL, asset.canonical)
    motion = asset.motion
    write_tensors(folder / MOTION, motion.state_dict())
    value: dict[str, Any] = {
        "format": FORMAT,
        "version": _version(asset),
        "gaussians": len(asset.canonical),
        "timeline": asdict(motion.timeline),
        "field": _described(motion),
    }
    if asset.canonical.fitted is not None:
        value["fit"] = asdict(asset.canonical.fitted)
    (folder / DESCRIPTION).write_text(json.dumps(value, indent=1), encoding="utf-8")


def _described(motion: Motion) -> dict[str, Any]:
    field = motion.field
    if isinstance(field, TrackedNodes):
        return {"moments": len(field.deltas), "periodic": field.periodic}
    return field.config.to_dict()


def _version(asset: Gaussians4D) -> int:
    """The lowest version that describes `asset`: older readers open what they can."""
    if isinstance(asset.motion.field, TrackedNodes):
        return TRACKED
    if asset.motion.field.root is not None:
        return WITH_ROOT
    if asset.motion.field.nodes is not None:
        return WITH_NODES
    return 1 if asset.canonical.fitted is None else 2


def load_asset(folder: Path) -> Gaussians4D:
    """The asset in `folder`. Raises InputError that names the invalid file."""
    path = folder / DESCRIPTION
    value = read_json(path)
    versions = range(1, VERSION + 1)
    if (
        not isinstance(value, dict)
        or value.get("format") != FORMAT
        or value.get("version") not in versions
    ):
        raise InputError(f"{path}: expected {FORMAT} version 1 to {VERSION}")
    unscaled = value["version"] == 1 or (value["version"] >= WITH_NODES and "fit" not in value)
    fitted = None if unscaled else _fitted(value, path)
    canonical = replace(read_ply(folder / CANONICAL), fitted=fitted)
    tensors = read_tensors(folder / MOTION)
    try:
        motion = _motion(value, tensors)
        own = {name: tensor.clone() for name, tensor in tensors.items()}  # not mapped to the file
        fill_module(motion, own, where=f"{folder / MOTION}: does not fit {DESCRIPTION}")
        nodes = motion.field.nodes
        if nodes is not None and len(nodes.index) != len(canonical):
            raise ValueError(f"{len(nodes.index)} of {len(canonical)} Gaussians follow nodes")
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"{folder / MOTION}: does not fit {DESCRIPTION}: {str(error).splitlines()[0]}",
            hint="the asset is damaged or was written by another version; construct it again",
        ) from error
    motion.eval().requires_grad_(False)
    return Gaussians4D(canonical=canonical, motion=motion)


def _fitted(value: dict[str, Any], path: Path) -> FitScale:
    found = value.get("fit")
    try:
        if not isinstance(found["antialiased"], bool):
            raise TypeError("antialiased is no boolean")
        numbers = {name: float(found[name]) for name in ("focal", "radius", "eps2d")}
        return FitScale(**numbers, antialiased=found["antialiased"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: fit: expected focal, radius, eps2d and antialiased, got {found!r}",
            hint="the asset is damaged; construct it again",
        ) from error


def _motion(value: dict[str, Any], tensors: dict[str, Tensor]) -> Motion:
    """The motion that `value` describes, without weights: what a file claims takes no memory."""
    if value["version"] == TRACKED:
        return Motion(_timeline(value["timeline"]), _tracked(value["field"], tensors))
    prefix = "field.features."
    config = DeformationConfig.from_dict(value["field"])
    version = value["version"]
    if (version == WITH_ROOT) != (config.root > 0):
        raise ValueError(f"version {version} with a root motion of {config.root} keys")
    if version < WITH_ROOT and (version == WITH_NODES) != (config.nodes > 0):
        raise ValueError(f"version {version} with {config.nodes} control nodes")
    nodes = nodes_of(tensors, "field.nodes.")
    root = root_of(tensors, "field.root.", periodic=config.hexplane.periodic)
    with without_weights():
        field = DeformationField(
            config,
            tensors[f"{prefix}planes.aabb"],
            spatial_prior=tensors.get(f"{prefix}spatial.tokens"),
            temporal_prior=tensors.get(f"{prefix}temporal.tokens"),
            nodes=nodes,
            root=root,
        )
    return Motion(_timeline(value["timeline"]), field)


def _tracked(value: dict[str, Any], tensors: dict[str, Tensor]) -> TrackedNodes:
    """KeyError, ValueError: they do not fit."""
    if set(value) != {"moments", "periodic"} or not isinstance(value["periodic"], bool):
        raise ValueError("tracks: expected moments, and whether they are periodic")
    found = tracks_of(tensors, "field.", periodic=value["periodic"])
    if len(found.deltas) != value["moments"]:
        raise ValueError(f"tracks: expected {value['moments']} moments, got {len(found.deltas)}")
    return found


def _timeline(value: dict[str, Any]) -> Timeline:
    """TypeError, ValueError: other fields, types or numbers than `save_asset` writes."""
    timeline = Timeline(**value)
    if not isinstance(timeline.looping, bool):
        raise TypeError(f"timeline: looping: expected true or false, got {value['looping']!r}")
    if type(timeline.cycles) is not int or not 1 <= timeline.cycles <= MOST_CYCLES:
        raise ValueError(f"timeline: cycles: expected 1 to {MOST_CYCLES}, got {value['cycles']!r}")
    return timeline
