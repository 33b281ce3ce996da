"""The animated mesh: the file that an asset came from, moved by the asset, read back and measured.

V vertices, K key frames.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from orster_cli.core.errors import ConfigError, NumericalError
from orster_cli.core.names import counted
from orster_cli.export.animated_mesh import MeshMotion, write_animated_mesh
from orster_cli.export.job import ExportJob, Outcome
from orster_cli.export.measure import (
    against_asset,
    check_cameras,
    mean_psnr,
    some_of,
    splat_images,
)
from orster_cli.export.mesh_motion import Transferred, check_memory, skinned, transfer_motion
from orster_cli.export.moments import Moments, check_moves, key_moments
from orster_cli.export.source_mesh import SourceMesh
from orster_cli.geometry.mesh import Mesh
from orster_cli.gltf.container import read_gltf
from orster_cli.gltf.load import load_gltf, read_scene
from orster_cli.gltf.scene import Scene
from orster_cli.mesh_render.render import render_mesh
from orster_cli.splatting.gaussians4d import over_phase
from orster_cli.splatting.low_pass import with_low_pass
from orster_cli.splatting.tracks import TrackedNodes

EXACT = 1e-4  # of the diagonal: how far a vertex that is read back may be from where it was put
PLACED = 16.0  # dB: a mesh that is further from the asset at all moments lies elsewhere
BINDINGS = 12  # moments among which that of binding is sought
SURFACE_DB = 15.0  # that a surface of the Gaussians must reach
CLOSER = 1.0  # dB by which the asset elsewhere than at its begin must be closer to the mesh
LARGE_BYTES = 100 * 1024**2
MOST_BONES = 256


def write_mesh_glb(job: ExportJob, path: Path) -> Outcome:
    """The mesh that the asset came from, animated; without one, a surface made from the Gaussians.

    InputError: nothing moves; LimitError: the motion takes too much memory; NumericalError: the file does
    not hold what was put into it."""
    if job.options.times is None:
        check_moves(job.asset, "an animated mesh")
    bones = job.options.bones
    if bones and not 2 <= bones <= MOST_BONES:
        raise ConfigError(f"--skin: expected 2 to {MOST_BONES} bones, got {bones}")
    moments = key_moments(job.asset, job.frames, job.options.fps, job.options.times)
    source = job.mesh or _approximate(job, path.with_name("surface.glb"))
    check_memory(len(source.mesh.vertices), len(moments.times), bones)
    job.reporter.step("move the mesh", 0, 1)
    bind, at_bind = binding_time(job, source, moments)
    moved, by_course = _moved(job, source, moments, bind)
    moved = skinned(moved, source.mesh, bones) if bones else moved
    motion = moved.motion
    bones = 0 if motion.skin is None else motion.skin.weights.shape[1]
    data, copied = write_animated_mesh(source, motion, name=job.prompt or "motion")
    if len(data) > LARGE_BYTES:
        job.reporter.warn(
            f"the file has {len(data):,} bytes: --skin 24 or fewer --times make it smaller"
        )
    path.write_bytes(data)
    job.reporter.step("move the mesh", 1, 1)
    error = read_back_error(path, source, motion)
    if error > EXACT:
        raise NumericalError(
            f"{path.name}: a vertex that is read back is {100 * error:.3g} % of the diagonal away "
            "from where it was put",
            hint="please report this file",
        )
    if copied.left_out:
        job.reporter.note(f"not in {path.name}: " + "; ".join(copied.left_out))
    psnr = against_asset(
        job.asset, moments.times, lambda i: mesh_images(_played(path, source, motion, i))
    )
    still = against_asset(job.asset, moments.times, lambda _: mesh_images(source.mesh))
    if psnr < still:
        job.reporter.warn(
            f"the moving mesh is further from the asset ({psnr:.1f} dB) than the mesh at rest "
            f"({still:.1f} dB)"
        )
    vertices, keys = len(source.mesh.vertices), len(motion.seconds)
    kind = counted(bones, "bone") if bones else f"{len(motion.target_keys)} morph targets"
    return Outcome(
        psnr=psnr,
        least=SURFACE_DB if job.mesh is None else 0.0,
        facts={
            "source": None if job.mesh is None else source.path.name,
            "approximate": job.mesh is None,
            "animation": source.clip,
            "vertices": vertices,
            "triangles": len(source.mesh.triangles),
            "keys": keys,
            "seconds": float(motion.closing or motion.seconds[-1]),
            "bones": bones,
            "primitives_kept": copied.kept,
            "primitives_posed": copied.posed,
            "left_out": list(copied.left_out),
            "vertex_error": error,
            "skin_error": moved.skin_error,
            "psnr_at_rest": still,
            "moved_by": "course" if by_course else "gaussians",
            "bound_at": None if by_course else bind,
            "psnr_at_binding": at_bind,
        },
        note=f"{'approximate surface' if job.mesh is None else source.path.name}: "
        f"{vertices} vertices, {kind}, "
        f"{float(motion.closing or motion.seconds[-1]):.2f} s; the mesh at rest: {still:.1f} dB",
    )


def _moved(
    job: ExportJob, source: SourceMesh, moments: Moments, bind: float | None
) -> tuple[Transferred, bool]:
    """The mesh as the asset goes; or, where that is known and does not lead elsewhere, as the course of its
    object does (True): that knows of each point where it goes, and Gaussians that touch may part."""
    turns = not job.options.bones
    if job.course is None:
        return transfer_motion(job.asset, source.mesh, moments, bind=bind, turns=turns), False
    timeline = job.asset.motion.timeline
    course = over_phase(job.course, timeline, max(len(job.course.places) - 1, 1))
    phases = replace(moments, times=tuple(map(timeline.phase, moments.times)))
    known = transfer_motion(course, source.mesh, phases, bind=None, turns=turns)
    if isinstance(job.asset.motion.field, TrackedNodes):  # the asset itself goes so
        return known, True
    own = transfer_motion(job.asset, source.mesh, moments, bind=bind, turns=turns)

    def near(moved: Transferred) -> float:
        places = moved.motion.positions
        return against_asset(
            job.asset,
            moments.times,
            lambda i: mesh_images(replace(source.mesh, vertices=places[i])),
        )

    follows = near(known) > near(own) - CLOSER
    return (known, True) if follows else (own, False)


def _approximate(job: ExportJob, path: Path) -> SourceMesh:
    """A surface of the Gaussians, where the asset came from no mesh."""
    from orster_cli.export.surface import surface_source

    job.reporter.warn(
        "there is no mesh of the asset: its surface is made from its Gaussians, which is approximate"
    )
    with torch.no_grad():
        return surface_source(with_low_pass(job.asset.at(0.0)), path, job.world)


def read_back_error(path: Path, source: SourceMesh, motion: MeshMotion) -> float:
    """The largest distance of a vertex in the file to where `motion` puts it, at its keys, over the
    diagonal of the mesh."""
    scene = read_scene(read_gltf(path), unweld=False)
    place = source.normalization
    size = max(float(np.linalg.norm(np.ptp(source.mesh.vertices, axis=0))), 1e-12)
    worst = 0.0
    for positions, seconds in zip(motion.positions, motion.seconds, strict=True):
        played = scene.evaluate(_animation(scene), float(seconds))
        played = played.transformed(place.scale, place.offset)
        if played.vertices.shape != positions.shape:
            return float("inf")
        worst = max(worst, float(np.linalg.norm(played.vertices - positions, axis=1).max()))
    return worst / size


def mesh_images(mesh: Mesh) -> Tensor:
    """[4,3,H,W] on white, from the cameras that the asset is measured with."""
    drawn = render_mesh(mesh, check_cameras(), supersample=2)
    return drawn.rgb * drawn.alpha + (1 - drawn.alpha)


def _played(path: Path, source: SourceMesh, motion: MeshMotion, key: int) -> Mesh:
    place = source.normalization
    scene = load_gltf(path)
    mesh = scene.evaluate(_animation(scene), float(motion.seconds[key]))
    return mesh.transformed(place.scale, place.offset)


def _animation(scene: Scene) -> int | None:
    """The file's one animation; None: it has one moment, which needs none."""
    return 0 if scene.clips else None


@torch.no_grad()
def binding_time(
    job: ExportJob, source: SourceMesh, moments: Moments
) -> tuple[float | None, float]:
    """The moment at which the asset looks most like the mesh as the file has it (None: it does where
    nothing moves it), and the PSNR there: 0, unless that is closer by `CLOSER` dB. A clip that a model
    sampled need not begin in the mesh's pose, nor ever be in it.

    Warns where the mesh lies elsewhere at all of them."""
    wanted = mesh_images(source.mesh)
    some = [moments.times[i] for i in some_of(moments.times, BINDINGS)]
    times = [0.0, None, *(t for t in some if t != 0.0)]
    every = [job.asset.canonical if t is None else job.asset.at(t) for t in times]
    found = [mean_psnr(splat_images(one), wanted) for one in every]
    best = max(range(len(times)), key=found.__getitem__)
    best = best if found[best] > found[0] + CLOSER else 0
    if found[best] < PLACED:
        job.reporter.warn(
            f"{source.path.name} is at best {found[best]:.1f} dB from the asset: is the asset made from "
            "this file and this animation (--mesh file.glb#NUMBER)?"
        )
    return times[best], found[best]
