"""Bars beside a video and fades at its ends, which are no part of the scene. T frames, H W pixels."""

from __future__ import annotations

import torch
from torch import Tensor

from orster_cli.core.names import counted
from orster_cli.core.reporting import Reporter
from orster_cli.io.matting import BORDER_SPREAD, SOLID

UNIFORM = 0.98  # of a bar's pixels have its colour, in all frames
PLAIN = 0.8  # of the pixels beside a bar have the colour of the background
WIDEST = 0.45  # of the frame on one side
MOST_FADED = 0.4  # of the frames


def cut_bars(frames: Tensor, where: str, reporter: Reporter) -> Tensor:
    """`frames` [T,3,H,W] without pillar or letter boxes: plain bars at opposite sides, of one colour that
    is not that of the background beside them."""
    for axis, name in ((3, "columns"), (2, "rows")):
        first, last = _bar(frames, axis, 1), _bar(frames, axis, -1)
        if first and last:
            size = frames.shape[axis]
            frames = frames.narrow(axis, first, size - first - last)
            reporter.warn(
                f"{where}: bars of {first} and {last} {name} at its sides are cut off; {frames.shape[3]}x"
                f"{frames.shape[2]} pixels are left"
            )
    return frames


def _bar(frames: Tensor, axis: int, step: int) -> int:
    """The width in pixels of the bar at the first (`step` 1) or last side along `axis`; 0: none."""
    lines = frames.movedim(axis, 0) if step > 0 else frames.movedim(axis, 0).flip(0)
    color = lines[0].movedim(1, 0).flatten(1).median(dim=1).values
    most = int(WIDEST * len(lines))
    alike = (lines[: most + 2] - color[:, None]).abs().amax(dim=2) < BORDER_SPREAD  # [L,T,other]
    uniform = alike.flatten(1).float().mean(dim=1) >= UNIFORM
    width = int(uniform.long().cumprod(dim=0).sum())
    if not 0 < width <= most:
        return 0
    beside = lines[width + 1]  # the line between may be mixed
    inner = beside.movedim(1, 0).flatten(1).median(dim=1).values
    plain = ((beside - inner[:, None]).abs().amax(dim=1) < BORDER_SPREAD).float().mean()
    if float((inner - color).abs().max()) < BORDER_SPREAD or float(plain) < PLAIN:
        return 0
    mixed = (lines[width] - inner[:, None]).abs().amax(dim=1) >= BORDER_SPREAD
    return width + int(float(mixed.float().mean()) > 0.5)


def without_fades(frames: Tensor, where: str, reporter: Reporter) -> Tensor:
    """[T] bool: the frames of [T,3,H,W] to keep. Frames at the start and end whose border has another
    colour than the rest, or that show nothing but the background, are a fade or a title."""
    sides = [frames[:, :, 0], frames[:, :, -1], frames[:, :, :, 0], frames[:, :, :, -1]]
    border = torch.cat(sides, dim=-1)  # [T,3,P]
    each = border.median(dim=2).values
    background = each.median(dim=0).values
    other = (each - background).abs().amax(dim=1) > BORDER_SPREAD
    blank = (frames - background[:, None, None]).abs().amax(dim=(1, 2, 3)) < SOLID
    good = ~(other | blank)
    keep = torch.ones(len(frames), dtype=torch.bool)
    if not bool(good.any()):
        return keep
    inside = good.nonzero()[:, 0]
    keep[: int(inside[0])] = False
    keep[int(inside[-1]) + 1 :] = False
    faded = int((~keep).sum())
    if faded > MOST_FADED * len(frames) or int(keep.sum()) < 2:
        return torch.ones_like(keep)
    if faded:
        reporter.warn(
            f"{where}: {counted(faded, 'frame')} of {len(frames)} at its ends left out: their background "
            "is another one, or they show nothing (a fade, a title); the others keep their places"
        )
    return keep


def without_copies(frames: Tensor, where: str, reporter: Reporter) -> Tensor:
    """[T] bool: the frames of [T,3 or 4,H,W] to keep. A frame that repeats the one before it is a copy made
    by a converter, since a camera on an orbit moves; where less than a third differ, all stay."""
    steps = (frames[1:] - frames[:-1]).abs()
    mean, most = steps.mean(dim=(1, 2, 3)), steps.amax(dim=(1, 2, 3))
    usual = float(mean.sort(descending=True).values[: max(1, len(mean) // 3)].median())
    copy = (mean < 0.02 * usual) & (most < 0.05)
    keep = torch.cat([torch.ones(1, dtype=torch.bool), ~copy])
    copies = int(copy.sum())
    if not copies or int(keep.sum()) < max(2, len(frames) / 3):
        return torch.ones_like(keep)
    reporter.warn(
        f"{where}: {copies} of {len(frames)} frames repeat the one before and are left out; the others "
        "keep their places"
    )
    return keep
