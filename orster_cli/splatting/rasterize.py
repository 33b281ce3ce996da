"""`rasterize`: 3D Gaussians to pixels, one function for every backend.

N Gaussians, C cameras, H W pixels. Conventions of `core.types`: OpenCV cameras, wxyz quaternions,
pixel centres at .5. `raster_rules` holds the constants of blending.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from orster_cli.core.compositing import premultiplied_over
from orster_cli.core.errors import ConfigError, NumericalError
from orster_cli.splatting.raster_rules import EPS2D, NEAR
from orster_cli.splatting.raster_types import RasterInput

BACKENDS = ("auto", "gsplat", "numba", "torch")


@dataclass(frozen=True, kw_only=True)
class Render:
    """Images of C cameras.

    `rgb` [C,H,W,3] over the background, `alpha` [C,H,W,1] in [0,1], `depth` [C,H,W,1] accumulated
    (the sum of weight x camera-space z: divide by alpha for the expected depth), `radii` [C,N]
    int32 pixels (0: not visible), `means2d_grad` [C,N,2]: after backward, the gradient of the loss
    with respect to each projected centre in pixels (zeros before); `backend`: its name.
    """

    rgb: Tensor
    alpha: Tensor
    depth: Tensor
    radii: Tensor
    means2d_grad: Tensor
    backend: str


def _check_shapes(scene: RasterInput) -> None:
    first, n, c = scene.means, scene.means.shape[0], scene.viewmats.shape[0]
    expected = {
        "means": (n, 3),
        "quats": (n, 4),
        "scales": (n, 3),
        "opacities": (n,),
        "colors": (n, 3),
        "viewmats": (c, 4, 4),
        "Ks": (c, 3, 3),
    }
    for name, shape in expected.items():
        tensor = getattr(scene, name)
        if tuple(tensor.shape) != shape:
            raise ValueError(
                f"rasterize: {name} must have shape {list(shape)}, got {list(tensor.shape)}"
            )
        if tensor.dtype != first.dtype or tensor.device != first.device:
            raise ValueError(
                f"rasterize: {name} is {tensor.dtype} on {tensor.device}, "
                f"but means is {first.dtype} on {first.device}"
            )
    if scene.width < 1 or scene.height < 1:
        raise ValueError(f"rasterize: the image must have pixels, got {scene.width}x{scene.height}")


def _check_finite(scene: RasterInput) -> None:
    """One check per call (and one device synchronization): the kernels assume finite numbers."""
    tensors = {name: x for name, x in scene._asdict().items() if isinstance(x, Tensor)}
    if scene.means.device.type == "cpu" and scene.means.dtype == torch.float32:
        from orster_cli.splatting.numba_raster import count_nonfinite

        counts = [count_nonfinite(tensor) for tensor in tensors.values()]
    else:
        counts = torch.stack([(~torch.isfinite(t)).sum() for t in tensors.values()]).tolist()
    for (name, tensor), count in zip(tensors.items(), counts, strict=True):
        if count:
            raise NumericalError(
                f"rasterize: {name} has {count} values of {tensor.numel()} that are NaN or infinite",
                hint="lower the learning rates, or start again from the last good checkpoint",
            )


def choose_backend(means: Tensor, backend: str = "auto") -> str:
    """The backend that `rasterize` uses for tensors like `means`: gsplat for float32 on CUDA, numba
    for float32 on the CPU, else torch with a warning (30 times slower)."""
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
    antialiased: bool = False,
    backend: str = "auto",
    threads: int | None = None,
) -> Render:
    """Render Gaussians into C cameras, differentiably.

    `means` [N,3] world, `quats` [N,4] wxyz of any nonzero norm, `scales` [N,3] > 0 world units,
    `opacities` [N] in [0,1], `colors` [N,3], `viewmats` [C,4,4] world to camera, `Ks` [C,3,3]
    pixels, `background` [3] or [C,3] or None (black). `eps2d`: the low-pass, pixels squared.
    `antialiased`: opacities are lowered by what the low-pass adds to a Gaussian's area (Yu et al. 2024,
    Mip-Splatting, the 2D Mip filter), as gsplat's mode of this name. `threads`: of the CPU backend, by
    default `torch.get_num_threads()`.

    Gradients reach means, quats, scales, opacities, colors and background from rgb, alpha and
    depth; cameras only with backend="torch".
    Raises NumericalError naming the tensor that is not finite, ConfigError for a backend that
    cannot take these tensors, MissingResourceError where gsplat cannot be built.
    """
    scene = RasterInput(
        means,
        quats,
        scales,
        opacities,
        colors,
        viewmats,
        Ks,
        width,
        height,
        near,
        eps2d,
        antialiased,
    )
    _check_shapes(scene)
    _check_finite(scene)
    chosen = choose_backend(means, backend)
    if chosen != "torch" and (viewmats.requires_grad or Ks.requires_grad):
        raise ConfigError(
            f"the {chosen} rasterizer has no gradients for cameras",
            hint='detach viewmats and Ks, or use backend="torch"',
        )
    if chosen == "numba":
        from orster_cli.splatting.numba_raster import rasterize_numba

        outputs = rasterize_numba(scene, threads=threads)
    elif chosen == "gsplat":
        from orster_cli.splatting.gsplat_raster import rasterize_gsplat

        outputs = rasterize_gsplat(scene)
    else:
        from orster_cli.splatting.torch_tiles import rasterize_tiles

        outputs = rasterize_tiles(scene)
    rgb = outputs.rgb
    if background is not None:
        background = background.to(rgb).reshape(-1, 1, 1, 3)
        rgb = premultiplied_over(rgb, outputs.alpha, background)
    return Render(**{**outputs._asdict(), "rgb": rgb}, backend=chosen)
