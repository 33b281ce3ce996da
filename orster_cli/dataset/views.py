"""Renders the views of one animation: dynamic orbit, static orbit, front view, evaluation views, grid,
further orbits.

The grid holds every moment from every azimuth, so that azimuth and time are two variables; the three other
views are paths through it. Frames of equal pose and time are rendered once, whatever views they are in.
T moments, N azimuths of the grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from orster_cli.config.prepare import PrepareConfig, further_orbits
from orster_cli.core.conventions import orbit_view
from orster_cli.core.errors import InputError
from orster_cli.core.seeding import derive_seed
from orster_cli.core.types import Cameras, OrbitClip
from orster_cli.geometry.mesh import Mesh
from orster_cli.geometry.orbit import clip_times, grid_path, orbit_azimuths, orbit_cameras
from orster_cli.gltf.normalization import Normalization, normalize_clip
from orster_cli.gltf.scene import Scene
from orster_cli.mesh_render.render import render_mesh


@dataclass(frozen=True, eq=False)
class NormalizedClip:
    """One animation of a normalised object; `clip` None is the rest pose."""

    scene: Scene
    clip: int | None
    normalization: Normalization

    def mesh(self, t: float) -> Mesh:
        """The normalised mesh at time `t` in [0,1]."""
        mesh = self.scene.evaluate(self.clip, clip_seconds(self.scene, self.clip, t))
        return mesh.transformed(self.normalization.scale, self.normalization.offset)


def clip_seconds(scene: Scene, clip: int | None, t: float) -> float:
    """Time `t` in [0,1] of an animation in seconds: 0 is its first keyframe, 1 its last."""
    if clip is None:
        return 0.0
    animation = scene.clips[clip]
    return animation.start + float(t) * animation.duration


def normalize_object(scene: Scene, clip: int | None, cfg: PrepareConfig) -> NormalizedClip:
    """Normalise an object over all times that `cfg` renders."""
    if clip is not None and not 0 <= clip < len(scene.clips):
        raise InputError(f"{scene.path}: clip {clip}: the file has {len(scene.clips)} animations")
    shown = clip_times(cfg.frames).tolist()
    if cfg.eval_views:
        shown += [t for t in cfg.eval_times if t not in shown]
    seconds = np.array([clip_seconds(scene, clip, t) for t in shown])
    return NormalizedClip(scene, clip, normalize_clip(scene, clip, seconds, cfg.elevation))


def normalize_pose(scene: Scene, clip: int | None, cfg: PrepareConfig) -> NormalizedClip:
    """Normalise an object by its pose at the start of animation `clip` alone, wherever it goes later."""
    start = np.array([clip_seconds(scene, clip, 0.0)])
    return NormalizedClip(scene, clip, normalize_clip(scene, clip, start, cfg.elevation))


def framing_of(placed: NormalizedClip, cfg: PrepareConfig) -> list[float]:
    """Where the cameras of a clip are in the world of its object normalised by its pose at the clip's start
    alone: the factor on their distance, and the point [3] that they look at. A clip in which the object
    goes somewhere has room there."""
    pose = normalize_pose(placed.scene, placed.clip, cfg).normalization
    far = pose.scale / placed.normalization.scale
    point = pose.offset - far * placed.normalization.offset
    return [round(float(one), 4) for one in (far, *point)]


def view_cameras(cfg: PrepareConfig, key: str = "") -> dict[str, tuple[Cameras, torch.Tensor]]:
    """Cameras and times of each view. With azimuth jitter, the start azimuth of the orbits is drawn from
    the sample's `key`; front view and grid always start at azimuth 0.

    The grid is azimuth-major (`grid_path`). Where N is a multiple of T, the orbits are paths through it
    that start at its azimuth nearest to the one drawn."""
    ahead_of_first = further_orbits(cfg)
    start = float(cfg.azimuths[0])
    if cfg.azimuth_jitter:
        start += derive_seed(cfg.seed, "azimuth", key) / 2**63 * 360.0
    size = {"width": cfg.resolution, "height": cfg.resolution, "elevation": cfg.elevation}
    orbit = orbit_cameras(orbit_azimuths(cfg.frames, start=start), **size)
    front = orbit_cameras(orbit_azimuths(cfg.frames, turns=0.0), **size)
    times = clip_times(cfg.frames)
    others = {
        orbit_view(ahead): orbit_cameras(orbit_azimuths(cfg.frames, start=start + ahead), **size)
        for ahead in ahead_of_first
    }
    grid = None
    if cfg.grid:
        around = orbit_cameras(orbit_azimuths(cfg.grid), **size)
        grid = around[torch.arange(cfg.grid).repeat_interleave(cfg.frames)], times.repeat(cfg.grid)
        if cfg.grid % cfg.frames == 0:
            first = round(start / 360.0 * cfg.grid) % cfg.grid
            orbit = grid[0][grid_path(cfg.frames, cfg.grid, start=first)]
            for ahead in ahead_of_first:
                first = round((start + ahead) / 360.0 * cfg.grid) % cfg.grid
                path = grid_path(cfg.frames, cfg.grid, start=first)
                others[orbit_view(ahead)] = grid[0][path]
    views = {
        "dynamic": (orbit, times),
        "static": (orbit, torch.zeros_like(times)),
        "front": (front, times),
    }
    if cfg.eval_views and cfg.eval_times:
        azimuths = orbit_azimuths(cfg.eval_views).repeat(len(cfg.eval_times))
        moments = torch.tensor(cfg.eval_times, dtype=torch.float64)
        views["eval"] = (
            orbit_cameras(azimuths, **size),
            moments.repeat_interleave(cfg.eval_views),
        )
    if grid is not None:
        views["grid"] = grid
    return views | {name: (cameras, times) for name, cameras in others.items()}


def render_views(
    scene: Scene,
    clip_index: int | None,
    cfg: PrepareConfig,
    *,
    key: str = "",
    prompt: str | None = None,
) -> dict[str, OrbitClip]:
    """Render the views "dynamic", "static", "front" and, with `cfg.eval_views` and `cfg.grid`, "eval" and
    "grid" of one animation (None: the rest pose). Frames are straight colour, white where alpha is 0.

    InputError: an object without extent, or damaged."""
    return render_normalized(normalize_object(scene, clip_index, cfg), cfg, key=key, prompt=prompt)


def render_normalized(
    normalized: NormalizedClip, cfg: PrepareConfig, *, key: str = "", prompt: str | None = None
) -> dict[str, OrbitClip]:
    """`render_views` of an already normalised clip."""
    draw = _blender_view if cfg.renderer == "blender" else render_view
    views = view_cameras(cfg, key)
    cameras, times, which = _distinct(views)
    drawn = draw(normalized, cameras, times, cfg, prompt)
    assert drawn.alpha is not None
    return {
        name: OrbitClip(
            frames=_taken(drawn.frames, which[name]),
            alpha=_taken(drawn.alpha, which[name]),
            cameras=cameras,
            times=times.float(),
            prompt=prompt,
        )
        for name, (cameras, times) in views.items()
    }


def _distinct(
    views: dict[str, tuple[Cameras, Tensor]],
) -> tuple[Cameras, Tensor, dict[str, list[int]]]:
    """Every different frame of `views` once, as cameras and times, and each view's frames among them. The
    longest view comes first, so that it is a slice of the result."""
    numbers: dict[tuple[float, ...], int] = {}
    first: list[tuple[str, int]] = []
    which: dict[str, list[int]] = {}
    for name in sorted(views, key=lambda name: -len(views[name][0])):
        cameras, times = views[name]
        poses = torch.cat([cameras.K.flatten(1), cameras.w2c.flatten(1)], dim=1).double()
        which[name] = []
        for k, pose in enumerate(torch.cat([poses, times.double()[:, None]], dim=1).tolist()):
            number = numbers.setdefault(tuple(pose), len(numbers))
            which[name].append(number)
            if number == len(first):
                first.append((name, k))
    some = next(iter(views.values()))[0]
    cameras = Cameras(
        K=torch.stack([views[name][0].K[k] for name, k in first]),
        w2c=torch.stack([views[name][0].w2c[k] for name, k in first]),
        width=some.width,
        height=some.height,
    )
    return cameras, torch.stack([views[name][1][k] for name, k in first]), which


def _taken(x: Tensor, which: list[int]) -> Tensor:
    """The entries `which` of `x`, without a copy where they are consecutive."""
    if which == list(range(which[0], which[0] + len(which))):
        return x[which[0] : which[0] + len(which)]
    return x[which]


def render_view(
    normalized: NormalizedClip,
    cameras: Cameras,
    times: torch.Tensor,
    cfg: PrepareConfig,
    prompt: str | None,
) -> OrbitClip:
    """One view, rendered by the built-in renderer; frames at equal times share one mesh."""
    moments = times.tolist()
    shape = (len(moments), cameras.height, cameras.width)
    frames, alpha = torch.empty(shape[0], 3, *shape[1:]), torch.empty(shape[0], 1, *shape[1:])
    for t in dict.fromkeys(moments):
        which = [i for i, moment in enumerate(moments) if moment == t]
        render = render_mesh(
            normalized.mesh(t), cameras[which], supersample=cfg.supersample, device=cfg.device
        )
        frames[which], alpha[which] = render.rgb.cpu(), render.alpha.cpu()
    return OrbitClip(
        frames=frames,
        alpha=alpha,
        cameras=cameras,
        times=times.float(),
        prompt=prompt,
    )


def _blender_view(
    normalized: NormalizedClip,
    cameras: Cameras,
    times: torch.Tensor,
    cfg: PrepareConfig,
    prompt: str | None,
) -> OrbitClip:
    """One view, rendered by Blender with `supersample`^2 samples a pixel, at least 16."""
    from orster_cli.mesh_render.blender import Shot, render_shots

    shots = [
        Shot(
            seconds=clip_seconds(normalized.scene, normalized.clip, t),
            K=cameras.K[k].double().numpy(),
            w2c=cameras.w2c[k].double().numpy(),
        )
        for k, t in enumerate(times.tolist())
    ]
    frames = render_shots(
        normalized.scene.path,
        normalized.clip,
        shots,
        scale=normalized.normalization.scale,
        offset=normalized.normalization.offset,
        width=cameras.width,
        height=cameras.height,
        samples=max(cfg.supersample**2, 16),
    )
    rgba = torch.from_numpy(np.stack(list(frames))).permute(0, 3, 1, 2).float() / 255
    alpha = rgba[:, 3:]
    return OrbitClip(
        frames=torch.where(alpha > 0, rgba[:, :3], torch.ones(())),
        alpha=alpha,
        cameras=cameras,
        times=times.float(),
        prompt=prompt,
    )
