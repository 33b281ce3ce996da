"""`construct` as a library function: clips in, an asset folder out."""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from orster_cli.config.construct import ConstructConfig
from orster_cli.construction.asset import save_asset
from orster_cli.construction.fit import Fit
from orster_cli.construction.fit_input import beats, picture_travel, prepare_clip
from orster_cli.construction.follow_course import begins_at_rest
from orster_cli.construction.frame_detail import SHARP, SMUDGE, detail, frame_weights
from orster_cli.construction.hull import surface_points
from orster_cli.construction.losses import load_perceptual
from orster_cli.construction.preview import write_preview, write_sheet
from orster_cli.construction.quality import measure_quality
from orster_cli.construction.recurrence import Recurrence, find_recurrence
from orster_cli.construction.trainable_asset import TIME_CELLS, TrainableAsset
from orster_cli.construction.training_views import build_views, fit_scale
from orster_cli.core.errors import InputError, NumericalError
from orster_cli.core.live import LiveReporter
from orster_cli.core.reporting import Reporter
from orster_cli.core.stopping import StopFlag
from orster_cli.core.types import Course, OrbitClip
from orster_cli.io.clip_files import write_course
from orster_cli.io.masks import without_empty
from orster_cli.splatting.gaussians4d import Gaussians4D
from orster_cli.viewer.write import LEAST_DB, write_viewer

SHOWN_DB = 25.0  # of the viewer page at its worst moment, at least: what is still to be recognised
MIN_GAUSSIANS = 300  # at the start of a fit
CELLS_PER_MOMENT, MIN_TIME_CELLS, MAX_TIME_CELLS = 0.75, 2, 256  # cells of the planes along time
FAR_TRAVEL = 15.0  # `picture_travel` from which a clip gets all of these cells
KNOWN_FRACTION = 0.55  # of the steps of the motion that are left where a course is known
ALONG_FRACTION = 1.1  # of them: times as many, where only looks are learned from the frames
SEAM = 0.3  # `Course.seam` up to which a loop that was seen in the frames is one
VIEWER = "viewer.html"
BLUR_FRACTION = 0.3  # of the static stage that is left where only moving frames show the object
FINER = 2  # the static orbit's pixels, beside the clips'
MISS_FRACTION = 0.25  # of a moving orbit's views may miss a voxel of its visual hull


@dataclass(frozen=True, kw_only=True)
class ConstructInput:
    """`clips` of one motion on one timeline; `static`: an orbit of the object at time 0, or None;
    `spatial_prior`, `temporal_prior`: tokens [M,C] of the transferred priors O^s and O^t, or None;
    `title`: of the page that plays the asset."""

    clips: list[OrbitClip]
    static: OrbitClip | None = None
    spatial_prior: Tensor | None = None
    temporal_prior: Tensor | None = None
    title: str = "orster asset"


@dataclass(frozen=True, kw_only=True)
class Constructed:
    """`content` describes the asset in its manifest; `run` are facts of this run, which are not part of the
    asset's id: the seconds of the fit."""

    content: dict[str, Any]
    run: dict[str, Any]


