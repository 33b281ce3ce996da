"""The object condition: the orbit of a static object from the cameras of a clip. T frames."""

from __future__ import annotations

from pathlib import Path

import torch

from orster_cli.config.prepare import PrepareConfig
from orster_cli.core.compositing import WHITE, premultiplied_over
from orster_cli.core.errors import InputError
from orster_cli.core.frames import evenly_spaced
from orster_cli.core.reporting import Reporter
from orster_cli.core.types import Cameras, OrbitClip
from orster_cli.dataset.views import normalize_object, render_view
from orster_cli.gltf.container import GLTF_SUFFIXES
from orster_cli.gltf.load import load_gltf
from orster_cli.io.ply import read_ply
from orster_cli.splatting.render_asset import render_frame


def render_object_orbit(path: Path, cameras: Cameras) -> OrbitClip:
    """The object in `path` rendered by `cameras`: a .glb or .gltf (at the start of its first animation,
    if any), or Gaussians in a .ply. InputError: another or a damaged file."""
    suffix = path.suffix.lower()
    if not path.is_file() or suffix not in (*GLTF_SUFFIXES, ".ply"):
        raise InputError(
            f"{path}: expected a .glb, .gltf or .ply file",
            hint="or give a clip: an artifact, or dataset#key",
        )
    times = torch.zeros(len(cameras))
    if suffix == ".ply":
        gaussians = read_ply(path)
        drawn = [render_frame(gaussians, cameras, i) for i in range(len(cameras))]
        frames = torch.stack([premultiplied_over(rgb, alpha, WHITE) for rgb, alpha in drawn])
        return OrbitClip(frames=frames, cameras=cameras, times=times)
    cfg = PrepareConfig(resolution=cameras.width, frames=max(len(cameras), 2))
    scene = load_gltf(path)
    normalized = normalize_object(scene, 0 if scene.clips else None, cfg)
    return render_view(normalized, cameras, times, cfg, None)


def matching_frames(
    orbit: OrbitClip, cameras: Cameras, *, where: str, reporter: Reporter
) -> torch.Tensor:
    """Indices [T] of the frames of a static object's `orbit` for each of `cameras`: evenly spaced where
    these go round as the orbit does, else those of the nearest azimuths, with a warning where there are
    none near. InputError: fewer frames than cameras."""
    even = evenly_spaced(len(orbit), len(cameras), where=where)
    apart = (cameras.azimuths[:, None] - orbit.cameras.azimuths[None]).abs() % 360
    apart = torch.minimum(apart, 360 - apart)  # [T, frames of the orbit]
    step = 360 / len(orbit)
    rows = torch.arange(len(cameras))
    if float(apart[rows, even].max()) < step - 0.1:
        return even
    distance, nearest = apart.min(dim=1)
    if float(distance.max()) > step:
        reporter.warn(
            f"{where}: no frame within {float(distance.max()):.0f} degrees of some of the cameras; the "
            "nearest are used"
        )
    return nearest
