"""Videos and pictures of an asset along a camera path. T frames, H W pixels."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from orster_cli.core.compositing import over
from orster_cli.core.errors import ConfigError, LimitError
from orster_cli.core.limits import CLIP_MAX_BYTES
from orster_cli.core.strict_json import read_json
from orster_cli.core.types import Cameras, OrbitClip
from orster_cli.export.job import ExportJob, Outcome
from orster_cli.export.moments import Moments, check_moves, frame_moments
from orster_cli.geometry.orbit import orbit_azimuths, orbit_cameras
from orster_cli.geometry.similarity import Similarity
from orster_cli.io.animations import read_animation, write_animation
from orster_cli.io.clip_files import FORMAT, parse_cameras
from orster_cli.io.images import read_image, write_png
from orster_cli.io.transforms_json import (
    TRANSFORMS,
    read_cameras,
    read_transforms,
    write_transforms,
)
from orster_cli.io.video import read_video, write_video
from orster_cli.metrics.psnr import psnr
from orster_cli.splatting.render_asset import render_frame

FIXED_AZIMUTH = 30.0
GIF_FPS = 50  # at most


def write_mp4(job: ExportJob, path: Path) -> Outcome:
    """H.264, which holds no transparency."""
    if job.options.color() is None:
        job.reporter.warn("mp4 holds no transparency: on white")
    film = _film(job, transparent=False)
    write_video(path, film.frames(), fps=job.options.fps)
    found = read_video(path, job.reporter)[
        :, :, : film.clip.cameras.height, : film.clip.cameras.width
    ]
    return film.outcome(found)


def write_gif(job: ExportJob, path: Path) -> Outcome:
    """256 colours a frame, a pixel is opaque or not there."""
    if job.options.fps > GIF_FPS:
        job.reporter.warn(f"gif: {GIF_FPS} frames a second at most")
    film = _film(job, transparent=job.options.color() is None)
    write_animation(path, film.stack(), fps=job.options.fps)
    return film.outcome(_reread(path, job, len(film.clip)))


def write_webp(job: ExportJob, path: Path) -> Outcome:
    """Lossy WebP, transparent unless a background is given."""
    film = _film(job, transparent=job.options.color("transparent") is None)
    write_animation(path, film.stack(), fps=job.options.fps, quality=job.options.quality)
    return film.outcome(_reread(path, job, len(film.clip)))


def write_png_sequence(job: ExportJob, folder: Path) -> Outcome:
    """RGBA, or RGB on a background."""
    film = _film(job, transparent=job.options.color("transparent") is None)
    folder.mkdir()
    names = []
    for i, frame in enumerate(film.frames(), 1):
        names.append(f"frame{i:04d}.png")
        write_png(folder / names[-1], frame)
    facts = {"frames": len(names), "fps": job.options.fps}
    (folder / "sequence.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return film.outcome(torch.stack([read_image(folder / name) for name in names]))


def write_transforms_folder(job: ExportJob, folder: Path) -> Outcome:
    """RGBA frames and `transforms.json` of nerfstudio and Blender's NeRF exporters, with times."""
    film = _film(job, transparent=job.options.color("transparent") is None)
    (folder / "images").mkdir(parents=True)
    names = []
    for i, frame in enumerate(film.frames()):
        names.append(f"images/{i:04d}.png")
        write_png(folder / names[-1], frame)
    theirs = replace(film.clip, cameras=job.world.inverse().cameras(film.clip.cameras))
    write_transforms(folder / TRANSFORMS, theirs, names)
    found = read_transforms(folder)
    # the frames come back in the order of time
    written = theirs.times.argsort(stable=True).argsort()
    moved = float((found.cameras.w2c[written] - theirs.cameras.w2c).abs().max())
    frames = found.frames if found.alpha is None else torch.cat([found.frames, found.alpha], dim=1)
    outcome = film.outcome(frames[written])
    return Outcome(psnr=outcome.psnr, facts={**outcome.facts, "poses": moved}, note=outcome.note)