def construct(
    inputs: ConstructInput,
    cfg: ConstructConfig,
    *,
    folder: Path,
    scratch: Path,
    device: torch.device,
    reporter: Reporter,
    stop: StopFlag,
) -> Constructed:
    """Fit an asset; write it, its preview, its viewer and its quality into `folder`.

    Checkpoints, progress and the latest picture go to `scratch`. Raises InputError for clips that cannot
    be fitted, Preempted if stopped, NumericalError if the fit keeps diverging."""
    started = time.monotonic()
    reporter = LiveReporter(scratch, reporter, kind="asset", curve="psnr")
    shown = [without_empty(clip, f"clip {i}", reporter) for i, clip in enumerate(inputs.clips)]
    inputs = replace(inputs, clips=shown)
    courses = [clip.course for clip in shown if clip.course is not None]
    known = courses[0] if courses else None
    # what has opacities of its own was rendered, as its course has it, and not sampled
    rendered = len(courses) == 1 and all(clip.alpha is not None for clip in shown)
    along = cfg.along and cfg.course > 0 and rendered
    course = known if along or (cfg.course and cfg.nodes) else None
    if along:  # there is no field that would attend to them
        inputs = replace(inputs, spatial_prior=None, temporal_prior=None)
    clips = [prepare_clip(c, cfg.resolution, where=f"clip {i}") for i, c in enumerate(inputs.clips)]
    beating = not along and any(map(beats, clips))
    cfg = limit_to_clip_detail(cfg, shown, reporter, learned=not along, beating=beating)
    static, shaping = _static_orbits(inputs.static, clips, cfg)
    _check_same_size(clips, static)
    if static is None:
        cfg = without_static_orbit(cfg)
    recurrence = Recurrence()
    if cfg.recurrence == "auto" and not along:
        recurrence = find_recurrence(clips, static)
    if cfg.recurrence == "auto" and known is not None:
        recurrence = as_the_course(recurrence, known)
    _say(cfg, recurrence, course, reporter, along=along)
    if course is not None and (along or len(clips) == 1):  # several tell more than the course
        cfg = with_course(cfg, along=along)
    coarse = shaping is None or shaping is static
    fitted = fit_scale(clips if coarse else [shaping], antialiased=cfg.antialiased)
    views = build_views(
        clips,
        shaping,
        recurrence,
        mirror_weight=cfg.mirror_weight,
        weights=None if along else _weights(inputs.clips, inputs.static, cfg, reporter),
        only_static_shapes=cfg.canonical == "static" and not along,
        begins_at_rest=known is None or begins_at_rest(known),
        fitted=fitted,
        device=device,
    )
    hull_clip = clips[0] if shaping is None else shaping
    misses = 0 if shaping is not None else int(MISS_FRACTION * len(hull_clip))
    points = surface_points(hull_clip, cfg.gaussians, misses=misses, seed=cfg.seed)
    model = TrainableAsset(
        points.to(device),
        cfg,
        spatial_prior=inputs.spatial_prior if cfg.spatial_prior else None,
        temporal_prior=inputs.temporal_prior if cfg.temporal_prior else None,
        fitted=fitted,
        course=course,
        along=along,
    )
    perceptual = load_perceptual(device) if cfg.lpips else None
    Fit(cfg, views, model, perceptual=perceptual).run(scratch, reporter, stop)
    asset = model.result()
    seconds = time.monotonic() - started
    reporter.info("writing the asset, its preview, its viewer and its quality")
    save_asset(folder, asset)
    if known is not None:
        write_course(folder, known)
    write_preview(folder / "preview.mp4", asset)
    _write_viewer(folder, asset, inputs, reporter)
    own = [prepare_clip(clip, 0, where=f"clip {i}") for i, clip in enumerate(inputs.clips)]
    fit_side = max(clips[0].cameras.width, clips[0].cameras.height)
    quality = measure_quality(asset, own, fit_side=fit_side)
    write_sheet(folder / "sheet.png", own[0], quality.pop("renders"))
    quality_text = json.dumps(quality, indent=1)
    (folder / "quality.json").write_text(quality_text, encoding="utf-8")
    content = {
        "gaussians": len(asset.canonical),
        "frames": [len(clip) for clip in clips],
        "static_orbit": static is not None,
        "priors": _priors(inputs, cfg),
        "recurrence": recurrence.describe(),
        "psnr": quality["mean"]["psnr"],
    }
    return Constructed(content=content, run={"seconds": round(seconds, 1)})


