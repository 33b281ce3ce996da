"""The points that `tools.train_course` learns from: those of the surface of each training object of a list,
where each of its animations has them.

K clips of a file, T moments, P points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from orster_cli.dataset.views import clip_seconds
from orster_cli.diffusion.course_regressor import CourseConfig
from orster_cli.geometry.mesh import points_on_surface
from orster_cli.geometry.orbit import clip_times
from orster_cli.gltf.load import load_gltf
from tools.clip_lists import Row
from tools.rest_data import kept_of

POINTS = 1024


@dataclass(frozen=True)
class Tracks:
    """Of one object, in shares of its longest side where its first clip begins: `places` [K,T,P,3] of its
    points in each clip, their `normals` [K,P,3] where it begins; `bind` [P,3] and `bind_normals` [P,3] of
    its bind pose."""

    places: Tensor
    normals: Tensor
    bind: Tensor
    bind_normals: Tensor


def track(path: Path, rows: Sequence[Row], out: Path) -> None:
    """Into the file `out`, if it is not there: the `Tracks` of one object, and the numbers of its clips."""
    clips = [int(row["clip"]) for row in rows]
    if out.is_file() and torch.load(out, weights_only=True, mmap=True)["clips"] == clips:
        return
    scene = load_gltf(path)
    times = clip_times(CourseConfig.moments).tolist()
    meshes = [
        [scene.evaluate(clip, clip_seconds(scene, clip, time)) for time in times] for clip in clips
    ]
    bind = scene.evaluate(None, 0.0)
    points = points_on_surface(meshes[0][0], POINTS)
    side = float(np.ptp(points.at(meshes[0][0].vertices), axis=0).max())
    places = np.stack([[points.at(mesh.vertices) / side for mesh in some] for some in meshes])
    made = {
        "places": torch.from_numpy(places).half(),
        "normals": torch.from_numpy(np.stack([points.normals(some[0]) for some in meshes])).half(),
        "bind": torch.from_numpy(points.at(bind.vertices) / side).half(),
        "bind_normals": torch.from_numpy(points.normals(bind)).half(),
        "clips": clips,
    }
    draft = out.with_suffix(".tmp")
    torch.save(made, draft)
    draft.replace(out)


def tracked(
    clips: dict[str, list[Row]], folders: Sequence[Path], out: Path, jobs: int
) -> list[Tracks]:
    """Of each file of `clips`, by `jobs` processes, kept in the folder `out`."""
    made = kept_of(track, clips, folders, out, jobs)
    return [Tracks(*(one[key] for key in Tracks.__annotations__)) for one in made]
