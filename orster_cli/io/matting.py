"""Alpha mattes of objects on a plain background, or on one that shades smoothly.

T frames, H W pixels. The background is the colour of the frame borders, or what `io.backdrop` makes of it
where they have no common one. Pixels of that colour that are connected to the border are background; a
thin band around them may be partly covered; all other pixels are opaque, so white eyes and white fur on a
white background stay. An enclosed patch of background colour is a hole, except on white, black and shaded
backgrounds, where it is more likely part of the object, unless the caller knows better.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from orster_cli.core.errors import InputError
from orster_cli.core.reporting import Reporter
from orster_cli.io.backdrop import fit_backdrop, outside_pixels
from orster_cli.io.shadows import averaged, floor_shadow, shadow_share

BORDER_SPREAD = 0.06  # colour distance within which border pixels count as background
BORDER_SHARE = 0.9  # of the border pixels of all frames must be background
EDGE = 0.018  # colour distance between neighbours at most of an outline, or it is that of a light's glow
CLEAR = 0.035  # colour distance up to which a pixel is background (video compression is noisy)
SOLID = 0.16  # and from which it is opaque
BAND = 3  # pixels around the background that may be partly covered: antialiasing, codec bleed
MIN_COVERAGE, MAX_COVERAGE = 1e-3, 0.95  # mean alpha of a frame
SHADOW_SHARE = 0.04  # of the masks, from which on a shadow in them is said
MIN_HOLE = 6e-4  # least area of a hole, as a share of the frame
UNMIXED = 0.05  # alpha below which the object's colour cannot be recovered


@dataclass(frozen=True, kw_only=True)
class Matte:
    """`alpha` [T,1,H,W], straight colours `frames` [T,3,H,W], the median colour `background` [3] of the
    border, the share of border pixels that have the background's colour, what is `behind` the object,
    [T,3,H,W] or, where it is plain, [1,3,1,1]; and `left_out`, the share of what differs from it that was a
    soft shadow on the floor of a picture."""

    alpha: Tensor
    frames: Tensor
    background: Tensor
    border_share: float
    behind: Tensor
    left_out: float

    def say(self, where: str, reporter: Reporter) -> None:
        """What the background was taken for."""
        if self.behind.shape[-1] == 1:
            reporter.note(
                f"{where}: no alpha; the background is the colour {_rounded(self.background.tolist())} "
                f"({self.border_share:.0%} of the border)"
            )
        else:
            first = self.behind[0].flatten(1)
            bright = first.sum(dim=0)
            least, most = (first[:, int(i)].tolist() for i in (bright.argmin(), bright.argmax()))
            reporter.note(
                f"{where}: no alpha; the background shades smoothly, from {_rounded(least)} to "
                f"{_rounded(most)}"
            )
        if self.left_out > 0:
            reporter.warn(
                f"{where}: {self.left_out:.0%} of what differs from the background is a soft shadow on the "
                "floor, and left out"
            )

    def say_shadow(self, frames: Tensor, where: str, reporter: Reporter) -> None:
        """Where a soft shadow in `frames` [T,3,H,W] is taken for a part of the object."""
        share = shadow_share(frames, self.alpha, self.behind)
        if share > SHADOW_SHARE:
            reporter.warn(
                f"{where}: {share:.0%} of the object's mask looks like a soft shadow on the floor and "
                "becomes a part of it: render without shadow, or give frames with alpha"
            )


def _rounded(color: list[float]) -> list[float]:
    return [round(value, 2) for value in color]


def matte(frames: Tensor, *, where: str, gaps: bool = False, without_shadow: bool = False) -> Matte:
    """Alpha and unmixed colours of `frames` [T,3,H,W] in [0,1] on a plain or smoothly shaded background.
    `gaps`: enclosed patches of a white or black background are holes, too; `without_shadow`: what is a soft
    shadow on the floor belongs to the background.

    InputError: the borders have no common colour and no smooth one, or a frame is (almost) empty or
    full."""
    behind = _Background(frames, where)
    alpha = torch.empty(len(frames), 1, *frames.shape[2:])
    straight = torch.empty_like(frames)
    left_out = 0.0
    for i, frame in enumerate(frames):
        background = behind.of(i)
        alpha[i, 0] = _alpha(frame, background, gaps, behind.shades)
        if without_shadow:
            shadow = floor_shadow(frame, alpha[i, 0], background)
            left_out += float(shadow.sum() / (alpha[i, 0] > 0.05).sum().clamp_min(1)) / len(frames)
            alpha[i, 0, shadow] = 0.0
        _check_coverage(float(alpha[i].mean()), i, where)
        if behind.plain < BORDER_SHARE and _glows(frame, alpha[i, 0]):
            raise behind.refusal(where)
        mixed = frame - (1 - alpha[i]) * background
        unmixed = (mixed / alpha[i].clamp_min(UNMIXED)).clamp(0, 1)
        straight[i] = torch.where(alpha[i] > UNMIXED, unmixed, frame)
    return Matte(
        alpha=alpha,
        frames=straight,
        background=behind.color,
        border_share=behind.share,
        behind=behind.behind,
        left_out=left_out,
    )


def shows_object(frames: Tensor, *, where: str) -> Tensor:
    """[T] bool: frames of which `matte` would leave something. InputError: the borders have no common
    colour and no smooth one."""
    behind = _Background(frames, where)
    alphas = (_alpha(frame, behind.of(i), filled=behind.shades) for i, frame in enumerate(frames))
    found = [float(a.mean()) >= MIN_COVERAGE and float(a.max()) >= 0.5 for a in alphas]
    return torch.tensor(found)


class _Background:
    """What is `behind` the object in `frames` [T,3,H,W]: [1,3,1,1], the median `color` [3] of the border
    of all, or where too few of its pixels have it (`plain`: their share), or a picture glows behind the
    object, the backdrop of each frame [T,3,H,W]. `share`: of the border's pixels that it explains.
    InputError: too few."""

    def __init__(self, frames: Tensor, where: str) -> None:
        border = _border(frames)
        self.color = border.flatten(0, 1).median(dim=0).values
        self.behind = self.color[None, :, None, None]
        self.plain = self.share = _explained(border - self.color)
        if self.plain >= BORDER_SHARE and not (len(frames) == 1 and self._glows_in(frames[0])):
            return
        shaded, share = _backdrops(frames)
        if shaded is None and self.plain < BORDER_SHARE:
            raise self.refusal(where)
        if shaded is None:
            return
        plain, self.behind = self.behind, shaded
        if self.plain >= BORDER_SHARE and self._glows_in(frames[0]):
            self.behind = plain  # it is no better
        else:
            self.share = share

    @property
    def shades(self) -> bool:
        """Whether it is not of one colour."""
        return self.behind.shape[-1] > 1

    def of(self, number: int) -> Tensor:
        """[3,H,W] or [3,1,1] of one frame."""
        return self.behind[number if self.shades else 0]

    def _glows_in(self, first: Tensor) -> bool:
        return _glows(first, _alpha(first, self.of(0), filled=self.shades))

    def refusal(self, where: str) -> InputError:
        """Of a background that is neither plain nor smooth."""
        return InputError(
            f"{where}: the background is not one plain colour ({self.plain:.0%} of the border pixels "
            f"agree, {BORDER_SHARE:.0%} needed), nor does it shade smoothly",
            code="E-MATTE",
            hint="give frames with alpha (a folder of RGBA PNG), or remove the background first",
        )


def _backdrops(frames: Tensor) -> tuple[Tensor | None, float]:
    """[T,3,H,W] of each frame, or None where one of them does not explain its border; and the least share
    of a border that is explained."""
    found, share = [], 1.0
    for frame in frames:
        found.append(fit_backdrop(frame))
        share = min(share, _explained(_border((frame - found[-1])[None])))
        if share < BORDER_SHARE:
            return None, share
    return torch.stack(found), share


def _explained(off: Tensor) -> float:
    """Share of differences [...,3] that are small."""
    return float((off.abs().amax(-1) < BORDER_SPREAD).float().mean())


def _border(frames: Tensor) -> Tensor:
    """[T,P,3] the outermost pixels."""
    sides = [frames[:, :, 0], frames[:, :, -1], frames[:, :, :, 0], frames[:, :, :, -1]]
    return torch.cat(sides, dim=-1).permute(0, 2, 1)


def _alpha(frame: Tensor, background: Tensor, gaps: bool = False, filled: bool = False) -> Tensor:
    """[H,W] alpha of one frame [3,H,W] before `background` [3,H or 1,W or 1]; `filled`: no holes."""
    distance = (frame - background).abs().amax(dim=0)
    soft = ((distance - CLEAR) / (SOLID - CLEAR)).clamp(0, 1)
    # enclosed white or black is often part of the object, and a false hole cuts through it
    extreme = float(background.min()) > 0.97 or float(background.max()) < 0.03
    whole = (extreme or filled) and not gaps
    hole = soft.numel() + 1 if whole else max(1, round(MIN_HOLE * soft.numel()))
    outside = torch.from_numpy(outside_pixels((soft == 0).numpy(), hole))[None].float()
    near = F.max_pool2d(outside, 2 * BAND + 1, stride=1, padding=BAND)[0] > 0
    return torch.where(near, soft, torch.ones(()))


def _glows(frame: Tensor, alpha: Tensor) -> bool:
    """Whether colours hardly change across most of the outline of `alpha` [H,W]."""
    calm, solid = averaged(frame), (averaged(alpha[None]) >= 0.5).float()
    outline = (F.max_pool2d(solid, 3, 1, 1) + F.max_pool2d(-solid, 3, 1, 1))[0] > 0
    steps = F.max_pool2d(calm, 3, 1, 1) + F.max_pool2d(-calm, 3, 1, 1)
    at = steps.amax(dim=0)[outline]
    return len(at) > 0 and float(at.median()) < EDGE


def _check_coverage(share: float, frame: int, where: str) -> None:
    if share < MIN_COVERAGE:
        raise InputError(
            f"{where}: frame {frame} shows nothing but background",
            code="E-MATTE-EMPTY",
            hint="cut the video to the frames that show the object, or give frames with alpha",
        )
    if share > MAX_COVERAGE:
        raise InputError(
            f"{where}: the object fills the whole of frame {frame}",
            code="E-MATTE-FULL",
            hint="the object must be seen whole on a plain background",
        )


def spread_colors(colors: Tensor, own: Tensor) -> Tensor:
    """Colours [3,H,W] whose pixels outside of `own` [H,W] have that of the nearest in it."""
    from scipy.ndimage import distance_transform_edt

    nearest = distance_transform_edt(~own.numpy(), return_distances=False, return_indices=True)
    y, x = (torch.from_numpy(one).long() for one in nearest)
    return colors[:, y, x]
