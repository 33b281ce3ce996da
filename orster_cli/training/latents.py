"""Caches a dataset's latents, encoded once by a frame VAE.

They are in the folder `NAME.latents-ID` next to the dataset; ID identifies dataset, VAE and resolution.
Each sample is one file, written under another name and renamed, so that a killed run continues.
T frames, C latent channels, h w latent pixels, H W pixels; a grid has N azimuths and T moments.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from orster_cli.core.errors import IntegrityError
from orster_cli.core.frames import at_resolution, evenly_spaced
from orster_cli.core.reporting import Reporter
from orster_cli.core.stopping import StopFlag
from orster_cli.dataset.reader import Dataset
from orster_cli.diffusion.frame_vae import FrameVAE
from orster_cli.io.tensors import write_tensors

CLIPS = ("dynamic", "static", "front")
GRID = "grid"  # frame a T + i is azimuth a at moment i
VIEWS = (*CLIPS, GRID)
_CHUNK = 64  # frames encoded at once


@dataclass(frozen=True)
class LatentClip:
    """One view of a sample: `latents` [T,C,h,w], its `w2c` [T,4,4], and its first frame [3,H,W].
    Of a grid [N T,C,h,w], [N T,4,4], and the first moment from each azimuth [N,3,H,W]."""

    latents: Tensor
    w2c: Tensor
    first_frame: Tensor


class LatentCache:
    """Latents of the samples of `dataset` at `resolution` pixels (0: the dataset's)."""

    def __init__(self, dataset: Dataset, dataset_id: str, vae: FrameVAE, resolution: int) -> None:
        self.dataset = dataset
        self.resolution = resolution
        key = hashlib.sha256(f"{dataset_id} {vae.id} {resolution}".encode()).hexdigest()[:16]
        self.folder = dataset.root.parent / f"{dataset.root.name}.latents-{key}"

    def fill(
        self,
        vae: FrameVAE,
        *,
        device: torch.device,
        reporter: Reporter,
        stop: StopFlag,
        part: tuple[int, int] = (0, 1),
    ) -> bool:
        """Encode the missing samples (with `part` (i, n) every n-th from the i-th). False: a stop was
        requested before the end."""
        missing = [key for key in self.dataset.keys()[part[0] :: part[1]] if not self._has(key)]
        if missing:
            reporter.step("latents", 0, len(missing))
        for done, key in enumerate(missing, start=1):
            if stop.requested:
                return False
            self._encode(key, vae, device)
            reporter.step("latents", done, len(missing))
        return True

    def encode(self, keys: Sequence[str], vae: FrameVAE) -> None:
        """Encode those of `keys` that are missing, on the device that `vae` is on."""
        for key in keys:
            if not self._has(key):
                self._encode(key, vae, next(vae.parameters()).device)

    def views(self, key: str) -> tuple[str, ...]:
        """The views of a sample."""
        return tuple(v for v in VIEWS if v in self.dataset.info(key)["frames"])

    def grid_size(self, key: str) -> tuple[int, int] | None:
        """Azimuths and moments of a sample's grid; None: it has none that an orbit is a path through."""
        counts = self.dataset.info(key)["frames"]
        moments = int(counts.get("dynamic", 0))
        if GRID not in counts or not moments or int(counts[GRID]) % moments**2:
            return None
        return int(counts[GRID]) // moments, moments

    def read(self, key: str, view: str, frames: int) -> LatentClip:
        """`frames` of a view (0: all), evenly spaced; of a grid so many moments. InputError: it has too
        few."""
        clip = self.read_bytes(key, view, frames)
        return replace(clip, first_frame=clip.first_frame.float() / 255)

    def read_bytes(self, key: str, view: str, frames: int) -> LatentClip:
        """`read`, with the first frame as bytes."""
        path = self._path(key)
        try:
            with safe_open(path, framework="pt") as handle:
                z, w2c = handle.get_tensor(f"{view}/latents"), handle.get_tensor(f"{view}/w2c")
                first = handle.get_tensor(f"{view}/first")
        except (SafetensorError, OSError) as error:
            raise IntegrityError(
                f"{path}: cannot be read: {error}", hint="remove it: it is made again"
            ) from error
        size = self.grid_size(key) if view == GRID else (1, len(z))
        assert size is not None
        azimuths, moments = size
        pick = evenly_spaced(moments, frames, where=f"sample {key}")
        if azimuths > 1:
            pick = (torch.arange(azimuths)[:, None] * moments + pick).flatten()
        return LatentClip(z[pick].float(), w2c[pick], first)

    def _path(self, key: str) -> Path:
        digest = hashlib.sha256(key.encode()).hexdigest()
        return self.folder / digest[:2] / f"{digest[2:26]}.safetensors"

    def _has(self, key: str) -> bool:
        """Whether a sample is encoded: all of its views that are read. A file from before there were
        grids is made again."""
        path = self._path(key)
        if not path.is_file() or GRID not in self.views(key):
            return path.is_file()
        try:
            with safe_open(path, framework="pt") as handle:
                return f"{GRID}/first" in handle.keys()  # noqa: SIM118
        except (SafetensorError, OSError):
            return True  # damaged: reading it says so

    @torch.no_grad()
    def _encode(self, key: str, vae: FrameVAE, device: torch.device) -> None:
        tensors: dict[str, Tensor] = {}
        for view in self.views(key):
            clip = self.dataset.clip(key, view)
            frames = at_resolution(clip, self.resolution)
            latents = [vae.encode(part.to(device)).cpu() for part in frames.split(_CHUNK)]
            tensors[f"{view}/latents"] = torch.cat(latents)
            tensors[f"{view}/w2c"] = clip.cameras.w2c
            size = self.grid_size(key) if view == GRID else None
            shown = frames[0] if size is None else frames[:: size[1]]
            tensors[f"{view}/first"] = (shown * 255).round().to(torch.uint8)
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_tensors(path, tensors, shared=True)
