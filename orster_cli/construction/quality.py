"""How good an asset is at the frames that it was fitted to: at their own size, at twice the fit's, and
between them.

T frames, H W pixels. PSNR in dB on white.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from orster_cli.construction.fit_input import prepare_clip
from orster_cli.core.frames import resize
from orster_cli.core.types import OrbitClip
from orster_cli.io.masks import select
from orster_cli.metrics.psnr import masked_psnr, psnr
from orster_cli.metrics.ssim import ssim
from orster_cli.splatting.gaussians4d import Gaussians4D
from orster_cli.splatting.render_asset import render_clip

SOME = 8  # frames that are rendered at other sizes and between frames
MOST_PIXELS = 2**20  # of a render at twice the size; larger ones are not measured


def measure_quality(
    asset: Gaussians4D, clips: list[OrbitClip], *, fit_side: int | None = None
) -> dict[str, Any]:
    """Figures of `asset` at `clips` of any size, which have alpha.

    "mean" and "frames": PSNR (whole image, and inside the mask) and SSIM at the clips' own size. "twice",
    "between": see `at_twice`, `between_frames`; None where they cannot be measured. "size", "fit_size":
    longer sides in pixels, `fit_side` that of the fit (by default the clips' own). "renders" [T,3,H,W]: the
    asset with the cameras and times of the first clip."""
    frames: list[dict[str, Any]] = []
    first = None
    for number, clip in enumerate(clips):
        rendered = render_clip(asset, clip.cameras, clip.times).frames.cpu()
        first = rendered if first is None else first
        assert clip.alpha is not None
        target = clip.over()
        rows = zip(
            psnr(rendered, target),
            masked_psnr(rendered, target, clip.alpha),
            ssim(rendered, target),
            strict=True,
        )
        for i, (plain, masked, similarity) in enumerate(rows):
            entry = {"clip": number, "frame": i, "time": float(clip.times[i])}
            values = {"psnr": plain, "psnr_masked": masked, "ssim": similarity}
            frames.append({**entry, **{k: round(float(v), 4) for k, v in values.items()}})
    names = ("psnr", "psnr_masked", "ssim")
    mean = {n: round(sum(f[n] for f in frames) / len(frames), 4) for n in names}
    assert first is not None
    side = _side(clips[0])
    return {
        "mean": mean,
        "size": side,
        "fit_size": fit_side or side,
        "twice": at_twice(asset, clips[0], fit_side or side),
        "between": between_frames(asset, clips[0], first),
        "frames": frames,
        "renders": first,
    }


def at_twice(asset: Gaussians4D, clip: OrbitClip, fit_side: int) -> dict[str, Any] | None:
    """PSNR at twice the fit's size, at some frames of `clip`.

    "truth": "frames", if the clip is that large; else "frames, averaged": the render is averaged down to
    the clip's own size. None: too large to be measured in passing."""
    side = _side(clip)
    some = _some(clip)
    if side >= 2 * fit_side:
        some, truth = prepare_clip(some, 2 * fit_side, where="clip"), "frames"
        cameras = some.cameras
    else:
        truth = "frames, averaged"
        cameras = some.cameras.resized(2 * some.cameras.width, 2 * some.cameras.height)
    if cameras.width * cameras.height > MOST_PIXELS:
        return None
    rendered = render_clip(asset, cameras, some.times).frames.cpu()
    rendered = resize(rendered, some.cameras.height, some.cameras.width)
    return {
        "side": max(cameras.width, cameras.height),
        "truth": truth,
        "psnr": round(float(psnr(rendered, some.over()).mean()), 4),
    }


def between_frames(asset: Gaussians4D, clip: OrbitClip, renders: Tensor) -> dict[str, Any] | None:
    """How steady the motion is half-way between consecutive frames, without a truth to compare with.

    "detour": from the camera of a frame, the distance (root mean square over pixels) of the picture
    half-way from those of both its moments, over their distance from each other. 1: the picture changes
    straight from one to the other, and about 1.4 where its changes do not overlap; more: it goes elsewhere
    in between. "worst": at the worst pair. None: nothing moves."""
    order = clip.times.argsort()
    found = []
    for i in torch.linspace(0, len(clip) - 2, min(SOME, len(clip) - 1)).round().long().tolist():
        a, b = int(order[i]), int(order[i + 1])
        times = torch.stack([(clip.times[a] + clip.times[b]) / 2, clip.times[b]])
        half, after = render_clip(asset, clip.cameras[[a, a]], times).frames.cpu()
        before = renders[a]
        direct = _distance(before, after)
        if direct > 1e-4:
            found.append((_distance(before, half) + _distance(half, after)) / direct)
    if not found:
        return None
    mean = sum(found) / len(found)
    return {"detour": round(mean, 4), "worst": round(max(found), 4), "pairs": len(found)}


def _distance(a: Tensor, b: Tensor) -> float:
    return float((a - b).double().square().mean().sqrt())


def _side(clip: OrbitClip) -> int:
    return max(clip.cameras.width, clip.cameras.height)


def _some(clip: OrbitClip) -> OrbitClip:
    """At most `SOME` frames, spread over the clip."""
    pick = torch.linspace(0, len(clip) - 1, min(SOME, len(clip))).round().long()
    return select(clip, pick)
