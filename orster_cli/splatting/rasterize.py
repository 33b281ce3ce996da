"""`rasterize`: 3D Gaussians to pixels, one function for every backend.

N Gaussians, C cameras, H W pixels. Conventions of `core.types`: OpenCV cameras, wxyz quaternions,
pixel centres at .5. The rules of blending are the constants of `semantics`.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from orster_cli.core.compositing import premultiplied_over
from orster_cli.core.errors import ConfigError, NumericalError
from orster_cli.splatting.semantics import EPS2D, NEAR

BACKENDS = ("auto", "gsplat", "numba", "torch")


@dataclass(frozen=True, kw_only=True)
class Render:
    """What C cameras see.

    `rgb` [C,H,W,3] over the background, `alpha` [C,H,W,1] in [0,1], `depth` [C,H,W,1] accumulated
    (the sum of weight x camera-space z: divide by alpha for the expected depth), `radii` [C,N]
    int32 pixels (0: not seen), `means2d_grad` [C,N,2]: after backward, the gradient of the loss
    by each projected centre in pixels (zeros before); `backend`: the one that made it.
    """

    rgb: Tensor
    alpha: Tensor
    depth: Tensor
    radii: Tensor
    means2d_grad: Tensor
    backend: str


def _check_shapes(
    tensors: dict[str, Tensor], expected: dict[str, tuple[int, ...]], width: int, height: int
) -> None:
    first = tensors["means"]
    for name, tensor in tensors.items():
        if tuple(tensor.shape) != expected[name]:
            raise ValueError(
                f"rasterize: {name} must have shape {list(expected[name])}, "
                f"got {list(tensor.shape)}"
            )
        if tensor.dtype != first.dtype or tensor.device != first.device:
            raise ValueError(
                f"rasterize: {name} is {tensor.dtype} on {tensor.device}, "
                f"but means is {first.dtype} on {first.device}"
            )
    if width < 1 or height < 1:
        raise ValueError(f"rasterize: the image must have pixels, got {width}x{height}")


def _check_finite(tensors: dict[str, Tensor]) -> None:
    """One check a call (and one wait for the device): the kernels assume finite numbers."""
    if all(t.device.type == "cpu" and t.dtype == torch.float32 for t in tensors.values()):
        from orster_cli.splatting.numba_raster import nonfinite

        counts = [nonfinite(tensor) for tensor in tensors.values()]
    else:
        counts = torch.stack([(~torch.isfinite(t)).sum() for t in tensors.values()]).tolist()
    for (name, tensor), bad in zip(tensors.items(), counts, strict=True):
        if bad:
            raise NumericalError(
                f"rasterize: {name} has {bad} values of {tensor.numel()} that are NaN or infinite",
                hint="lower the learning rates, or start again from the last good checkpoint",
            )


def choose_backend(means: Tensor, backend: str = "auto") -> str:
    """The backend that `rasterize` uses for tensors like `means`: gsplat for CUDA, numba for
    float32 on the CPU, else torch (30 times slower; a warning says so)."""
    if backend not in BACKENDS:
        raise ConfigError(f"unknown rasterizer {backend!r}", hint="one of " + ", ".join(BACKENDS))
    cpu32 = means.device.type == "cpu" and means.dtype == torch.float32
    if backend == "numba" and not cpu32:
        raise ConfigError(
            f"the numba rasterizer takes float32 on the CPU, got {means.dtype} on {means.device}",
            hint='use backend="auto"',
        )
    if backend == "gsplat" and (means.device.type != "cuda" or means.dtype != torch.float32):
        raise ConfigError(
            f"the gsplat rasterizer takes float32 on CUDA, got {means.dtype} on {means.device}",
            hint='use backend="auto", or move the tensors',
        )
    if backend != "auto":
        return backend
    if means.device.type == "cuda" and means.dtype == torch.float32:
        return "gsplat"
    if cpu32:
        return "numba"
    warnings.warn(
        f"rasterizing {means.dtype} on {means.device} with the torch reference, "
        "about 30 times slower than the numba and gsplat backends",
        stacklevel=3,
    )
    return "torch"


def rasterize(
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
    background: Tensor | None = None,
    near: float = NEAR,
    eps2d: float = EPS2D,
    backend: str = "auto",
    threads: int | None = None,
) -> Render:
    """Render Gaussians into C cameras, differentiably.

    `means` [N,3] world, `quats` [N,4] wxyz of any norm but 0, `scales` [N,3] > 0 world units,
    `opacities` [N] in [0,1], `colors` [N,3], `viewmats` [C,4,4] world to camera, `Ks` [C,3,3]
    pixels, `background` [3] or [C,3] or None (black). `threads`: of the CPU backend, by default
    `torch.get_num_threads()`.

    Gradients reach means, quats, scales, opacities, colors and background from rgb, alpha and
    depth; cameras only with backend="torch".
    Raises NumericalError naming the tensor that is not finite, ConfigError for a backend that
    cannot take these tensors, MissingResourceError where gsplat cannot be built.
    """
    n, c = means.shape[0], viewmats.shape[0]
    gaussians = {
        "means": means,
        "quats": quats,
        "scales": scales,
        "opacities": opacities,
        "colors": colors,
    }
    cameras = {"viewmats": viewmats, "Ks": Ks}
    expected = {
        "means": (n, 3),
        "quats": (n, 4),
        "scales": (n, 3),
        "opacities": (n,),
        "colors": (n, 3),
        "viewmats": (c, 4, 4),
        "Ks": (c, 3, 3),
    }
    _check_shapes(gaussians | cameras, expected, width, height)
    _check_finite(gaussians | cameras)
    chosen = choose_backend(means, backend)
    if chosen != "torch" and (viewmats.requires_grad or Ks.requires_grad):
        raise ConfigError(
            f"the {chosen} rasterizer has no gradients for cameras",
            hint='detach viewmats and Ks, or use backend="torch"',
        )
    arguments = (means, quats, scales, opacities, colors, viewmats, Ks, width, height)
    if chosen == "numba":
        from orster_cli.splatting.numba_raster import rasterize_numba

        outputs = rasterize_numba(*arguments, near=near, eps2d=eps2d, threads=threads)
    elif chosen == "gsplat":
        from orster_cli.splatting.gsplat_raster import rasterize_gsplat

        outputs = rasterize_gsplat(*arguments, near=near, eps2d=eps2d)
    else:
        from orster_cli.splatting.torch_tiles import rasterize_tiles

        outputs = rasterize_tiles(*arguments, near=near, eps2d=eps2d)
    rgb, alpha, depth, radii, means2d_grad = outputs
    if background is not None:
        rgb = premultiplied_over(rgb, alpha, background.to(rgb).reshape(-1, 1, 1, 3))
    return Render(
        rgb=rgb,
        alpha=alpha,
        depth=depth,
        radii=radii,
        means2d_grad=means2d_grad,
        backend=chosen,
    )
