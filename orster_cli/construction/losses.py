"""The losses of the construct stage (paper, section 4.5).

H W pixels. Images are [H,W,3], alpha and depth [H,W,1], all float32; a batch is one view.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from orster_cli.core.compositing import premultiplied_over
from orster_cli.metrics.perceptual import find_trunk, load_lpips, lpips_distance
from orster_cli.splatting.rasterize import Render

AVERAGED = (1 / 16, 1 / 8, 1 / 4)  # of the longer side, on which pixels are averaged
Perceptual = Callable[[Tensor, Tensor], Tensor]


# Eq. 17: L_hex = 1/tau sum_t || f(phi(S, t), o_ref) - I_ref^t ||^2.
# One frame per step instead of the sum. The paper fixes the camera at the reference view. Here the frames
# of an orbit are driving frames with their own cameras, and so are those of an additional front view.
def driving_loss(rgb: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of a rendered frame [H,W,3] and the driving video's frame."""
    return (rgb - target).square().mean()


def l1_loss(rgb: Tensor, target: Tensor) -> Tensor:
    """Mean absolute error of images [H,W,3]."""
    return (rgb - target).abs().mean()


def mask_loss(alpha: Tensor, target: Tensor) -> Tensor:
    """Mean absolute error of alpha [H,W,1]: it penalises Gaussians of the background's colour too."""
    return (alpha - target).abs().mean()


def image_terms(
    rgb: Tensor, alpha: Tensor, target_rgb: Tensor, target_alpha: Tensor, background: Tensor
) -> Tensor:
    """[3] L1 loss, driving loss and mask loss of premultiplied `rgb` [H,W,3] with `alpha` [H,W,1] on
    `background` [3]."""
    supported = rgb.device.type == "cpu" and rgb.dtype == target_rgb.dtype == torch.float32
    if supported:
        from orster_cli.construction.image_losses_numba import image_terms_fused

        return image_terms_fused(rgb, alpha, target_rgb, target_alpha, background)
    shown = premultiplied_over(rgb, alpha, background)
    return torch.stack(
        [
            l1_loss(shown, target_rgb),
            driving_loss(shown, target_rgb),
            mask_loss(alpha, target_alpha),
        ]
    )


def depth_smoothness(depth: Tensor, alpha: Tensor) -> Tensor:
    """Mean squared difference of expected depth between neighbouring pixels that are both covered
    (Niemeyer et al., RegNeRF, Eq. 5, on the whole view instead of sampled patches).

    `depth` [H,W,1] is accumulated (sum of weight x z), `alpha` [H,W,1]; world units squared."""
    expected = (depth / alpha.clamp_min(1e-4))[..., 0]
    covered = alpha[..., 0].detach() > 0.5
    total = expected.new_zeros(())
    for axis in (0, 1):
        difference = expected.diff(dim=axis).square()
        size = expected.shape[axis] - 1
        both = covered.narrow(axis, 0, size) & covered.narrow(axis, 1, size)
        total = total + (difference * both).sum() / both.sum().clamp_min(1)
    return total


def load_perceptual(device: torch.device) -> Perceptual:
    """LPIPS v0.1 (Zhang et al. 2018, VGG) of two images [H,W,3] in [0,1].

    Raises MissingResourceError if the trunk's weights are not in torch's cache."""
    distance = lpips_distance(load_lpips("vgg", find_trunk("vgg")).to(device))

    def perceptual(rgb: Tensor, target: Tensor) -> Tensor:
        first, second = (x.permute(2, 0, 1)[None] for x in (rgb, target))
        return distance(first, second).mean()

    return perceptual


@dataclass(frozen=True, kw_only=True)
class LossWeights:
    l1: float
    lpips: float
    depth: float
    hex: float
    mask: float


# Eq. 18: L_gs = l1 L_l1 + lpips L_lpips + dep L_dep + hex L_hex. The paper publishes no weights;
# the mask term is an addition. Terms with weight 0 are not computed, nor is LPIPS if `perceptual` is None.
def splatting_loss(
    render: Render,
    target_rgb: Tensor,
    target_alpha: Tensor,
    weights: LossWeights,
    *,
    background: Tensor,
    perceptual: Perceptual | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Total loss and its unweighted terms, for view 0 of `render` composited on `background` [3]."""
    alpha = render.alpha[0]
    names = [name for name in ("l1", "hex", "mask") if getattr(weights, name)]
    values = image_terms(render.rgb[0], alpha, target_rgb, target_alpha, background)
    found = dict(zip(("l1", "hex", "mask"), values.unbind(), strict=True))
    terms = {name: found[name] for name in names}
    if weights.depth:
        terms["depth"] = depth_smoothness(render.depth[0], alpha)
    if weights.lpips and perceptual is not None:
        rgb = premultiplied_over(render.rgb[0], alpha, background)
        terms["lpips"] = perceptual(rgb, target_rgb)
    zero = alpha.new_zeros(())
    total = sum((getattr(weights, name) * term for name, term in terms.items()), zero)
    return total, terms


def averages_loss(
    render: Render,
    target_rgb: Tensor,
    target_alpha: Tensor,
    weights: LossWeights,
    *,
    background: Tensor,
) -> Tensor:
    """The image and mask terms of `splatting_loss` between local averages of the pictures, over squares of
    `AVERAGED`: a blurred frame tells where the object is, and not how it looks."""
    alpha = render.alpha[0]
    shown = premultiplied_over(render.rgb[0], alpha, background)
    made, seen = (torch.cat(both, dim=-1) for both in ((shown, alpha), (target_rgb, target_alpha)))
    off = (made - seen).permute(2, 0, 1)[None]
    total = alpha.new_zeros(())
    for share in AVERAGED:
        side = max(round(share * max(alpha.shape[:2])), 1)
        mean = F.avg_pool2d(off, side, stride=max(side // 2, 1), padding=side // 2)
        rgb, mask = mean[:, :3], mean[:, 3]
        total = total + weights.l1 * rgb.abs().mean() + weights.hex * rgb.square().mean()
        total = total + weights.mask * mask.abs().mean()
    return total / len(AVERAGED)
