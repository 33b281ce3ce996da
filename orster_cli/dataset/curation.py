"""Curation of clips after Diffusion4D (arXiv 2405.16645, section 3.1).

Three times of the front view are compared by SSIM: above 0.95 throughout means no motion, below 0.4
throughout a broken animation. The white background raises the SSIM of whole frames above 0.95 even for
lively motions. So "no motion" is measured over the object, the union of the two silhouettes, where
0.95 separates static from moving clips; "broken" is measured over the whole frame, since over the object
a large motion alone falls far below 0.4. Figures: docs/LOG.md.
A small part may move alone, as a mark on a ball that turns: the mean over the object hides it. So the
pixels of the object that are least alike are looked at too.
T frames, H W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from orster_cli.core.types import OrbitClip
from orster_cli.metrics.ssim import RADIUS, ssim_map

CONSISTENT4D_TEST_IDS = (  # Objaverse ids of the Consistent4D test set, excluded from training data
    "ba7b382c918b40e6b07011da4ff3ebc0",
    "29c26c661f1c47aabb245c9b2f896455",
    "53abad43280a4b7ab26bd0e6b8dea62f",
    "22bbb0b7ca4d4d63b47b1367984aa7ce",
    "26adfd631730494ab0fc80c806eada77",
    "a1c936d72a9f4fa0ac15033339bd6efe",
    "9fea6ffd67b840cb970f5b4570794709",
)

_PART = 0.02  # of the object's pixels


@dataclass(frozen=True, kw_only=True)
class MotionCheck:
    """SSIM between t = 0 and T/4, and between T/4 and T/2, of the front view: over the union of the
    two silhouettes, and over the whole frame. `moving`: some other frame differs from the first, as in
    a motion whose period divides T/4, or in a small part of the object."""

    over_object: tuple[float, float]
    over_frame: tuple[float, float]
    moving: bool

    def verdict(self, still: float, broken: float) -> str | None:
        """The reason for dropping the clip, or None."""
        if min(self.over_object) > still and not self.moving:
            return f"no motion: SSIM over the object {_pair(self.over_object)}, above {still}"
        if max(self.over_frame) < broken:
            return f"broken motion: SSIM {_pair(self.over_frame)}, below {broken}"
        return None


def _pair(values: tuple[float, float]) -> str:
    return f"{values[0]:.3f} and {values[1]:.3f}"


def in_test_set(names: tuple[str, ...]) -> bool:
    """Whether any of `names` (file stem, folder) is in the Consistent4D test set."""
    return any(name.lower() in CONSISTENT4D_TEST_IDS for name in names)


def check_motion(front: OrbitClip, still: float) -> MotionCheck:
    """Compare frames of the front view; all of them only if the first three are alike."""
    if front.alpha is None:
        raise ValueError("check_motion: the front view has no alpha")
    frames, masks = front.over(), front.alpha > 0
    everywhere = torch.ones_like(masks[0])

    def compare(a: int, b: int, mask: Tensor) -> float:
        return object_ssim(frames[a], frames[b], mask)

    quarter, half = round((len(front) - 1) / 4), round((len(front) - 1) / 2)
    pairs = ((0, quarter), (quarter, half))
    over_object = [compare(a, b, masks[a] | masks[b]) for a, b in pairs]
    over_frame = [compare(a, b, everywhere) for a, b in pairs]
    moving = min(over_object) <= still or any(
        _differ(frames[0], frames[k], masks[0] | masks[k], still) for k in range(1, len(front))
    )
    return MotionCheck(
        over_object=(over_object[0], over_object[1]),
        over_frame=(over_frame[0], over_frame[1]),
        moving=moving,
    )


def _differ(a: Tensor, b: Tensor, mask: Tensor, still: float) -> bool:
    """Whether two images differ over the object as a whole, or in its `_PART` that is least alike: by twice
    as much, since coarse pixels of edges that turn differ a little."""
    values = _similarity(a, b)[mask[0]]
    if len(values) == 0:
        return False
    least = values.sort().values[: max(1, round(_PART * len(values)))]
    return float(values.mean()) <= still or float(least.mean()) <= 1 - 2 * (1 - still)


def motion_magnitude(dynamic: OrbitClip, static: OrbitClip) -> float:
    """Diffusion4D's m: mean over frames, channels and pixels of the squared difference between
    the dynamic and the static orbit on white, colours in [0, 1]."""
    difference = dynamic.over().double() - static.over().double()
    return float(difference.square().mean())


def touches_border(clip: OrbitClip) -> int | None:
    """The first frame whose alpha is not 0 somewhere on the image border, or None."""
    if clip.alpha is None:
        return None
    alpha = clip.alpha[:, 0]
    edge = torch.cat([alpha[:, 0], alpha[:, -1], alpha[:, :, 0], alpha[:, :, -1]], dim=1)
    touched = torch.nonzero(edge.amax(dim=1) > 0)
    return int(touched[0]) if len(touched) else None


def empty_frame(clip: OrbitClip) -> int | None:
    """The first frame that is empty, or None."""
    if clip.alpha is None:
        return None
    shown = clip.alpha.flatten(1).amax(dim=1) > 0
    return None if bool(shown.all()) else int(torch.nonzero(~shown)[0])


def object_ssim(a: Tensor, b: Tensor, mask: Tensor) -> float:
    """SSIM of two images [3,H,W] in [0,1] (Gaussian window, sigma 1.5, 11 x 11), averaged over
    `mask` [1,H,W]; 1 where the mask is empty."""
    if not bool(mask.any()):
        return 1.0
    return float(_similarity(a, b)[mask[0]].mean())


def _similarity(a: Tensor, b: Tensor) -> Tensor:
    """[H,W] SSIM of two images [3,H,W], mean over the channels."""
    padded = pad(torch.stack([a, b]).double(), (RADIUS,) * 4, mode="replicate")
    return ssim_map(padded[:1], padded[1:])[0].mean(dim=0)
