"""The reference rasterizer: plain torch, any dtype, any device, gradients by autograd.

It is slow and written to be read; tests hold the other backends to its float64 values and gradients.
N Gaussians, C cameras, H W pixels, M Gaussians that touch a tile, P pixels of a tile.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from orster_cli.splatting.raster_rules import (
    ALPHA_MAX,
    ALPHA_MIN,
    FRUSTUM_MARGIN,
    SIGMA_EXTENT,
    TRANSMITTANCE_STOP,
)
from orster_cli.splatting.raster_types import RasterInput, RasterOutput


class Projected(NamedTuple):
    """Gaussians in one image: `means2d` [N,2] pixels, `conics` [N,3] (xx, xy, yy of the inverse
    covariance), `depths` [N], `radii` [N,2] integer pixels, 0 if the Gaussian is not visible, `opacities`
    [N], compensated where that is asked for."""

    means2d: Tensor
    conics: Tensor
    depths: Tensor
    radii: Tensor
    opacities: Tensor


def rotation_matrices(quats: Tensor) -> Tensor:
    """[N,3,3] rotation matrices of the wxyz quaternions `quats` [N,4] of any nonzero norm."""
    w, x, y, z = torch.nn.functional.normalize(quats, dim=-1).unbind(-1)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def project(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    viewmat: Tensor,
    K: Tensor,
    width: int,
    height: int,
    *,
    near: float,
    eps2d: float,
    antialiased: bool = False,
) -> Projected:
    """EWA projection of Gaussians into one camera (`viewmat` [4,4], `K` [3,3])."""
    in_camera = means @ viewmat[:3, :3].T + viewmat[:3, 3]
    z = in_camera[:, 2]
    # Gaussians behind the camera are culled below; depth 1 keeps their gradients free of NaN
    in_front = z > near
    x, y, z = in_camera[:, 0], in_camera[:, 1], torch.where(in_front, z, torch.ones_like(z))
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    means2d = torch.stack([fx * x / z + cx, fy * y / z + cy], dim=-1)

    margin_x, margin_y = FRUSTUM_MARGIN * width / fx, FRUSTUM_MARGIN * height / fy
    x_over_z = torch.minimum(
        torch.maximum(x / z, -cx / fx - margin_x), (width - cx) / fx + margin_x
    )
    y_over_z = torch.minimum(
        torch.maximum(y / z, -cy / fy - margin_y), (height - cy) / fy + margin_y
    )
    zero = torch.zeros_like(z)
    jacobian = torch.stack(
        [
            torch.stack([fx / z, zero, -fx * x_over_z / z], dim=-1),
            torch.stack([zero, fy / z, -fy * y_over_z / z], dim=-1),
        ],
        dim=-2,
    )
    half = jacobian @ viewmat[:3, :3] @ (rotation_matrices(quats) * scales[:, None, :])
    cov = half @ half.transpose(-1, -2)
    before = cov[:, 0, 0] * cov[:, 1, 1] - cov[:, 0, 1].square()
    cov = cov + eps2d * torch.eye(2, dtype=means.dtype).to(means)
    xx, xy, yy = cov[:, 0, 0], cov[:, 0, 1], cov[:, 1, 1]
    determinant = xx * yy - xy * xy
    conics = torch.stack([yy / determinant, -xy / determinant, xx / determinant], dim=-1)
    if antialiased:  # the integral over the image stays what it was without the low-pass
        ratio = before / determinant
        held = ratio > 0  # the root has no gradient at 0
        kept = torch.where(held, ratio, torch.ones_like(ratio)).sqrt()
        opacities = opacities * torch.where(held, kept, torch.zeros_like(ratio))

    with torch.no_grad():
        sigmas = (2 * torch.log(opacities.clamp_min(ALPHA_MIN) / ALPHA_MIN)).sqrt()
        extent = sigmas.clamp_max(SIGMA_EXTENT)
        radii = torch.ceil(extent[:, None] * torch.stack([xx, yy], dim=-1).sqrt())
        size = torch.tensor([width, height], dtype=means.dtype, device=means.device)
        inside = ((means2d + radii > 0) & (means2d - radii < size)).all(dim=-1)
        visible = in_front & inside & (determinant > 0) & (opacities >= ALPHA_MIN)
        radii = torch.where(visible[:, None], radii, torch.zeros_like(radii))
    return Projected(means2d, conics, z, radii, opacities)


def _blend_tile(
    pixels: Tensor, means2d: Tensor, conics: Tensor, opacities: Tensor, features: Tensor
) -> tuple[Tensor, Tensor]:
    """Front-to-back compositing of M depth-sorted Gaussians at `pixels` [P,2].

    Returns the blended `features` [M,F] as [P,F] and alpha [P].
    """
    offset = pixels[:, None, :] - means2d[None, :, :]  # [P,M,2]
    dx, dy = offset[..., 0], offset[..., 1]
    sigma = 0.5 * (conics[:, 0] * dx * dx + conics[:, 2] * dy * dy) + conics[:, 1] * dx * dy
    raw = opacities * torch.exp(-sigma)
    alpha = raw.clamp_max(ALPHA_MAX)
    alpha = torch.where((sigma >= 0) & (alpha >= ALPHA_MIN), alpha, torch.zeros_like(alpha))
    after = torch.cumprod(1 - alpha, dim=1)
    before = torch.cat([torch.ones_like(after[:, :1]), after[:, :-1]], dim=1)
    weights = torch.where(after > TRANSMITTANCE_STOP, alpha * before, torch.zeros_like(alpha))
    return weights @ features, weights.sum(dim=1)


def _blend(
    projected: Projected, features: Tensor, width: int, height: int, tile: int
) -> tuple[Tensor, Tensor]:
    """Blends `features` [N,F] to [H,W,F] and alpha [H,W,1] in square tiles of `tile` pixels."""
    means2d, conics, depths, radii, opacities = projected
    visible = torch.nonzero(radii[:, 0] > 0)[:, 0]
    order = visible[torch.argsort(depths.detach()[visible], stable=True)]
    means2d, conics, radii = means2d[order], conics[order], radii[order]
    opacities, features = opacities[order], features[order]
    low, high = (means2d - radii - 1).detach(), (means2d + radii + 1).detach()

    rows = []
    for top in range(0, height, tile):
        bottom = min(top + tile, height)
        in_row = torch.nonzero((high[:, 1] >= top) & (low[:, 1] <= bottom))[:, 0]
        row_low, row_high = low[in_row, 0], high[in_row, 0]
        columns = []
        for left in range(0, width, tile):
            right = min(left + tile, width)
            in_tile = in_row[(row_high >= left) & (row_low <= right)]
            y, x = torch.meshgrid(
                torch.arange(top, bottom, dtype=means2d.dtype, device=means2d.device) + 0.5,
                torch.arange(left, right, dtype=means2d.dtype, device=means2d.device) + 0.5,
                indexing="ij",
            )
            pixels = torch.stack([x.flatten(), y.flatten()], dim=-1)
            blended, alpha = _blend_tile(
                pixels, means2d[in_tile], conics[in_tile], opacities[in_tile], features[in_tile]
            )
            channels = torch.cat([blended, alpha[:, None]], dim=-1)
            columns.append(channels.reshape(bottom - top, right - left, -1))
        rows.append(torch.cat(columns, dim=1))
    image = torch.cat(rows, dim=0)
    return image[..., :-1], image[..., -1:]


def copy_gradient_into(buffer: Tensor) -> Callable[[Tensor | None], None]:
    """A tensor hook that copies the gradient into `buffer` and does not change it."""

    def hook(gradient: Tensor | None) -> None:
        if gradient is not None:
            buffer.copy_(gradient)

    return hook


def _default_tile_size(width: int, height: int) -> int:
    """About a hundred tiles per image: more tiles cost launches, larger tiles blend empty pairs."""
    return max(4, math.ceil(max(width, height) / 12))


def rasterize_tiles(scene: RasterInput, *, tile: int | None = None) -> RasterOutput:
    """Rasterize in square tiles of `tile` pixels; the reference of every backend."""
    means, width, height = scene.means, scene.width, scene.height
    tile = tile or _default_tile_size(width, height)
    cameras = len(scene.viewmats)
    means2d_grad = torch.zeros(cameras, len(means), 2, dtype=means.dtype, device=means.device)
    images, alphas, radii = [], [], []
    for camera, (viewmat, K) in enumerate(zip(scene.viewmats, scene.Ks, strict=True)):
        projected = project(
            *scene.gaussians[:4],
            viewmat,
            K,
            width,
            height,
            near=scene.near,
            eps2d=scene.eps2d,
            antialiased=scene.antialiased,
        )
        if projected.means2d.requires_grad:
            projected.means2d.register_hook(copy_gradient_into(means2d_grad[camera]))
        features = torch.cat([scene.colors, projected.depths[:, None]], dim=-1)
        image, alpha = _blend(projected, features, width, height, tile)
        images.append(image)
        alphas.append(alpha)
        radii.append(projected.radii.amax(dim=-1).to(torch.int32))
    stacked = torch.stack(images)
    return RasterOutput(
        stacked[..., :3],
        torch.stack(alphas),
        stacked[..., 3:],
        torch.stack(radii),
        means2d_grad,
    )