def _say(
    cfg: ConstructConfig,
    recurrence: Recurrence,
    course: Course | None,
    reporter: Reporter,
    *,
    along: bool,
) -> None:
    """What the motion of the fit rests on."""
    if along and course is not None:
        loops = ", and loops" if recurrence.looping else ""
        reporter.info(f"the motion is the course of {len(course.rest)} points of the object{loops}")
        return
    found = recurrence.describe()
    if recurrence.looping or recurrence.mirror_azimuth is not None:
        reporter.note(found)  # the fit rests on it
    elif cfg.recurrence == "auto":
        reporter.info(found)
    if course is not None:
        count = len(course.rest)
        reporter.info(f"the motion begins with the course of {count} points of the object")


def _static_orbits(
    given: OrbitClip | None, clips: list[OrbitClip], cfg: ConstructConfig
) -> tuple[OrbitClip | None, OrbitClip | None]:
    """The static orbit with frames of the clips' size, and as the canonical Gaussians learn from it: where
    they learn from nothing else with up to `FINER` times as many pixels a side, if it has them."""
    if given is None:
        return None, None
    given = replace(given, times=torch.zeros(len(given)))
    own = max(given.cameras.width, given.cameras.height)
    side = max(clips[0].cameras.width, clips[0].cameras.height)
    static = prepare_clip(given, side, where="static orbit")
    if cfg.canonical != "static" or own <= side:
        return static, static
    return static, prepare_clip(given, min(own, FINER * side), where="static orbit")


def _weights(
    clips: list[OrbitClip], static: OrbitClip | None, cfg: ConstructConfig, reporter: Reporter
) -> list[Tensor] | None:
    """[T] of the frames of each clip; None: all the same. Says where most of a clip is blurred."""
    if static is None or cfg.blurred == 1:
        return None
    # enlarged frames have no more detail: they are compared at the fewest pixels that any of them has
    own = [max(clip.cameras.width, clip.cameras.height) for clip in (*clips, static)]
    side = min(*own, cfg.resolution or max(own))
    small = prepare_clip(static, side, where="static orbit")
    clips = [prepare_clip(clip, side, where=f"clip {i}") for i, clip in enumerate(clips)]
    shares = [detail(clip, small) for clip in clips]
    for share in shares:
        smudged = int((share < (SMUDGE + SHARP) / 2).sum())
        if smudged > len(share) / 2:
            reporter.note(
                f"{smudged} of {len(share)} frames have less than {(SMUDGE + SHARP) / 2:.0%} of the detail "
                "of the object at rest: they count less, and its motion there is smaller than theirs"
            )
    return [frame_weights(share, cfg.blurred) for share in shares]


def _write_viewer(
    folder: Path, asset: Gaussians4D, inputs: ConstructInput, reporter: Reporter
) -> None:
    """The page that plays `asset`; a warning where it cannot show it, so that the fit is not lost."""
    try:
        frames = len(inputs.clips[0])
        page = folder / VIEWER
        found = write_viewer(asset, page, title=inputs.title, frames=frames, least=SHOWN_DB)
    except (InputError, NumericalError) as error:
        reporter.warn(f"no {VIEWER}: {error}")
        return
    reporter.info(f"{VIEWER}: {found.describe()}")
    if found.worst_db < LEAST_DB:
        reporter.warn(
            f"{VIEWER} blurs what moves fast: at its worst moment it is {found.worst_db:.1f} dB near to "
            "the asset, which preview.mp4 shows as it is"
        )


