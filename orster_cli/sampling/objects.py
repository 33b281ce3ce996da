"""The object condition: the orbit of a static object from the cameras of a clip. T frames."""

from __future__ import annotations

from pathlib import Path

import torch

from orster_cli.config.prepare import PrepareConfig
from orster_cli.core.compositing import WHITE, premultiplied_over
from orster_cli.core.errors import InputError
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
