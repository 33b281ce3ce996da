"""The CUDA rasterizer: `gsplat.rasterization`, and one clear error where gsplat cannot be built.

gsplat's wheel compiles its kernels on first use with the nvcc it finds. That step fails on many
machines, so it runs here once, separately from rendering.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from functools import lru_cache
from typing import Any

import torch

from orster_cli.core.errors import MissingResourceError
from orster_cli.splatting.raster_types import RasterInput, RasterOutput
from orster_cli.splatting.torch_tiles import copy_gradient_into


def nvcc_version() -> str:
    """The CUDA release of the nvcc on PATH, such as "12.8", or "not found"."""
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        return "not found"
    try:
        command = [nvcc, "--version"]
        text = subprocess.run(  # noqa: S603 - a fixed command found on PATH
            command, capture_output=True, text=True, timeout=20, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return "not answering"
    _, found, rest = text.partition("release ")
    return rest.split(",")[0].strip() if found else "unknown"


def build_failure(reason: str) -> MissingResourceError:
    """The error where gsplat cannot render, with the versions a user needs to fix it."""
    return MissingResourceError(
        f"gsplat's CUDA kernels are not available: {reason} "
        f"(nvcc {nvcc_version()}, torch {torch.__version__} built for CUDA {torch.version.cuda})",
        hint="install the CUDA toolkit of torch's own CUDA version and put nvcc on the path, "
        "or run with --device cpu",
        code="E-GSPLAT-BUILD",
    )


@lru_cache(maxsize=1)
def load_gsplat() -> Any:
    """The `gsplat` package with its kernels built and loaded; minutes on first use.

    Raises MissingResourceError naming the versions of nvcc and of torch's CUDA."""
    if not torch.cuda.is_available():
        raise build_failure("torch sees no CUDA device")
    try:
        # the build prints to stdout, which is reserved for data
        with contextlib.redirect_stdout(sys.stderr):
            import gsplat
            from gsplat.cuda import _backend
    except Exception as error:
        lines = str(error).strip().splitlines()
        raise build_failure(f"{type(error).__name__}: {lines[0] if lines else ''}") from error
    if getattr(_backend, "_C", None) is None:
        raise build_failure("no CUDA toolkit was found to build them with")
    return gsplat


def rasterize_gsplat(scene: RasterInput) -> RasterOutput:
    """Rasterize float32 tensors on CUDA; `torch_tiles.rasterize_tiles` is the reference."""
    means, colors = scene.means, scene.colors
    cameras, count = len(scene.viewmats), len(means)
    means2d_grad = means.new_zeros(cameras, count, 2)
    if count == 0:  # gsplat cannot launch a kernel without Gaussians
        nothing = means.sum() + colors.sum()  # stays connected to the graph
        image = means.new_zeros(cameras, scene.height, scene.width, 1) + nothing
        radii = torch.zeros(cameras, 0, dtype=torch.int32, device=means.device)
        return RasterOutput(image.expand(-1, -1, -1, 3), image, image, radii, means2d_grad)
    gsplat = load_gsplat()
    image, alpha, meta = gsplat.rasterization(
        *scene.gaussians,
        scene.viewmats,
        scene.Ks,
        scene.width,
        scene.height,
        near_plane=scene.near,
        eps2d=scene.eps2d,
        packed=False,
        render_mode="RGB+D",
        rasterize_mode="antialiased" if scene.antialiased else "classic",
    )
    if meta["means2d"].requires_grad:
        meta["means2d"].register_hook(copy_gradient_into(means2d_grad))
    radii = meta["radii"].amax(dim=-1).to(torch.int32)
    return RasterOutput(image[..., :3], alpha, image[..., 3:], radii, means2d_grad)