def limit_to_clip_detail(
    cfg: ConstructConfig,
    clips: list[OrbitClip],
    reporter: Reporter,
    *,
    learned: bool = True,
    beating: bool = False,
) -> ConstructConfig:
    """`cfg` with fewer Gaussians where `clips` have little detail, and time cells for their moments, if
    their motion is `learned`.

    If frames are enlarged for the fit, the number of Gaussians per pixel of the clip stays the same: more
    would fit the interpolation and leave holes from other views. The planes have at most three quarters as
    many cells in time as there are moments: with more, the motion wanders between frames. A clip whose
    pictures travel far gets all of these, so that its moments are not blurred into each other; another one
    at most `TIME_CELLS`, which steadies its motion. One that is `beating` (`beats`) gets twice as many as
    it has moments, so that each is on its own: nothing tells what is between them; not with control nodes,
    which are there to steady what a model sampled. A `time_resolution` other than 0 is only lowered."""
    side = max(max(clip.cameras.width, clip.cameras.height) for clip in clips)
    if side < cfg.resolution:  # a resolution of 0 is the clips' own
        fraction = (side / cfg.resolution) ** 2
        first = max(round(fraction * cfg.gaussians), min(MIN_GAUSSIANS, cfg.gaussians))
        most = max(round(fraction * cfg.max_gaussians), first)
        reporter.info(f"frames of {side} pixels: {first} Gaussians at the start, at most {most}")
        cfg = replace(cfg, gaussians=first, max_gaussians=most)
    if not learned:
        return cfg
    moments = len({round(float(time), 6) for clip in clips for time in clip.times})
    cells = min(max(round(CELLS_PER_MOMENT * moments), MIN_TIME_CELLS), MAX_TIME_CELLS)
    if beating and not cfg.nodes:
        reporter.note(
            "it beats faster than its frames show, as wings do: what beats may be missing, and between "
            "frames its motion is a guess"
        )
        cells = min(2 * moments, MAX_TIME_CELLS)
    elif cfg.time_resolution == 0 and max(map(picture_travel, clips)) < FAR_TRAVEL:
        cells = min(cells, TIME_CELLS)
    if cfg.time_resolution == 0 or cells < cfg.time_resolution:
        reporter.info(f"{moments} moments: planes of {cells} cells in time")
        cfg = replace(cfg, time_resolution=cells)
    return cfg


def without_static_orbit(cfg: ConstructConfig) -> ConstructConfig:
    """`cfg` with most steps of the static stage given to the coarse one. Without a static orbit that stage
    fits a blur of all poses, which the motion then has to sharpen again."""
    kept = round(BLUR_FRACTION * cfg.static_steps)
    coarse = cfg.coarse_steps + cfg.static_steps - kept
    return replace(cfg, static_steps=kept, coarse_steps=coarse)


def with_course(cfg: ConstructConfig, *, along: bool) -> ConstructConfig:
    """`cfg` with fewer steps of the motion, which begins with the course; `along`: which is the course, so
    that the steps are the looks'."""
    if along:
        fine = round(ALONG_FRACTION * (cfg.coarse_steps + cfg.fine_steps))
        return replace(cfg, coarse_steps=0, fine_steps=fine)
    coarse, fine = (round(KNOWN_FRACTION * n) for n in (cfg.coarse_steps, cfg.fine_steps))
    return replace(cfg, coarse_steps=coarse, fine_steps=fine)


def as_the_course(recurrence: Recurrence, course: Course) -> Recurrence:
    """`recurrence` without a loop that the `course` does not close, and without a mirror image that leads
    by a part of that; and with one that it does close, which pictures of the object elsewhere may hide."""
    if not recurrence.looping:
        return (
            replace(recurrence, looping=True, loop_score=math.inf) if course.loops else recurrence
        )
    if course.seam <= SEAM:
        return recurrence
    mirror = recurrence.mirror_azimuth if recurrence.mirror_shift == 0 else None
    return replace(recurrence, looping=False, mirror_azimuth=mirror)


def _check_same_size(clips: list[OrbitClip], static: OrbitClip | None) -> None:
    sizes = {(c.cameras.width, c.cameras.height) for c in [*clips, *([static] if static else [])]}
    if len(sizes) > 1:
        listed = ", ".join(f"{w}x{h}" for w, h in sorted(sizes))
        raise InputError(f"the clips differ in size: {listed}", hint="use clips of one size")


def _priors(inputs: ConstructInput, cfg: ConstructConfig) -> list[str]:
    """The names of the transferred priors that the field used (paper, Table 2)."""
    used = {
        "spatial": inputs.spatial_prior is not None and cfg.spatial_prior,
        "temporal": inputs.temporal_prior is not None and cfg.temporal_prior,
    }
    return [name for name, flag in used.items() if flag]
