"""The CUDA rasterizer: `gsplat.rasterization`, with its build turned into one clear answer.

gsplat's wheel compiles its kernels when a GPU first uses it, with the nvcc it finds. That is the
step that fails for users, so it is done here once, apart from rendering.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from orster_cli.core.errors import MissingResourceError
from orster_cli.splatting.torch_tiles import fill_with_gradient


def nvcc_version() -> str:
    """The CUDA release of the nvcc on the path, such as "12.8", or "not found"."""
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        return "not found"
    try:
        command = [nvcc, "--version"]
        text = subprocess.run(  # noqa: S603 - a fixed command found on the path
            command, capture_output=True, text=True, timeout=20, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return "not answering"
    _, found, rest = text.partition("release ")
    return rest.split(",")[0].strip() if found else "unknown"


def build_failure(reason: str) -> MissingResourceError:
    """The error for a gsplat that cannot render here, with what a user needs to cure it."""
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
        # the build talks on stdout, which is for data
        with contextlib.redirect_stdout(sys.stderr):
            import gsplat
            from gsplat.cuda import _backend
    except Exception as error:
        lines = str(error).strip().splitlines()
        raise build_failure(f"{type(error).__name__}: {lines[0] if lines else ''}") from error
    if getattr(_backend, "_C", None) is None:
        raise build_failure("no CUDA toolkit was found to build them with")
    return gsplat


def rasterize_gsplat(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    colors: Tensor,
    viewmats: Tensor,
    Ks: Tensor,
    width: int,
    height: int,
    *,
    near: float,
    eps2d: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """As `torch_tiles.rasterize_tiles`, for finite float32 tensors on CUDA."""
    cameras, count = len(viewmats), len(means)
    means2d_grad = means.new_zeros(cameras, count, 2)
    if count == 0:  # gsplat launches no kernel on nothing
        nothing = means.sum() + colors.sum()  # keeps the graph
        image = means.new_zeros(cameras, height, width, 1) + nothing
        radii = torch.zeros(cameras, 0, dtype=torch.int32, device=means.device)
        return image.expand(-1, -1, -1, 3), image, image, radii, means2d_grad
    gsplat = load_gsplat()
    image, alpha, meta = gsplat.rasterization(
        means,
        quats,
        scales,
        opacities,
        colors,
        viewmats,
        Ks,
        width,
        height,
        near_plane=near,
        eps2d=eps2d,
        packed=False,
        render_mode="RGB+D",
    )
    if meta["means2d"].requires_grad:
        meta["means2d"].register_hook(fill_with_gradient(means2d_grad))
    radii = meta["radii"].amax(dim=-1).to(torch.int32)
    return image[..., :3], alpha, image[..., 3:], radii, means2d_grad
