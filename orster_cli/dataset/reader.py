"""Read a dataset: any sample, any view, without unpacking the shards. T frames."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from orster_cli.core import limits
from orster_cli.core.errors import InputError, IntegrityError
from orster_cli.core.types import Cameras, OrbitClip
from orster_cli.dataset.assemble import INDEX
from orster_cli.dataset.samples import VIEWS, frame_digits
from orster_cli.dataset.shards import Placed, read_sample

_ENTRY = {"key": str, "shard": str, "offset": int, "size": int}


class Dataset:
    """The samples of a dataset folder, by key."""

    def __init__(self, root: Path, samples: dict[str, dict[str, Any]]) -> None:
        self.root = root
        self._samples = samples

    @classmethod
    def open(cls, path: Path) -> Dataset:
        """Open the dataset artifact at `path`. Raises InputError for anything else."""
        from orster_cli.artifacts.store import open_artifact

        return cls.read(open_artifact(path, kind="dataset").path)

    @classmethod
    def read(cls, root: Path) -> Dataset:
        """The dataset in the folder `root`, whose manifest is not looked at."""
        path = root / INDEX
        try:
            if path.stat().st_size > limits.INDEX_MAX_BYTES:
                raise InputError(f"{path}: more than {limits.INDEX_MAX_BYTES} bytes")
            listed = json.loads(path.read_text("utf-8"))["samples"]
            samples = {entry["key"]: _checked(path, entry) for entry in listed}
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise InputError(
                f"{path}: not an index: {type(error).__name__}: {error}",
                hint="check the dataset with: orster verify",
            ) from None
        return cls(root, samples)

    def __len__(self) -> int:
        return len(self._samples)

    def keys(self) -> list[str]:
        """The keys of all samples, in the order of the shards."""
        return list(self._samples)

    def info(self, key: str) -> dict[str, Any]:
        """The index entry: caption, also (other captions), source, motion, frames by view, place."""
        if key not in self._samples:
            raise InputError(
                f"{self.root}: no sample {key!r} among {len(self)}",
                hint="list them with: orster show --json",
            )
        return dict(self._samples[key])

    def sample_json(self, key: str) -> dict[str, Any]:
        """Everything that is known of a sample, cameras included."""
        fields = self._read(key, "json")
        if "json" not in fields:
            raise IntegrityError(f"{self.root}: sample {key!r} has no json")
        about: dict[str, Any] = json.loads(fields["json"])
        return about

    def clip(self, key: str, view: str = "dynamic") -> OrbitClip:
        """One view of a sample: "dynamic", "static", "front" or "eval".

        Frames are straight colour, white where alpha is 0. Raises InputError for a view that the
        sample does not have, IntegrityError for damage."""
        about = self.sample_json(key)
        if view not in VIEWS or view not in about["views"]:
            raise InputError(
                f"{self.root}: sample {key!r} has no view {view!r}, only "
                + ", ".join(about["views"])
            )
        facts = about["views"][view]
        fields = self._read(key, f"{view}.")
        digits = frame_digits(facts["frames"])
        names = [f"{view}.{i:0{digits}d}.png" for i in range(facts["frames"])]
        if sorted(fields) != names:
            raise IntegrityError(
                f"{self.root}: sample {key!r}: expected {len(names)} frames of {view}, "
                f"got {len(fields)}"
            )
        rgba = np.stack([self._png(key, fields[name]) for name in names])
        pixels = torch.from_numpy(rgba).permute(0, 3, 1, 2).float() / 255
        alpha = pixels[:, 3:]
        return OrbitClip(
            frames=torch.where(alpha > 0, pixels[:, :3], torch.ones(())),
            alpha=alpha,
            cameras=Cameras(
                K=torch.tensor(facts["K"]),
                w2c=torch.tensor(facts["w2c"]),
                width=facts["width"],
                height=facts["height"],
            ),
            times=torch.tensor(facts["times"]),
            prompt=about.get("caption") or None,
        )

    def _read(self, key: str, prefix: str) -> dict[str, bytes]:
        entry = self.info(key)
        placed = Placed(key=key, offset=entry["offset"], size=entry["size"])
        return read_sample(self.root / entry["shard"], placed, prefix)

    def _png(self, key: str, data: bytes) -> np.ndarray:
        """[H,W,4] uint8."""
        try:
            with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
                if max(image.size) > limits.IMAGE_MAX_SIDE:
                    raise IntegrityError(f"{self.root}: sample {key!r}: image of {image.size}")
                return np.array(image.convert("RGBA"), np.uint8)
        except (OSError, SyntaxError, ValueError) as error:
            raise IntegrityError(
                f"{self.root}: sample {key!r}: damaged image: {error}",
                hint="check the dataset with: orster verify",
            ) from None


def _checked(path: Path, entry: dict[str, Any]) -> dict[str, Any]:
    """An index entry whose shard lies in the dataset."""
    for name, kind in _ENTRY.items():
        if type(entry[name]) is not kind:
            raise InputError(f"{path}: {name}: expected {kind.__name__}, got {entry[name]!r}")
    shard = Path(entry["shard"])
    if shard.is_absolute() or ".." in shard.parts or entry["offset"] < 0 or entry["size"] < 0:
        raise InputError(f"{path}: sample {entry['key']!r}: a place outside the dataset")
    also = entry.get("also", [])
    if type(also) is not list or not all(type(text) is str for text in also):
        raise InputError(f"{path}: sample {entry['key']!r}: also: expected a list of texts")
    return entry