class _Film:
    """Frames [T,3,H,W] of an asset, or [T,4,H,W] of straight RGBA, and their cameras."""

    def __init__(self, clip: OrbitClip, moments: Moments, background: Tensor | None) -> None:
        self.clip, self.moments, self.background = clip, moments, background

    def frames(self) -> Iterator[Tensor]:
        for i in range(len(self.clip)):
            yield self._frame(i)

    def stack(self) -> Tensor:
        return torch.stack(list(self.frames()))

    def outcome(self, found: Tensor) -> Outcome:
        """Compare what was read back, on the background or on white."""
        wanted = self.stack()
        if wanted.shape[1] == 4:
            wanted = over(wanted[:, :3], wanted[:, 3:], 1.0)
        if found.shape[1] == 4:
            found = over(found[:, :3], found[:, 3:], 1.0)
        size = f"{self.clip.cameras.width}x{self.clip.cameras.height}"
        count = len(self.clip)
        return Outcome(
            psnr=float(psnr(found, wanted).mean()),
            facts={"frames": count, "size": size},
            note=f"{count} frames of {size} pixels",
        )

    def _frame(self, i: int) -> Tensor:
        assert self.clip.alpha is not None
        frame, alpha = self.clip.frames[i], self.clip.alpha[i]
        if self.background is None:
            return torch.cat([frame, alpha])
        return over(frame, alpha, self.background[:, None, None])


def _film(job: ExportJob, *, transparent: bool) -> _Film:
    """Render the asset along the path of the options."""
    options = job.options
    if options.times is None:
        check_moves(job.asset, "a video")
    moments = frame_moments(job.asset, job.frames, options.fps, options.times)
    cameras = camera_path(
        options.camera, len(moments.times), options.size, options.elevation, job.world
    )
    size = len(cameras) * cameras.width * cameras.height * 4 * 4
    if size > CLIP_MAX_BYTES:
        raise LimitError(
            f"{len(cameras)} frames of {cameras.width}x{cameras.height} take {size:,} bytes",
            hint="a smaller --size, or fewer --times",
        )
    frames, alphas = [], []
    for i, time in enumerate(moments.times):
        with torch.no_grad():
            rgb, alpha = render_frame(job.asset.at(time), cameras, i)
        straight = torch.where(alpha > 0, rgb / alpha.clamp_min(1e-6), 1.0).clamp(0, 1)
        frames.append(straight)
        alphas.append(alpha)
        job.reporter.step("render", i + 1, len(cameras))
    clip = OrbitClip(
        frames=torch.stack(frames),
        alpha=torch.stack(alphas),
        cameras=cameras,
        times=torch.tensor(moments.times, dtype=torch.float32),
    )
    color = None if transparent else options.color("white")
    if color is None and not transparent:
        color = torch.ones(3)
    return _Film(clip, moments, color)


def camera_path(
    text: str,
    frames: int,
    size: tuple[int, int],
    elevation: float,
    world: Similarity | None = None,
) -> Cameras:
    """Cameras "orbit", once around; "fixed", in one place; or those of a cameras.json or transforms.json,
    which has one for each frame, or one in all. Resized to `size` (width, height), pixels stay square.
    `world` brings the world of a transforms.json to ours; a cameras.json is in ours.

    ConfigError: another name, or another number of cameras; InputError: a file that cannot be read."""
    width, height = size
    if text in ("orbit", "fixed"):
        azimuths = orbit_azimuths(frames)
        if text == "fixed":
            azimuths = torch.full((frames,), FIXED_AZIMUTH, dtype=torch.float64)
        return orbit_cameras(azimuths, elevation=elevation, width=width, height=height)
    path = Path(text)
    if not path.is_file():
        raise ConfigError(
            f"--camera: expected orbit, fixed or a cameras.json or transforms.json, got {text!r}"
        )
    value = read_json(path)
    if isinstance(value, dict) and value.get("format") == FORMAT:
        cameras = parse_cameras(value, where=str(path))[0]
    else:
        cameras = (world or Similarity()).cameras(read_cameras(path))
    if len(cameras) not in (1, frames):
        raise ConfigError(
            f"{path}: {len(cameras)} cameras for {frames} frames",
            hint=f"--times 0:1:{len(cameras)}",
        )
    return _fitted(cameras[torch.arange(frames) % len(cameras)], width, height)


def _fitted(cameras: Cameras, width: int, height: int) -> Cameras:
    """The cameras for another image size: the whole picture stays in view, in the middle."""
    scale = min(width / cameras.width, height / cameras.height)
    K = cameras.K.clone()
    K[:, :2] *= scale
    K[:, 0, 2] += (width - scale * cameras.width) / 2
    K[:, 1, 2] += (height - scale * cameras.height) / 2
    return Cameras(K=K, w2c=cameras.w2c, width=width, height=height)


def _reread(path: Path, job: ExportJob, frames: int) -> Tensor:
    """[T,4,H,W] or [T,3,H,W] of an animation; equal frames that the writer joined are apart again."""
    found = read_animation(path, job.reporter)
    if len(found.frames) != frames:
        raise ConfigError(
            f"{path.name}: {len(found.frames)} frames came back of {frames}: some are equal",
            hint="fewer --times",
        )
    return found.frames if found.alpha is None else torch.cat([found.frames, found.alpha], dim=1)
