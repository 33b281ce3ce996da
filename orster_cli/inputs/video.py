"""From what a user has to clips that can be fitted: frames with alpha, cameras and times.

T frames, H W pixels.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from orster_cli.construction.hull import EXTENT, sides_touched
from orster_cli.core.errors import InputError, LimitError
from orster_cli.core.file_kinds import MESHES, is_text
from orster_cli.core.limits import CLIP_MAX_FRAMES, CLIP_MIN_FRAMES
from orster_cli.core.names import own_name
from orster_cli.core.reporting import Reporter
from orster_cli.core.system_errors import no_permission
from orster_cli.core.types import OrbitClip
from orster_cli.geometry.orbit import orbit_cameras
from orster_cli.inputs.assumed_orbit import OrbitFlags as OrbitFlags
from orster_cli.inputs.assumed_orbit import checked_orbit, one_turn
from orster_cli.inputs.frame_files import find_frames, read_frames
from orster_cli.io.animations import is_animation, read_animation
from orster_cli.io.borders import cut_bars, without_copies, without_fades
from orster_cli.io.masks import check_masks
from orster_cli.io.matting import matte
from orster_cli.io.video import Movie, read_movie

VIDEO_SIDE = 512  # pixels: a video is shrunk to this before anything else
UNEVEN = 0.1  # of a step, from which frames are placed by their time stamps
VIDEO_FRAMES = 72  # of a longer video this many are used, evenly spaced


@dataclass(frozen=True, kw_only=True)
class AssumedClip(OrbitClip):
    """A clip whose cameras are assumed, and the `orbit` that it was given in the end."""

    orbit: OrbitFlags


def clip_from_frames(
    frames: Tensor,
    alpha: Tensor | None,
    orbit: OrbitFlags,
    *,
    where: str,
    reporter: Reporter,
    progress: Tensor | None = None,
) -> AssumedClip:
    """Frames [T,3,H,W] of a video on the orbit that the flags give; alpha from the background where
    there is none. `progress` [T]: the share of the whole way at which each frame is, i / T by default.

    Says what it assumes. InputError: too few frames, masks that are none, or frames in random order."""
    orbit.check()
    count = len(frames)
    if count < CLIP_MIN_FRAMES:
        raise InputError(
            f"{where}: {count} frame, at least {CLIP_MIN_FRAMES} are needed",
            hint="give a video of the moving object",
        )
    if progress is None:
        progress = torch.arange(count, dtype=torch.float64) / count
    if alpha is not None:
        clip = check_masks(_on_orbit(frames, alpha, progress, orbit), where, reporter)
        progress, frames, alpha = clip.times.double(), clip.frames, clip.alpha
    if alpha is None:
        frames = cut_bars(frames, where, reporter)
        keep = without_fades(frames, where, reporter)
        frames, progress = frames[keep], progress[keep]
        found = matte(frames, where=where)
        found.say_shadow(frames, where, reporter)
        found.say(where, reporter)
        frames, alpha = found.frames, found.alpha
        check_masks(_on_orbit(frames, alpha, progress, orbit), where, reporter)  # cut off
    keep, progress = one_turn(frames, alpha, progress, orbit, where, reporter)
    frames, alpha = frames[keep], alpha[keep]
    orbit = checked_orbit(frames, alpha, progress, orbit, where, reporter)
    if orbit.turns != 0:
        keep = without_copies(frames * alpha, where, reporter)
        frames, alpha, progress = frames[keep], alpha[keep], progress[keep]
    reporter.note(f"{where}: assumed {orbit.describe(len(frames))}")
    if orbit.turns == 0:
        reporter.warn(
            f"{where}: the camera stands still: what the other sides look like, and how far each "
            "point is, cannot be known from it; they are guessed from the silhouette"
        )
    clip = _on_orbit(frames, alpha, progress, orbit)
    if orbit.turns != 0:
        sides = sides_touched(clip, misses=len(clip) // 4)
        if sides:
            reporter.warn(
                f"{where}: the object's hull touches {sides} of the 6 sides of its box, {2 * EXTENT:g} "
                "object sizes wide, and is cut off there: it is larger than the orbit says; try a smaller "
                f"--radius than {orbit.radius:g}, or a smaller --fov than {orbit.fov:g}"
            )
    way = progress - progress[0]
    return AssumedClip(
        frames=clip.frames,
        alpha=clip.alpha,
        cameras=clip.cameras,
        times=(way / way[-1].clamp_min(1e-9)).float(),
        orbit=orbit,
    )


def _on_orbit(
    frames: Tensor, alpha: Tensor | None, progress: Tensor, orbit: OrbitFlags
) -> OrbitClip:
    """The frames with their cameras; their times are `progress` [T], in float64."""
    cameras = orbit_cameras(
        orbit.azimuth_start + 360.0 * orbit.assumed_turns * progress,
        elevation=orbit.elevation,
        radius=orbit.radius,
        fov_deg=orbit.fov,
        width=frames.shape[3],
        height=frames.shape[2],
    )
    return OrbitClip(frames=frames, alpha=alpha, cameras=cameras, times=progress)


def read_video_clip(path: Path, orbit: OrbitFlags, reporter: Reporter) -> AssumedClip:
    """A video or animated image on an orbit given by flags. InputError: another file, or one picture."""
    orbit.check()
    refuse_other_files(path)
    found = open_moving(path, reporter, maximum_side=VIDEO_SIDE)
    if len(found.frames) == 1 and is_animation(path):
        raise one_picture(path)
    pick = thinned(len(found.frames), path.name, reporter)
    return clip_from_frames(
        found.frames[pick],
        None if found.alpha is None else found.alpha[pick],
        orbit,
        where=path.name,
        reporter=reporter,
        progress=_steady(found, path.name, reporter)[pick],
    )


def _steady(found: Movie, name: str, reporter: Reporter) -> Tensor:
    """[T] the share of the whole length at which each frame is shown; exactly i / T where the frames are
    evenly spaced."""
    count = len(found.frames)
    even = torch.arange(count, dtype=torch.float64) / count
    shown = found.seconds / found.duration
    if count < 3 or float((shown - even).abs().max()) * count < UNEVEN:
        return even
    gaps = found.seconds.diff()
    usual = float(gaps.median())
    long = int((gaps > 1.5 * usual).sum())
    reporter.warn(
        f"{name}: its frames are {1000 * float(gaps.min()):.0f} to {1000 * float(gaps.max()):.0f} ms apart "
        f"({long} of {len(gaps)} gaps are longer than usual): each is placed by its time stamp"
    )
    return shown


def refuse_other_files(path: Path) -> None:
    """InputError: `path` is a picture, a mesh, Gaussians or a text, by its first bytes, and no video; says
    what takes it. MissingResourceError: it may not be read."""
    named = shlex.quote(str(path))
    try:
        with path.open("rb") as file:
            start = file.read(512)
    except PermissionError as error:
        raise no_permission(path) from error
    if start.startswith(b"\xff\xd8\xff"):
        raise one_picture(path)
    if start.startswith(b"glTF") or path.suffix.lower() in MESHES:
        raise InputError(
            f"{path}: expected a video, found a 3D object",
            hint=f'orster generate --object {named} --text "..." -o out/ animates it; orster prepare-data '
            f"{named} -o dataset/ renders its own animations",
        )
    if start.startswith(b"ply"):
        raise InputError(
            f"{path}: expected a video, found a PLY file",
            hint=f"orster sample-video --object {named}",
        )
    if not start:
        raise InputError(
            f"{path}: expected a video, found an empty file",
            hint="copy, download or record it again",
        )
    if is_text(start):
        raise InputError(
            f"{path}: expected a video, found a text file",
            hint='a text is given as it is: orster generate "a frog jumping" -o out/',
        )


def one_picture(path: Path) -> InputError:
    """The error of a picture where a clip is expected."""
    return InputError(
        f"{path}: one picture is no orbit: expected a video that turns around the object, or the images "
        f"of one; got 1 frame, at least {CLIP_MIN_FRAMES} are needed",
        hint=f"orster generate --image {shlex.quote(str(path))} -o asset/ samples the orbit from it",
    )


def read_moving(
    path: Path, reporter: Reporter, *, maximum_side: int | None = None
) -> tuple[Tensor, Tensor | None]:
    """Frames [T,3,H,W] and alpha [T,1,H,W] (None: opaque) of what `open_moving` reads."""
    found = open_moving(path, reporter, maximum_side=maximum_side)
    return found.frames, found.alpha


def open_moving(path: Path, reporter: Reporter, *, maximum_side: int | None = None) -> Movie:
    """The frames, alpha and time stamps of a video, GIF, WebP, APNG or TIFF; larger ones are shrunk to
    `maximum_side`. InputError, LimitError."""
    if not is_animation(path):
        return read_movie(path, reporter, maximum_side=maximum_side)
    found = read_animation(path, reporter, maximum_side=maximum_side)
    return Movie(
        frames=found.frames, alpha=found.alpha, seconds=found.seconds, duration=found.duration
    )


def read_frames_clip(folder: Path, orbit: OrbitFlags, reporter: Reporter) -> AssumedClip:
    """A folder of images, in the natural order of their names, on an orbit given by flags."""
    files = find_frames(folder, reporter)
    if len(files.paths) > CLIP_MAX_FRAMES:
        raise LimitError(
            f"{folder}: {len(files.paths)} images, at most {CLIP_MAX_FRAMES}",
            hint="leave some out, evenly spaced",
        )
    pick = thinned(len(files.paths), own_name(folder), reporter)
    stack = read_frames([files.paths[i] for i in pick.tolist()], str(folder), len(pick))
    alpha = stack[:, 3:] if stack.shape[1] == 4 else None
    return clip_from_frames(
        stack[:, :3],
        alpha,
        orbit,
        where=own_name(folder),
        reporter=reporter,
        progress=files.progress[pick],
    )


def thinned(count: int, name: str, reporter: Reporter) -> Tensor:
    """Indices of at most `VIDEO_FRAMES` of `count` frames, evenly spaced; warns when it leaves some
    out."""
    if count <= VIDEO_FRAMES:
        return torch.arange(count)
    reporter.warn(f"{name}: {VIDEO_FRAMES} of its {count} frames are used, evenly spaced")
    return torch.linspace(0, count - 1, VIDEO_FRAMES).round().long()
