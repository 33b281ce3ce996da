"""From what a user has to clips that can be fitted: frames with alpha, cameras and times.

T frames, H W pixels.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from orster_cli.core.errors import ConfigError, InputError, LimitError, MissingResourceError
from orster_cli.core.limits import CLIP_MAX_FRAMES, CLIP_MIN_FRAMES
from orster_cli.core.reporting import Reporter
from orster_cli.core.system_errors import SYSTEM
from orster_cli.core.types import OrbitClip
from orster_cli.geometry.orbit import FOV_DEG, RADIUS, clip_times, orbit_azimuths, orbit_cameras
from orster_cli.gltf.container import GLTF_SUFFIXES
from orster_cli.io.animations import is_animation, read_animation
from orster_cli.io.clip_files import check_size
from orster_cli.io.images import read_image
from orster_cli.io.matting import matte
from orster_cli.io.video import read_video

VIDEO_SIDE = 512  # pixels: a video is shrunk to this before anything else
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff")
VIDEO_FRAMES = 72  # of a longer video this many are used, evenly spaced


@dataclass(frozen=True, kw_only=True)
class OrbitFlags:
    """The orbit of a video that carries no cameras; angles in degrees, `turns` < 0 is clockwise."""

    elevation: float = 0.0
    radius: float = RADIUS
    fov: float = FOV_DEG
    azimuth_start: float = 0.0
    turns: float = 1.0

    def check(self) -> None:
        """ConfigError where no camera could stand."""
        rules = {
            "--elevation": (
                -89 <= self.elevation <= 89,
                "between -89 and 89 degrees",
                self.elevation,
            ),
            "--radius": (0.7 < self.radius <= 100, "more than 0.7 object sizes", self.radius),
            "--fov": (1 <= self.fov <= 150, "between 1 and 150 degrees", self.fov),
            "--azimuth-start": (
                abs(self.azimuth_start) <= 720,
                "within two turns",
                self.azimuth_start,
            ),
            "--turns": (abs(self.turns) <= 20, "at most 20 turns", self.turns),
        }
        for flag, (fine, want, got) in rules.items():
            if not fine:  # NaN compares false, so it ends here too
                raise ConfigError(f"{flag}: expected {want}, got {got:g}")

    def describe(self, frames: int) -> str:
        """One line that says what was assumed."""
        if self.turns == 0:
            way = "a camera that stands still"
        else:
            side = "counter-clockwise" if self.turns > 0 else "clockwise"
            way = f"{abs(self.turns):g} turn(s) {side} seen from above"
        return (
            f"{frames} frames, {way}, starting at azimuth {self.azimuth_start:g} deg, elevation "
            f"{self.elevation:g} deg, radius {self.radius:g}, field of view {self.fov:g} deg"
        )


def clip_from_frames(
    frames: Tensor, alpha: Tensor | None, orbit: OrbitFlags, *, where: str, reporter: Reporter
) -> OrbitClip:
    """Frames [T,3,H,W] of a video on the orbit that the flags give; alpha from the background where
    there is none. Says what it assumes."""
    orbit.check()
    count, _, height, width = frames.shape
    if count < CLIP_MIN_FRAMES:
        raise InputError(
            f"{where}: {count} frame, at least {CLIP_MIN_FRAMES} are needed",
            hint="give a video of the moving object",
        )
    if alpha is None:
        found = matte(frames, where=where)
        frames, alpha = found.frames, found.alpha
        reporter.info(
            f"{where}: no alpha; the background is the colour "
            f"{[round(float(c), 2) for c in found.background]} "
            f"({found.border_share:.0%} of the border)"
        )
    reporter.info(f"{where}: assumed {orbit.describe(count)}")
    if orbit.turns == 0:
        reporter.warn(
            f"{where}: the camera stands still: what the other sides look like, and how far each "
            "point is, cannot be known from it; they are guessed from the silhouette"
        )
    azimuths = orbit_azimuths(count, start=orbit.azimuth_start, turns=orbit.turns)
    cameras = orbit_cameras(
        azimuths,
        elevation=orbit.elevation,
        radius=orbit.radius,
        fov_deg=orbit.fov,
        width=width,
        height=height,
    )
    return OrbitClip(frames=frames, alpha=alpha, cameras=cameras, times=clip_times(count).float())


def read_video_clip(path: Path, orbit: OrbitFlags, reporter: Reporter) -> OrbitClip:
    """A video or animated image on an orbit given by flags. InputError: another file, or one picture."""
    orbit.check()
    refuse_other_files(path)
    frames, alpha = read_moving(path, reporter, maximum_side=VIDEO_SIDE)
    if len(frames) == 1 and is_animation(path):
        raise one_picture(path)
    pick = thinned(len(frames), path.name, reporter)
    return clip_from_frames(
        frames[pick],
        None if alpha is None else alpha[pick],
        orbit,
        where=path.name,
        reporter=reporter,
    )


def refuse_other_files(path: Path) -> None:
    """InputError: `path` is a picture, a mesh, Gaussians or a text, by its first bytes, and no video; says
    what takes it. MissingResourceError: it may not be read."""
    named = shlex.quote(str(path))
    try:
        with path.open("rb") as file:
            start = file.read(512)
    except PermissionError as error:
        raise MissingResourceError(
            f"{path}: no permission to read it", hint=f"chmod u+r {named}", code=SYSTEM
        ) from error
    if start.startswith(b"\xff\xd8\xff"):
        raise one_picture(path)
    if start.startswith(b"glTF") or path.suffix.lower() in GLTF_SUFFIXES:
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
        raise InputError(f"{path}: expected a video, found an empty file")
    if b"\0" not in start and _is_text(start):
        raise InputError(
            f"{path}: expected a video, found a text file",
            hint='a text is given as it is: orster generate "a frog jumping" -o out/',
        )


def _is_text(start: bytes) -> bool:
    try:
        start[: -4 if len(start) == 512 else None].decode()  # the last character may be cut
    except UnicodeDecodeError:
        return False
    return True


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
    """Frames [T,3,H,W] and, of an animated image with transparency, alpha [T,1,H,W] of a video, GIF,
    WebP, APNG or TIFF; larger ones are shrunk to `maximum_side`. InputError, LimitError."""
    if is_animation(path):
        found = read_animation(path, reporter, maximum_side=maximum_side)
        return found.frames, found.alpha
    return read_video(path, reporter, maximum_side=maximum_side), None


def read_frames_clip(folder: Path, orbit: OrbitFlags, reporter: Reporter) -> OrbitClip:
    """A folder of images, in the order of their names, on an orbit given by flags."""
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
    if len(paths) > CLIP_MAX_FRAMES:
        raise LimitError(f"{folder}: {len(paths)} images, at most {CLIP_MAX_FRAMES}")
    if not paths:
        found = sorted(path.name for path in folder.iterdir())
        shown = f"only {', '.join(found[:3])}{', ...' if len(found) > 3 else ''}" if found else ""
        raise InputError(
            f"{folder}: expected a clip, a dataset, transforms.json or images, found "
            f"{shown or 'an empty folder'}"
        )
    images: list[Tensor] = []
    for index in thinned(len(paths), folder.name, reporter).tolist():
        image = read_image(paths[index])
        if not images:
            used = min(len(paths), VIDEO_FRAMES)
            check_size(used, image.shape[2], image.shape[1], str(folder))
        elif image.shape != images[0].shape:
            raise InputError(f"{folder}: the images differ in size, or only some have alpha")
        images.append(image)
    stack = torch.stack(images)
    alpha = stack[:, 3:] if stack.shape[1] == 4 else None
    return clip_from_frames(stack[:, :3], alpha, orbit, where=folder.name, reporter=reporter)


def thinned(count: int, name: str, reporter: Reporter) -> Tensor:
    """Indices of at most `VIDEO_FRAMES` of `count` frames, evenly spaced; warns when it leaves some
    out."""
    if count <= VIDEO_FRAMES:
        return torch.arange(count)
    reporter.warn(f"{name}: {VIDEO_FRAMES} of its {count} frames are used, evenly spaced")
    return torch.linspace(0, count - 1, VIDEO_FRAMES).round().long()
