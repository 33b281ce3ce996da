"""`construct` as a library call: clips in, an asset folder out."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from orster_cli.config.construct import ConstructConfig
from orster_cli.construct.asset import save_asset
from orster_cli.construct.fit import Fit
from orster_cli.construct.fit_input import ready
from orster_cli.construct.hull import surface_points
from orster_cli.construct.losses import load_perceptual
from orster_cli.construct.model import Model
from orster_cli.construct.preview import write_preview, write_sheet
from orster_cli.construct.recurrence import Recurrence, find_recurrence
from orster_cli.construct.views import build_views
from orster_cli.core.errors import InputError
from orster_cli.core.reporting import Reporter
from orster_cli.core.stopping import StopFlag
from orster_cli.core.types import OrbitClip
from orster_cli.metrics.psnr import masked_psnr, psnr
from orster_cli.metrics.ssim import ssim
from orster_cli.splatting.motion import Gaussians4D
from orster_cli.splatting.render import render_clip

FEWEST = 300  # Gaussians that a fit begins with at least
CELLS_A_MOMENT, FEWEST_CELLS = 0.75, 2  # of the planes in time
MISSES_SHARE = 0.25  # of a moving orbit's views may miss a voxel of the soft hull


@dataclass(frozen=True, kw_only=True)
class ConstructInput:
    """`clips` of one motion on one timeline, the `static` orbit of the object at time 0 if there is
    one, and the transferred priors O^s, O^t as tokens [M,C] if there are any."""

    clips: list[OrbitClip]
    static: OrbitClip | None = None
    spatial_prior: Tensor | None = None
    temporal_prior: Tensor | None = None


def construct(
    given: ConstructInput,
    cfg: ConstructConfig,
    *,
    folder: Path,
    scratch: Path,
    device: torch.device,
    reporter: Reporter,
    stop: StopFlag,
) -> dict[str, Any]:
    """Fit an asset and write it, its preview and its quality into `folder`; returns the manifest's content.

    Checkpoints go to `scratch`. Raises InputError for clips that cannot be fitted, Preempted when
    stopped, NumericalError when the fit diverges for good."""
    started = time.monotonic()
    cfg = as_fine_as(cfg, given.clips, reporter)
    clips = [ready(c, cfg.resolution, where=f"clip {i}") for i, c in enumerate(given.clips)]
    static = None
    if given.static is not None:
        static = ready(given.static, cfg.resolution, where="static orbit")
        static = replace(static, times=torch.zeros(len(static)))
    _same_size(clips, static)
    recurrence = Recurrence()
    if cfg.recurrence == "auto":
        recurrence = find_recurrence(clips, static)
        reporter.info(recurrence.describe())
    views = build_views(clips, static, recurrence, mirror_weight=cfg.mirror_weight, device=device)
    shape = static if static is not None else clips[0]
    misses = 0 if static is not None else int(MISSES_SHARE * len(shape))
    points = surface_points(shape, cfg.gaussians, misses=misses, seed=cfg.seed)
    model = Model(
        points.to(device),
        cfg,
        spatial_prior=given.spatial_prior if cfg.spatial_prior else None,
        temporal_prior=given.temporal_prior if cfg.temporal_prior else None,
    )
    perceptual = load_perceptual(device) if cfg.lpips else None
    Fit(cfg, views, model, perceptual=perceptual).run(scratch, reporter, stop)
    asset = model.result()
    seconds = time.monotonic() - started
    reporter.info("writing the asset, its preview and its quality")
    save_asset(folder, asset)
    write_preview(folder / "preview.mp4", asset)
    quality = measure(asset, clips)
    write_sheet(folder / "sheet.png", clips[0], quality.pop("shown"))
    quality_text = json.dumps(quality, indent=1)
    (folder / "quality.json").write_text(quality_text, encoding="utf-8")
    return {
        "gaussians": len(asset.canonical),
        "frames": [len(clip) for clip in clips],
        "static_orbit": static is not None,
        "priors": _priors(given, cfg),
        "recurrence": recurrence.describe(),
        "psnr": quality["mean"]["psnr"],
        "seconds": round(seconds, 1),
    }


def as_fine_as(cfg: ConstructConfig, clips: list[OrbitClip], reporter: Reporter) -> ConstructConfig:
    """`cfg` as fine as what `clips` show.

    Where their frames are enlarged for the fit: as many Gaussians for each pixel that was really given,
    since more fit the enlargement and leave holes from elsewhere. Where they show few moments: cells in
    time for three quarters of them, since with more the motion wanders between two frames."""
    given = max(max(clip.cameras.width, clip.cameras.height) for clip in clips)
    if given < cfg.resolution:  # 0: the clips' own
        share = (given / cfg.resolution) ** 2
        first = max(round(share * cfg.gaussians), min(FEWEST, cfg.gaussians))
        most = max(round(share * cfg.max_gaussians), first)
        reporter.info(f"frames of {given} pixels: {first} Gaussians to begin with, at most {most}")
        cfg = replace(cfg, gaussians=first, max_gaussians=most)
    moments = len({round(float(time), 6) for clip in clips for time in clip.times})
    cells = max(round(CELLS_A_MOMENT * moments), FEWEST_CELLS)
    if cells < cfg.time_resolution:
        reporter.info(f"{moments} moments: planes with {cells} cells in time")
        cfg = replace(cfg, time_resolution=cells)
    return cfg


def measure(asset: Gaussians4D, clips: list[OrbitClip]) -> dict[str, Any]:
    """PSNR (plain, and inside the mask) and SSIM at the frames of `clips`, per frame and on average;
    "shown" [T,3,H,W] is what the asset looks like at the first clip."""
    frames: list[dict[str, Any]] = []
    first = None
    for number, clip in enumerate(clips):
        shown = render_clip(asset, clip.cameras, clip.times).frames.cpu()
        first = shown if first is None else first
        assert clip.alpha is not None
        target = clip.over()
        rows = zip(
            psnr(shown, target),
            masked_psnr(shown, target, clip.alpha),
            ssim(shown, target),
            strict=True,
        )
        for i, (plain, masked, similarity) in enumerate(rows):
            entry = {"clip": number, "frame": i, "time": float(clip.times[i])}
            values = {"psnr": plain, "psnr_masked": masked, "ssim": similarity}
            frames.append({**entry, **{k: round(float(v), 4) for k, v in values.items()}})
    names = ("psnr", "psnr_masked", "ssim")
    mean = {n: round(sum(f[n] for f in frames) / len(frames), 4) for n in names}
    return {"mean": mean, "frames": frames, "shown": first}


def _same_size(clips: list[OrbitClip], static: OrbitClip | None) -> None:
    sizes = {(c.cameras.width, c.cameras.height) for c in [*clips, *([static] if static else [])]}
    if len(sizes) > 1:
        shown = ", ".join(f"{w}x{h}" for w, h in sorted(sizes))
        raise InputError(f"the clips differ in shape: {shown}", hint="give clips of one shape")


def _priors(given: ConstructInput, cfg: ConstructConfig) -> list[str]:
    """Which of the transferred priors the field read (paper, Table 2)."""
    have = {
        "spatial": given.spatial_prior is not None and cfg.spatial_prior,
        "temporal": given.temporal_prior is not None and cfg.temporal_prior,
    }
    return [name for name, used in have.items() if used]
