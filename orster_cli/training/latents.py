"""Caches a dataset's latents, encoded once by a frame VAE.

They are in the folder `NAME.latents-ID` next to the dataset; ID identifies dataset, VAE and resolution.
Each sample is one file, written under another name and renamed, so that a killed run continues.
T frames, C latent channels, h w latent pixels, H W pixels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
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
VIEWS = (*CLIPS, "grid")  # the grid: frame a T + i is azimuth a at moment i


@dataclass(frozen=True)
class LatentClip:
    """One view of a sample: `latents` [T,C,h,w], its `w2c` [T,4,4], and its first frame [3,H,W]."""

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

    def read(self, key: str, view: str, frames: int) -> LatentClip:
        """`frames` of a view (0: all), evenly spaced. InputError: it has too few."""
        path = self._path(key)
        try:
            with safe_open(path, framework="pt") as handle:
                z, w2c = handle.get_tensor(f"{view}/latents"), handle.get_tensor(f"{view}/w2c")
                first = handle.get_tensor(f"{view}/first")
        except (SafetensorError, OSError) as error:
            raise IntegrityError(
                f"{path}: cannot be read: {error}", hint="remove it: it is made again"
            ) from error
        pick = evenly_spaced(len(z), frames, where=f"sample {key}")
        return LatentClip(z[pick].float(), w2c[pick], first.float() / 255)

    def _path(self, key: str) -> Path:
        digest = hashlib.sha256(key.encode()).hexdigest()
        return self.folder / digest[:2] / f"{digest[2:26]}.safetensors"

    def _has(self, key: str) -> bool:
        return self._path(key).is_file()

    @torch.no_grad()
    def _encode(self, key: str, vae: FrameVAE, device: torch.device) -> None:
        tensors: dict[str, Tensor] = {}
        for view in self.views(key):
            clip = self.dataset.clip(key, view)
            frames = at_resolution(clip, self.resolution)
            tensors[f"{view}/latents"] = vae.encode(frames.to(device)).cpu()
            tensors[f"{view}/w2c"] = clip.cameras.w2c
            tensors[f"{view}/first"] = (frames[0] * 255).round().to(torch.uint8)
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_tensors(path, tensors, shared=True)
