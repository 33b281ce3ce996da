"""Renders the views of one animation: dynamic orbit, static orbit, front view, evaluation views.

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
from orster_cli.gltf.normalization import Normalization, normalize_clip
from orster_cli.gltf.scene import Scene
from orster_cli.mesh_render.render import MeshRender, render_mesh


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


def view_cameras(cfg: PrepareConfig, key: str = "") -> dict[str, tuple[Cameras, torch.Tensor]]:
    """Cameras and times [T] of each view. With azimuth jitter, the start azimuth of the orbits is drawn
    from the sample's `key`; the front view is always at azimuth 0."""
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


def render_views(
    scene: Scene,
    clip_index: int | None,
    cfg: PrepareConfig,
    *,
    key: str = "",
    prompt: str | None = None,
) -> dict[str, OrbitClip]:
    """Render the views "dynamic", "static", "front" and, with `cfg.eval_views`, "eval" of one animation
    (None: the rest pose). Frames are straight colour, white where alpha is 0.

    InputError: an object without extent, or damaged."""
    return render_normalized(normalize_object(scene, clip_index, cfg), cfg, key=key, prompt=prompt)


def render_normalized(
    normalized: NormalizedClip, cfg: PrepareConfig, *, key: str = "", prompt: str | None = None
) -> dict[str, OrbitClip]:
    """`render_views` of an already normalised clip."""
    draw = _blender_view if cfg.renderer == "blender" else render_view
    return {
        name: draw(normalized, cameras, times, cfg, prompt)
        for name, (cameras, times) in view_cameras(cfg, key).items()
    }


def render_view(
    normalized: NormalizedClip,
    cameras: Cameras,
    times: torch.Tensor,
    cfg: PrepareConfig,
    prompt: str | None,
) -> OrbitClip:
    """One view, rendered by the built-in renderer; frames at equal times share one mesh."""
    moments = times.tolist()
    renders: list[MeshRender | None] = [None] * len(moments)
    for t in dict.fromkeys(moments):
        which = [i for i, moment in enumerate(moments) if moment == t]
        render = render_mesh(
            normalized.mesh(t), cameras[which], supersample=cfg.supersample, device=cfg.device
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
