"""Where `prepare-data` put an object: scale and offset depend on its settings, and a dataset keeps them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from orster_cli.artifacts.manifest import read_manifest
from orster_cli.core.errors import InputError
from orster_cli.core.file_kinds import MESHES
from orster_cli.dataset.reader import Dataset
from orster_cli.dataset.sources import clip_of_key, object_keys
from orster_cli.gltf.normalization import Normalization


@dataclass(frozen=True, eq=False)
class Placement:
    """`normalization` of animation `clip` of the mesh file with the hash `sha256`."""

    sha256: str
    clip: int
    normalization: Normalization


def recorded_placement(dataset: Path, key: str) -> Placement | None:
    """Where the sample `key` of the dataset in the folder `dataset` stands; None: the dataset does not say,
    or cannot be read, or holds what others rendered."""
    found = clip_of_key(key)
    if found is None:
        return None
    try:
        manifest = read_manifest(dataset)
        said = Dataset.read(dataset).sample_json(key).get("placement")
    except (InputError, OSError):
        return None
    place = _normalization(said)
    for one in manifest.inputs:
        if Path(one.name).suffix.lower() in MESHES and found[0] in object_keys(one.name) and place:
            return Placement(one.sha256, found[1], place)
    return None


def _normalization(said: Any) -> Normalization | None:
    """The field `placement` of a sample; None: it is none."""
    if not isinstance(said, dict) or not isinstance(said.get("offset"), list):
        return None
    numbers = [said.get("scale"), *said["offset"]]
    right = all(type(n) in (int, float) and math.isfinite(n) for n in numbers)
    if not right or len(numbers) != 4 or not numbers[0] > 0:
        return None
    offset = np.array(numbers[1:], dtype=np.float64)
    return Normalization(scale=float(numbers[0]), offset=offset, reason=str(said.get("bound")))
