"""Random access to the samples and views of a dataset, without unpacking its shards. T frames."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from orster_cli.artifacts.folders import is_plain_file
from orster_cli.core import limits
from orster_cli.core.conventions import is_view
from orster_cli.core.errors import InputError, IntegrityError, LimitError
from orster_cli.core.names import printable, safe_relative_path
from orster_cli.core.strict_json import parse_json, read_json
from orster_cli.core.types import Cameras, OrbitClip
from orster_cli.dataset.assemble import INDEX
from orster_cli.dataset.captions import texts_of
from orster_cli.dataset.samples import frame_digits, is_framing
from orster_cli.dataset.shards import SampleSpan, is_sample_key, read_sample
from orster_cli.geometry.orbit import grid_path
from orster_cli.io.camera_values import parse_frames, parse_side
from orster_cli.io.clip_files import check_size
from orster_cli.io.images import read_image

LARGEST = 2**63  # of offsets and sizes in a shard
LARGEST_MOTION = 1e6  # `prepare-data` writes a mean square of colours, at most 1
# fields of an index entry, with their types
_REQUIRED = {"key": str, "shard": str, "offset": int, "size": int, "frames": dict}
_OPTIONAL: dict[str, tuple[type, ...]] = {
    "source": (str,),
    "clip": (int, type(None)),
    "clip_name": (str, type(None)),
    "caption": (str, type(None)),
    "also": (list,),
    "who": (list,),
    "what": (list,),
    "licence": (str,),
    "motion": (float, int),
    "framing": (list,),
}


class Dataset:
    """The samples of a dataset folder, by key. `has_frames`: as they were rendered."""

    has_frames = True

    def __init__(self, root: Path, samples: dict[str, dict[str, Any]]) -> None:
        self.root = root
        self._samples = samples

    @classmethod
    def open(cls, path: str | Path) -> Dataset:
        """Open the dataset artifact at `path`. InputError: another or a damaged artifact."""
        from orster_cli.artifacts.store import open_artifact

        return cls.read(open_artifact(Path(path), kind="dataset").path)

    @classmethod
    def read(cls, root: Path) -> Dataset:
        """Open the dataset in the folder `root` without reading its manifest."""
        return cls(root, _parse_index(root))

    def __len__(self) -> int:
        return len(self._samples)

    def keys(self) -> list[str]:
        """The keys of all samples, in the order of the shards."""
        return list(self._samples)

    def info(self, key: str) -> dict[str, Any]:
        """The index entry: caption, also (alternative captions), who and what (the caption's factors),
        source, licence, motion, number of frames by view, byte range."""
        if key not in self._samples:
            raise InputError(
                f"{self.root}: no sample {key!r} among {len(self)}",
                hint="list them with: orster show --json",
            )
        return dict(self._samples[key])

    def texts(self) -> dict[str, list[str]]:
        """By key, the caption of each sample and its other captions; empty where it has none."""
        return {key: texts_of(info) for key, info in self._samples.items()}

    def licences(self, key: str) -> list[str] | None:
        """The licence that the object of a sample states, if any. None: an older version wrote the index,
        which does not tell."""
        text = self.info(key).get("licence")
        return None if text is None else [text] if text else []

    def sample_json(self, key: str) -> dict[str, Any]:
        """The JSON of a sample, including its cameras. InputError: invalid; IntegrityError: missing."""
        where = self._where(key)
        data = self._read(key, "json").get("json")
        if data is None:
            raise IntegrityError(f"{where}: has no json")
        if len(data) > limits.JSON_MAX_BYTES:
            raise LimitError(f"{where}: more than {limits.JSON_MAX_BYTES} bytes of JSON")
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise InputError(f"{where}: its json is not UTF-8", code="E-JSON") from error
        value = parse_json(text, where=where)
        views = value.get("views") if isinstance(value, dict) else None
        if not isinstance(views, dict) or not views:
            raise InputError(f"{where}: expected an object with views")
        for name, view in views.items():
            _check_view(view, f"{where}: {printable(name)[:80]}")
        return value

    def clip(self, key: str, view: str = "dynamic") -> OrbitClip:
        """One view of a sample: "dynamic", "static", "front", "eval", "grid" or "orbit-090".

        Frames are straight colour, white where alpha is 0. InputError: no such view, or invalid JSON;
        LimitError: too many frames or pixels; IntegrityError: damaged data."""
        return self._clip(key, self.sample_json(key), view, None)

    def frames(self, key: str, view: str, which: list[int]) -> OrbitClip:
        """The frames `which` of a view; only these are decoded. Errors as `clip`."""
        return self._clip(key, self.sample_json(key), view, which)

    def grid_clip(
        self, key: str, *, start: int = 0, direction: int = 1, moment: int | None = None
    ) -> OrbitClip:
        """T frames of a sample's grid along `grid_path`: an orbit from any of its azimuths in either
        `direction`, or a camera that stands still, while time runs or stands at `moment`.

        Only these frames are decoded. Errors as `clip`; InputError: no grid, or no such path in it."""
        sample = self.sample_json(key)
        where = f"{self._where(key)}: grid"
        if "grid" not in sample["views"]:
            raise InputError(
                f"{where}: there is none",
                hint="orster prepare-data --set prepare.grid=N renders one",
            )
        times = sample["views"]["grid"]["times"]
        moments = next((i for i in range(1, len(times)) if times[i] == times[0]), len(times))
        azimuths = len(times) // moments
        if times != times[:moments] * azimuths:
            raise InputError(f"{where}: its times do not repeat")
        try:
            which = grid_path(moments, azimuths, start=start, direction=direction, moment=moment)
        except ValueError as error:
            raise InputError(f"{where}: {error}") from None
        return self._clip(key, sample, "grid", which)

    def _clip(
        self, key: str, sample: dict[str, Any], view: str, which: list[int] | None
    ) -> OrbitClip:
        """The frames `which` (None: all) of a view."""
        where = self._where(key)
        if not is_view(view) or view not in sample["views"]:
            raise InputError(
                f"{where}: has no view {printable(view)[:80]!r}, only "
                + printable(", ".join(sample["views"]))[:200]
            )
        where = f"{where}: {view}"
        facts = sample["views"][view]
        check_size(facts["frames"], facts["width"], facts["height"], where)
        cameras, times = _cameras(facts, where)
        prompt = sample.get("caption")
        if prompt is not None and not isinstance(prompt, str):
            raise InputError(f"{where}: expected caption to be a text")
        fields = self._read(key, f"{view}.")
        digits = frame_digits(len(cameras))
        names = [f"{view}.{i:0{digits}d}.png" for i in range(len(cameras))]
        if sorted(fields) != names:
            raise IntegrityError(f"{where}: expected {len(names)} frames, got {len(fields)}")
        shape = (cameras.height, cameras.width)
        if which is None:
            which = list(range(len(names)))
        rgba = torch.empty(0)
        for i, number in enumerate(which):
            image = _read_png(fields[names[number]], shape, f"{where}: frame {number}")
            if i == 0:  # allocate only after the first image has the claimed size
                rgba = torch.ones(len(which), 4, *shape)
            rgba[i, : len(image)] = image
        alpha = rgba[:, 3:]
        return OrbitClip(
            frames=torch.where(alpha > 0, rgba[:, :3], torch.ones(())),
            alpha=alpha,
            cameras=cameras[which],
            times=times[which],
            prompt=prompt or None,
        )

    def _where(self, key: str) -> str:
        return f"{self.root}: sample {printable(key)[:100]!r}"

    def _read(self, key: str, prefix: str) -> dict[str, bytes]:
        entry = self.info(key)
        if not is_plain_file(self.root, entry["shard"]):
            raise InputError(
                f"{self.root / entry['shard']}: not a file of this dataset",
                hint="a shard may be no link, and lie behind none",
            )
        span = SampleSpan(key=key, offset=entry["offset"], size=entry["size"])
        return read_sample(self.root / entry["shard"], span, prefix)


def _check_view(value: Any, where: str) -> None:
    """Check number of frames, image size, and the lengths of the lists of a view in a sample's JSON.
    InputError, LimitError."""
    if not isinstance(value, dict):
        raise InputError(f"{where}: expected an object")
    count = value.get("frames")
    if type(count) is not int or count < 1:
        raise InputError(f"{where}: expected a number of frames")
    if count > limits.DATASET_MAX_FRAMES:
        raise LimitError(f"{where}: {count} frames, at most {limits.DATASET_MAX_FRAMES}")
    for name in ("times", "K", "w2c"):
        if not isinstance(value.get(name), list) or len(value[name]) != count:
            raise InputError(f"{where}: expected {name} to be a list of {count} entries")
    parse_side(value, "width", where)
    parse_side(value, "height", where)


def _cameras(view: dict[str, Any], where: str) -> tuple[Cameras, Tensor]:
    """Cameras and times [T] of a view that `_check_view` accepts. InputError."""
    columns = zip(view["times"], view["K"], view["w2c"], strict=True)
    frames = [{"time": time, "K": K, "w2c": w2c} for time, K, w2c in columns]
    return parse_frames(frames, width=view["width"], height=view["height"], where=where)


def _read_png(data: bytes, shape: tuple[int, int], where: str) -> Tensor:
    """[3,H,W] or [4,H,W] with `shape` (H, W). IntegrityError: another size, or damaged; LimitError."""
    try:
        image = read_image(data, where=where, formats=("PNG",))
    except LimitError:
        raise
    except InputError as error:
        raise IntegrityError(str(error), hint="check the dataset with: orster verify") from error
    if image.shape[1:] != shape:
        raise IntegrityError(
            f"{where}: expected {shape[1]}x{shape[0]} pixels, got {image.shape[2]}x{image.shape[1]}"
        )
    return image


def _parse_index(root: Path) -> dict[str, dict[str, Any]]:
    path = root / INDEX
    if not is_plain_file(root, INDEX):
        raise InputError(f"{path}: cannot be read: no such file")
    value = read_json(path, maximum=limits.INDEX_MAX_BYTES)
    listed = value.get("samples") if isinstance(value, dict) else None
    if not isinstance(listed, list):
        raise InputError(f"{path}: not an index: expected an object with a list of samples")
    samples: dict[str, dict[str, Any]] = {}
    alike: dict[tuple[tuple[str, int], ...], dict[str, int]] = {}  # most samples have equal views
    for i, entry in enumerate(listed):
        _check_entry(entry, f"{path}: sample {i}")
        if entry["key"] in samples:
            raise InputError(f"{path}: sample {entry['key']!r} is listed twice")
        entry["shard"] = sys.intern(entry["shard"])
        entry["frames"] = alike.setdefault(tuple(entry["frames"].items()), entry["frames"])
        samples[entry["key"]] = entry
    return samples


def _check_entry(entry: Any, where: str) -> None:
    """InputError: a field of another type, or a path outside the dataset."""
    if not isinstance(entry, dict):
        raise InputError(f"{where}: not an index: expected an object")
    for name, kind in _REQUIRED.items():
        if type(entry.get(name)) is not kind:
            raise InputError(f"{where}: not an index: {name}: expected {kind.__name__}")
    for name, kinds in _OPTIONAL.items():
        if name in entry and type(entry[name]) not in kinds:
            raise InputError(f"{where}: {name}: expected {kinds[0].__name__}")
    if not is_sample_key(entry["key"]):
        raise InputError(f"{where}: {printable(entry['key'])[:100]!r} is no key of a sample")
    safe_relative_path(entry["shard"], where=f"{where}: shard")
    if not (0 <= entry["offset"] < LARGEST and 0 <= entry["size"] < LARGEST):
        raise InputError(f"{where}: a place outside the shard")
    for name in ("also", "who", "what"):
        if not all(type(text) is str for text in entry.get(name, [])):
            raise InputError(f"{where}: {name}: expected a list of texts")
    if "framing" in entry and not is_framing(entry["framing"]):
        raise InputError(f"{where}: framing: expected a factor and a point")
    counts = entry["frames"].values()
    if not all(type(count) is int and 0 < count <= limits.DATASET_MAX_FRAMES for count in counts):
        raise InputError(f"{where}: frames: expected numbers of frames by view")
    if not 0 <= entry.get("motion", 0) <= LARGEST_MOTION:
        raise InputError(f"{where}: motion: expected a number from 0 to {LARGEST_MOTION}")
