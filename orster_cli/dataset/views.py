"""The videos of one animation: dynamic orbit, static orbit, front view, evaluation views.

T frames, E evaluation times, V views.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from orster_cli.config.prepare import PrepareConfig
from orster_cli.core.errors import InputError
from orster_cli.core.seeding import derive_seed
from orster_cli.core.types import Cameras, OrbitClip
from orster_cli.geometry.mesh import Mesh
from orster_cli.geometry.orbit import clip_times, orbit_azimuths, orbit_cameras
from orster_cli.gltf.placement import Placement, place_clip
from orster_cli.gltf.scene import Scene
from orster_cli.mesh_render.render import MeshRender, render_mesh


@dataclass(frozen=True, eq=False)
class PlacedClip:
    """One animation of an object, normalised; `.mesh(t)` for t in [0, 1]."""

    scene: Scene
    clip: int | None
    placement: Placement

    def mesh(self, t: float) -> Mesh:
        """The triangles at normalised time `t`, in the conventions' world."""
        mesh = self.scene.evaluate(self.clip, clip_seconds(self.scene, self.clip, t))
        return mesh.transformed(self.placement.scale, self.placement.offset)


def clip_seconds(scene: Scene, clip: int | None, t: float) -> float:
    """The second of an animation at normalised time `t`: 0 its first, 1 its last keyframe."""
    if clip is None:
        return 0.0
    animation = scene.clips[clip]
    return animation.start + float(t) * animation.duration


def place(scene: Scene, clip: int | None, cfg: PrepareConfig) -> PlacedClip:
    """Normalise an object over every moment that `cfg` will show."""
    if clip is not None and not 0 <= clip < len(scene.clips):
        raise InputError(f"{scene.path}: clip {clip}: the file has {len(scene.clips)} animations")
    shown = clip_times(cfg.frames).tolist()
    if cfg.eval_views:
        shown += [t for t in cfg.eval_times if t not in shown]
    seconds = np.array([clip_seconds(scene, clip, t) for t in shown])
    return PlacedClip(scene, clip, place_clip(scene, clip, seconds, cfg.elevation))


def view_cameras(cfg: PrepareConfig, key: str = "") -> dict[str, tuple[Cameras, torch.Tensor]]:
    """Cameras and times [T] of each view. `key` names the sample and, with azimuth jitter, draws
    the azimuth at which its orbits start; the front view always stands at azimuth 0."""
    start = 0.0
    if cfg.azimuth_jitter:
        start = derive_seed(cfg.seed, "azimuth", key) / 2**63 * 360.0
    size = {"width": cfg.resolution, "height": cfg.resolution, "elevation": cfg.elevation}
    orbit = orbit_cameras(orbit_azimuths(cfg.frames, start=start), **size)
    front = orbit_cameras(orbit_azimuths(cfg.frames, turns=0.0), **size)
    times = clip_times(cfg.frames)
    views = {
        "dynamic": (orbit, times),
        "static": (orbit, torch.zeros_like(times)),
        "front": (front, times),
    }
    if cfg.eval_views:
        azimuths = orbit_azimuths(cfg.eval_views).repeat(len(cfg.eval_times))
        moments = torch.tensor(cfg.eval_times, dtype=torch.float64)
        views["eval"] = (
            orbit_cameras(azimuths, **size),
            moments.repeat_interleave(cfg.eval_views),
        )
    return views


def render_triple(
    scene: Scene,
    clip_index: int | None,
    cfg: PrepareConfig,
    *,
    key: str = "",
    prompt: str | None = None,
) -> dict[str, OrbitClip]:
    """Render "dynamic", "static", "front" and, when `cfg.eval_views`, "eval" of one animation
    (None: the object at rest). Frames are straight colour, white where alpha is 0.

    Raises InputError for an object that cannot be shown."""
    return render_placed(place(scene, clip_index, cfg), cfg, key=key, prompt=prompt)


def render_placed(
    placed: PlacedClip, cfg: PrepareConfig, *, key: str = "", prompt: str | None = None
) -> dict[str, OrbitClip]:
    """`render_triple` of a clip that is already normalised."""
    draw = _blender_view if cfg.renderer == "blender" else render_view
    return {
        name: draw(placed, cameras, times, cfg, prompt)
        for name, (cameras, times) in view_cameras(cfg, key).items()
    }


def render_view(
    placed: PlacedClip,
    cameras: Cameras,
    times: torch.Tensor,
    cfg: PrepareConfig,
    prompt: str | None,
) -> OrbitClip:
    """One video; frames at the same moment share one evaluation of the mesh."""
    moments = times.tolist()
    renders: list[MeshRender | None] = [None] * len(moments)
    for t in dict.fromkeys(moments):
        which = [i for i, moment in enumerate(moments) if moment == t]
        render = render_mesh(
            placed.mesh(t), cameras[which], supersample=cfg.supersample, device=cfg.device
        )
        for k, i in enumerate(which):
            renders[i] = MeshRender(rgb=render.rgb[k], alpha=render.alpha[k], depth=render.depth[k])
    done = [render for render in renders if render is not None]
    return OrbitClip(
        frames=torch.stack([render.rgb for render in done]).cpu(),
        alpha=torch.stack([render.alpha for render in done]).cpu(),
        cameras=cameras,
        times=times.float(),
        prompt=prompt,
    )


def _blender_view(
    placed: PlacedClip,
    cameras: Cameras,
    times: torch.Tensor,
    cfg: PrepareConfig,
    prompt: str | None,
) -> OrbitClip:
    """One video by Blender; `supersample` squared samples a pixel, at least 16."""
    from orster_cli.mesh_render.blender import Shot, render_shots

    shots = [
        Shot(
            seconds=clip_seconds(placed.scene, placed.clip, t),
            K=cameras.K[k].double().numpy(),
            w2c=cameras.w2c[k].double().numpy(),
        )
        for k, t in enumerate(times.tolist())
    ]
    frames = render_shots(
        placed.scene.path,
        placed.clip,
        shots,
        scale=placed.placement.scale,
        offset=placed.placement.offset,
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
