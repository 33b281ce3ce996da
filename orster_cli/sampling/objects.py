"""The object condition: the orbit of a static object from the cameras of a clip. T frames."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from orster_cli.config.prepare import PrepareConfig
from orster_cli.core.compositing import WHITE, premultiplied_over
from orster_cli.core.errors import InputError
from orster_cli.core.file_kinds import OBJECTS, SPLATS
from orster_cli.core.names import printable
from orster_cli.core.reporting import Reporter, Silent
from orster_cli.core.types import Cameras, Gaussians, OrbitClip
from orster_cli.dataset.splat_placement import read_placed
from orster_cli.dataset.views import NormalizedClip, normalize_object, normalize_pose, render_view
from orster_cli.geometry.similarity import Similarity
from orster_cli.gltf.load import load_gltf
from orster_cli.gltf.normalization import drawn_part, seen_clip
from orster_cli.gltf.scene import Scene
from orster_cli.sampling.shown import Shown
from orster_cli.splatting.render_asset import render_frame

SHARES = (1.0, 0.75, 0.5, 0.25)
FURTHER = (1.0, 1.1, 1.2, 1.3, 1.45, 1.6, 1.8, 2.0)  # times as far away
CUT_SIDE = 64  # pixels at which it is looked at whether an object is cut off


def open_object(path: Path, *, up: str = "z", reporter: Reporter | None = None) -> Shown:
    """What shows the object in `path`, as often as is wanted; the file is read and posed once: a .glb or
    .gltf (at the start of its first animation, if any), or Gaussians in a .ply, of which the axis `up`
    points up. `reporter` is warned of what is not read or was changed. InputError: another or a damaged
    file."""
    suffix, reporter = path.suffix.lower(), reporter or Silent()
    if not path.is_file() or suffix not in OBJECTS:
        raise InputError(
            f"{path}: expected a .glb, .gltf or .ply file",
            hint="or give a clip: an artifact, or dataset#key",
        )
    if suffix in SPLATS:
        splats = partial(_splat_orbit, read_placed(path, up, reporter))
        return Shown.of_pictures(splats, printable(path.name))
    scene = load_gltf(path)
    for warning in scene.warnings:
        reporter.warn(f"{printable(path.name)}: {warning}")
    cfg = PrepareConfig()  # only its elevation and supersampling count
    posed = _at_start(scene, cfg, reporter)
    return Shown(partial(_mesh_orbit, posed, cfg), lambda: drawn_part(posed.mesh(0.0)))


def room(
    render: Callable[[Cameras], OrbitClip], cameras: Cameras, framing: Similarity | None
) -> Similarity:
    """What brings `cameras` to where `framing` has them, or less far where what they `render` would be cut
    off."""
    for share in SHARES if framing is not None else ():
        moves = partly(framing, share)
        if not _is_cut(render(moves.cameras(cameras.resized(CUT_SIDE, CUT_SIDE)))):
            return moves
    return Similarity()


def seen_whole(render: Callable[[Cameras], OrbitClip], cameras: Cameras) -> Similarity:
    """What takes `cameras` so far away that what they `render` is not cut off: objects are placed for level
    ones, and those that look down on a box see more of it."""
    for scale in FURTHER:
        moves = Similarity(scale=scale)
        if not _is_cut(render(moves.cameras(cameras.resized(CUT_SIDE, CUT_SIDE)))):
            return moves
    return Similarity(scale=FURTHER[-1])


def partly(framing: Similarity, share: float) -> Similarity:
    """A `share` in [0,1] of `framing`: of the logarithm of its scale, and of the point that it looks at."""
    scale = framing.scale**share
    x, y, z = (share * framing.scale * one / scale for one in framing.center)
    return Similarity(scale=scale, center=(x, y, z))


def _is_cut(orbit: OrbitClip) -> bool:
    """Whether a frame shows anything at its border."""
    shown = orbit.over()
    borders = (shown[..., 0, :], shown[..., -1, :], shown[..., 0], shown[..., -1])
    return min(float(border.min()) for border in borders) < WHITE - 0.05


def _splat_orbit(gaussians: Gaussians, cameras: Cameras) -> OrbitClip:
    drawn = [render_frame(gaussians, cameras, i) for i in range(len(cameras))]
    frames = torch.stack([premultiplied_over(rgb, alpha, WHITE) for rgb, alpha in drawn])
    return OrbitClip(frames=frames, cameras=cameras, times=torch.zeros(len(cameras)))


def _mesh_orbit(posed: NormalizedClip, cfg: PrepareConfig, cameras: Cameras) -> OrbitClip:
    return render_view(posed, cameras, torch.zeros(len(cameras)), cfg, None)


def _at_start(scene: Scene, cfg: PrepareConfig, reporter: Reporter) -> NormalizedClip:
    """The object whose time 0 is the start of its first animation, or the rest pose where there is none, or
    where the object has no size at the start. It is placed by that pose: where an animation goes later that
    nobody asked for must not matter."""
    clip = 0 if scene.clips else None
    if clip is not None:
        clip = seen_clip(scene, 0, normalize_object(scene, 0, cfg).normalization.scale)
        if clip is None:
            reporter.warn(
                f"{printable(scene.path.name)}: it has no size at its animation's start: its rest pose is "
                "shown"
            )
    return normalize_pose(scene, clip, cfg)
