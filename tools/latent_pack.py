"""The latents of datasets in one small folder, for a training where no frames are at hand.

python -m tools.latent_pack --vae VAE --train DATASET... [--val DATASET] [--front N] --out PACK

Several datasets or packs may show other orbits of the same clips. Latents are rounded to multiples of STEP,
counted from those of a white picture, and compressed: of a dynamic orbit the difference to the object at
rest, of a front view that to its first frame. About 6 kB an orbit. `--front 2` keeps the front view of
every second clip, 0 of none.
T frames, C latent channels, h w latent pixels, H W pixels.
"""

from __future__ import annotations

import argparse
import io
import json
import lzma
import math
from collections.abc import Container, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from orster_cli.artifacts.store import open_artifact
from orster_cli.core.frames import at_resolution
from orster_cli.core.types import OrbitClip
from orster_cli.dataset.reader import Dataset
from orster_cli.diffusion.bundle import load_bundle
from orster_cli.diffusion.frame_vae import FrameVAE
from orster_cli.geometry.orbit import clip_times, orbit_azimuths, orbit_cameras
from orster_cli.training.latents import LatentCache, LatentClip

STEP = 0.25
SPLITS = ("train", "val")
INDEX, LATENTS = "index.json.xz", "latents.xz"
FIELDS = ("caption", "also", "who", "what", "source", "clip", "motion", "framing")
WORDS = ("caption", "also", "who", "what")
ORBITS = ("static", "dynamic")
MIRRORED = "mirrored"
_CHUNK = 1024  # frames in one pass of the VAE
_HANDS = {"left": "right", "right": "left"}
_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9, "pb": 0}]


class PackedDataset(Dataset):
    """Samples without frames of their own: a clip has what the frame VAE makes of its latents."""

    has_frames = False

    def __init__(
        self, root: Path, samples: dict[str, dict[str, Any]], store: PackedLatents
    ) -> None:
        super().__init__(root, samples)
        self._store = store

    def clip(self, key: str, view: str = "dynamic") -> OrbitClip:
        """As `Dataset.clip`."""
        return self.frames(key, view, list(range(self.info(key)["frames"][view])))

    def frames(self, key: str, view: str, which: list[int]) -> OrbitClip:
        """As `Dataset.frames`."""
        store, info = self._store, self.info(key)
        frames = store.decoded(store.latents[key, view][which]).cpu()
        cameras = _cameras(info, view, store.resolution)
        return OrbitClip(
            frames=frames,
            alpha=torch.ones(len(frames), 1, *frames.shape[-2:]),
            cameras=cameras[which],
            times=clip_times(info["frames"][view])[which].float(),
            prompt=info.get("caption"),
        )


