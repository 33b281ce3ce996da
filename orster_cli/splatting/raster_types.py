"""What a rasterizer backend takes and returns.

N Gaussians, C cameras, H W pixels.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from orster_cli.splatting.raster_rules import EPS2D, NEAR


class RasterInput(NamedTuple):
    """Gaussians and cameras: `means` [N,3], `quats` [N,4] wxyz, `scales` [N,3], `opacities` [N],
    `colors` [N,3], `viewmats` [C,4,4] world to camera, `Ks` [C,3,3] pixels. All values are finite."""

    means: Tensor
    quats: Tensor
    scales: Tensor
    opacities: Tensor
    colors: Tensor
    viewmats: Tensor
    Ks: Tensor
    width: int
    height: int
    near: float = NEAR
    eps2d: float = EPS2D
    antialiased: bool = False

    @property
    def gaussians(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """The five tensors that receive gradients."""
        return self.means, self.quats, self.scales, self.opacities, self.colors


class RasterOutput(NamedTuple):
    """`rgb` [C,H,W,3] on black, `alpha` [C,H,W,1], `depth` [C,H,W,1] accumulated, `radii` [C,N] int32
    pixels, `means2d_grad` [C,N,2], which backward fills with the gradients of the projected centres
    (in pixels)."""

    rgb: Tensor
    alpha: Tensor
    depth: Tensor
    radii: Tensor
    means2d_grad: Tensor