class PackedLatents(LatentCache):
    """Latents of a `PackedDataset`, in memory: `latents` [T,C,h,w] float16 by sample and view."""

    def __init__(self, root: Path, vae: FrameVAE, resolution: int) -> None:
        self.vae, self.resolution, self.folder = vae, resolution, root
        self.latents: dict[tuple[str, str], Tensor] = {}
        self._first: dict[tuple[str, str], Tensor] = {}
        self.samples: dict[str, dict[str, Any]] = {}
        self.dataset: PackedDataset = PackedDataset(root, self.samples, self)

    def add(self, key: str, entry: Mapping[str, Any], views: Mapping[str, Tensor]) -> None:
        """Add a sample, under another key where there is one of that key."""
        name = _new_name(key, self.samples)
        self.samples[name] = {**entry, "key": name}
        self.latents |= {(name, view): z for view, z in views.items()}

    def fill(self, *_: object, **__: object) -> bool:
        """All are there."""
        return True

    def encode(self, *_: object) -> None:
        """All are there."""

    def read_bytes(self, key: str, view: str, frames: int) -> LatentClip:
        """As `LatentCache.read_bytes`. ValueError: another number of frames."""
        z, info = self.latents[key, view], self.dataset.info(key)
        if frames not in (0, len(z)):
            raise ValueError(f"{self.folder}: {len(z)} frames, asked for {frames}")
        turns, start = _way(info, view)
        w2c = _w2c(info["frames"][view], turns, start, self.resolution)
        return LatentClip(z.float(), w2c, self._first[key, view])

    @torch.no_grad()
    def decoded(self, latents: Tensor) -> Tensor:
        """[N,3,H,W] in [0,1] of latents [N,C,h,w], on the VAE's device."""
        device = next(self.vae.parameters()).device
        return self.vae.decode(latents.to(device).float(), chunk=_CHUNK).clamp(0, 1)

    def add_first_frames(self) -> None:
        """Decode the first frame of every view, which models of images see."""
        names = list(self.latents)
        for some in (names[k : k + _CHUNK] for k in range(0, len(names), _CHUNK)):
            first = self.decoded(torch.stack([self.latents[name][0] for name in some]))
            for name, frame in zip(some, (first * 255).round().to(torch.uint8).cpu(), strict=True):
                self._first[name] = frame

    @torch.no_grad()
    def add_mirrored(self) -> None:
        """A mirrored copy of every sample, which the camera goes round the other way. Captions change
        left and right."""
        names = list(self.latents)
        again: dict[tuple[str, str], Tensor] = {}
        for some in (names[k : k + _CHUNK // 32] for k in range(0, len(names), _CHUNK // 32)):
            z = [self.latents[name] for name in some]
            frames = self.decoded(torch.cat(z)).flip(-1)
            parts = self.vae.encode(frames, chunk=_CHUNK).half().cpu().split([len(x) for x in z])
            again |= dict(zip(some, parts, strict=True))
        for key, info in list(self.samples.items()):
            words = {name: _other_hand(info[name]) for name in WORDS if name in info}
            way = {"start": -info["start"], "direction": -info["direction"]}
            views = {view: again[key, view] for view in info["frames"]}
            self.add(f"{key}-{MIRRORED}", {**info, **words, **way}, views)


def _other_hand(value: Any) -> Any:
    if isinstance(value, list):
        return [_other_hand(one) for one in value]
    if isinstance(value, str):
        return " ".join(_HANDS.get(word, word) for word in value.split(" "))
    return value


@cache
def _w2c(frames: int, turns: float, start: float, side: int) -> Tensor:
    """World-to-camera matrices [T,4,4], which the static and the dynamic orbit of a sample share."""
    azimuths = orbit_azimuths(frames, start=start, turns=turns)
    return orbit_cameras(azimuths, width=side, height=side).w2c


def _way(info: Mapping[str, Any], view: str) -> tuple[float, float]:
    """Turns and first azimuth of a view."""
    return (0.0, 0.0) if view == "front" else (info["direction"], info["start"])


def _cameras(info: Mapping[str, Any], view: str, side: int) -> Any:
    turns, start = _way(info, view)
    azimuths = orbit_azimuths(info["frames"][view], start=start, turns=turns)
    return orbit_cameras(azimuths, width=side, height=side)


@torch.no_grad()
def _encoded(
    data: Dataset, key: str, vae: FrameVAE, side: int, views: tuple[str, ...]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The rounded latents [T,C,h,w] of the views of a sample, and its entry."""
    info = data.info(key)
    entry: dict[str, Any] = {name: info[name] for name in FIELDS if name in info}
    clips = {view: data.clip(key, view) for view in views}
    w2c = clips["dynamic"].cameras.w2c
    centre = -w2c[0, :3, :3].T @ w2c[0, :3, 3]
    entry["start"] = math.degrees(math.atan2(float(centre[0]), -float(centre[1])))
    entry["direction"] = 1
    entry["frames"] = {view: len(clip) for view, clip in clips.items()}
    for view, clip in clips.items():
        off = (_cameras(entry, view, side).w2c - clip.cameras.w2c).abs().max()
        assert off < 1e-3, f"{key}: {view}: no orbit round the object: {off}"
    frames = torch.cat([at_resolution(clip, side) for clip in clips.values()])
    z = ((vae.encode(frames) - white(vae, side)) / STEP).round()
    parts = z.split(list(entry["frames"].values()))
    return dict(zip(views, parts, strict=True)), entry


def white(vae: FrameVAE, side: int) -> Tensor:
    """Latents [C,h,w] of a white picture of `side` pixels, on the CPU."""
    device = next(vae.parameters()).device
    return vae.encode(torch.ones(1, 3, side, side, device=device))[0].detach().cpu()


def _stream(parts: Mapping[str, Tensor]) -> Iterator[bytes]:
    for view, z in parts.items():
        if view == "dynamic":
            z = z - parts["static"]
        elif view == "front":
            z = torch.cat([z[:1], z[1:] - z[:1]])
        yield z.permute(0, 2, 3, 1).clamp(-127, 127).to(torch.int8).contiguous().numpy().tobytes()


def pack(
    vae_folder: Path, train: list[Path], val: Path | None, side: int, front: int, out: Path
) -> None:
    """Write the pack of the datasets."""
    out.mkdir(parents=True, exist_ok=True)
    vae = load_bundle(open_artifact(vae_folder, kind="model").path).vae
    assert vae is not None
    index: dict[str, Any] = {
        "step": STEP,
        "resolution": side,
        "vae": vae.id,
        "train": {},
        "val": {},
    }
    index["channels"], index["latent_side"] = vae.channels, side // vae.factor
    size = 0
    folders = [("train", path) for path in train] + ([] if val is None else [("val", val)])
    with lzma.open(out / LATENTS, "wb", format=lzma.FORMAT_XZ, filters=_FILTERS) as file:
        for split, folder in folders:
            data = Dataset.open(folder)
            for number, key in enumerate(data.keys()):
                fronts = split == "val" or (front and number % front == 0)
                views = (*ORBITS, "front") if fronts else ORBITS
                parts, entry = _encoded(data, key, vae, side, views)
                name = _new_name(key, index[split])
                index[split][name] = {**entry, "key": name}
                for block in _stream(parts):
                    size += len(block)
                    file.write(block)
                if number % 50 == 0:
                    print(f"{folder}: {number} of {len(data)}", flush=True)
    (out / INDEX).write_bytes(lzma.compress(json.dumps(index).encode()))
    packed = sum(path.stat().st_size for path in out.iterdir())
    print(
        f"{out}: {len(index['train'])} + {len(index['val'])} samples, {size:,} to {packed:,} bytes"
    )


def _new_name(key: str, others: Container[str]) -> str:
    while key in others:
        key += "-again"
    return key


def unpack(folders: Sequence[Path], vae: FrameVAE) -> dict[str, PackedLatents]:
    """The samples of packs: "train" and "val". ValueError: one was made with another VAE."""
    heads = [json.loads(lzma.decompress((path / INDEX).read_bytes())) for path in folders]
    side = heads[0]["resolution"]
    out = {split: PackedLatents(folders[0], vae, side) for split in SPLITS}
    blank = white(vae, side)
    for folder, index in zip(folders, heads, strict=True):
        if index["vae"] != vae.id:
            raise ValueError(f"{folder}: of frame VAE {index['vae'][:12]}, got {vae.id[:12]}")
    with ThreadPoolExecutor() as pool:  # a pack is one stream: several are unpacked at once
        streams = pool.map(_unpacked, folders)
        for index, file in zip(heads, streams, strict=True):
            for split in SPLITS:
                for key, entry in index[split].items():
                    out[split].add(key, entry, _views(file, entry, index, blank))
    return out


def _unpacked(folder: Path) -> BinaryIO:
    return io.BytesIO(lzma.decompress((folder / LATENTS).read_bytes()))


def _views(
    file: BinaryIO, entry: Mapping[str, Any], index: Mapping[str, Any], blank: Tensor
) -> dict[str, Tensor]:
    """The latents [T,C,h,w] of the views of a sample, from its bytes: see `_stream`."""
    z: dict[str, Tensor] = {}
    for view, count in entry["frames"].items():
        shape = (count, index["latent_side"], index["latent_side"], index["channels"])
        values = np.frombuffer(file.read(math.prod(shape)), np.int8).reshape(shape)
        part = torch.from_numpy(values.astype(np.float32)).permute(0, 3, 1, 2)
        if view == "dynamic":
            part = part + z["static"]
        elif view == "front":
            part = torch.cat([part[:1], part[1:] + part[:1]])
        z[view] = part
    return {name: (part * index["step"] + blank).half().contiguous() for name, part in z.items()}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--vae", type=Path, required=True)
    parser.add_argument("--train", type=Path, nargs="+", required=True)
    parser.add_argument("--val", type=Path)
    parser.add_argument("--resolution", type=int, default=128)
    parser.add_argument("--front", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    pack(given.vae, given.train, given.val, given.resolution, given.front, given.out)


if __name__ == "__main__":
    main()
