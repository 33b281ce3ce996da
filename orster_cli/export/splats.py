"""Gaussians in files that other programs read: a PLY for each moment, and glTF with KHR_gaussian_splatting.

N Gaussians.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from orster_cli.core.errors import InputError
from orster_cli.core.limits import PLY_MAX_VERTICES
from orster_cli.core.types import Gaussians
from orster_cli.export.cleaning import SMALLEST_LOG_SCALE
from orster_cli.export.job import ExportJob, Outcome
from orster_cli.export.measure import against_asset, splat_images
from orster_cli.export.moments import check_moves, frame_moments
from orster_cli.geometry.axes import MATRICES, flat_colors, turned, with_turns
from orster_cli.geometry.mesh import srgb_to_linear
from orster_cli.gltf.container import read_gltf
from orster_cli.gltf.writing import VERTICES, GlbWriter
from orster_cli.io.ply import read_ply, write_ply
from orster_cli.splatting.low_pass import with_low_pass, without_low_pass

SEQUENCE = "sequence.json"
EXTENSION = "KHR_gaussian_splatting"

README = """A sequence of {frames} moments of an animated object, as 3D Gaussians in the 3DGS PLY layout.

frame0001.ply ... frame{frames:04d}.ply, {fps:g} frames a second{loop}. {up} points up.
Drop all files at once on SuperSplat (https://superspl.at/editor): it plays numbered files as a timeline.
Each file is whole; Gaussian i is the same one in every file.
"""


def frame_name(number: int) -> str:
    """frame0001.ply: a common prefix and a number, as programs recognise a sequence."""
    return f"frame{number:04d}.ply"


def write_ply_sequence(job: ExportJob, folder: Path) -> Outcome:
    """One PLY a moment, with a README and the frame rate beside."""
    options = job.options
    if options.times is None:
        check_moves(job.asset, "a sequence")
    moments = frame_moments(job.asset, job.frames, options.fps, options.times)
    up = options.up or "-y"
    folder.mkdir()
    for number, time in enumerate(moments.times, 1):
        write_ply(folder / frame_name(number), turned(gaussians_at(job, time), up))
        job.reporter.step("ply-sequence", number, len(moments.times))
    looping = moments.closing is not None
    count = len(moments.times)
    facts = {
        "frames": count,
        "fps": options.fps,
        "looping": looping,
        "up": up,
        "times": list(moments.times),
    }
    (folder / SEQUENCE).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    text = README.format(
        frames=count, fps=options.fps, loop=", a loop" if looping else "", up=axis_words(up)
    )
    (folder / "README.txt").write_text(text, encoding="utf-8")

    def drawn(index: int) -> Tensor:
        found = turned(read_ply(folder / frame_name(index + 1)), up, back=True)
        return splat_images(as_written(job, found))

    psnr = against_asset(job.asset, moments.times, drawn)
    return Outcome(
        psnr=psnr,
        facts={k: facts[k] for k in ("frames", "fps", "up")},
        note=f"{count} moments at {options.fps:g} a second, {axis_words(up)} up",
    )


def write_splat_glb(job: ExportJob, path: Path) -> Outcome:
    """One moment as a glTF point primitive with KHR_gaussian_splatting, +Y up."""
    return write_still(job, path, splat_glb, read_splat_glb)


def write_still(
    job: ExportJob,
    path: Path,
    encoded: Callable[[Gaussians], bytes],
    read: Callable[[Path], Gaussians],
) -> Outcome:
    """The moment `--at` as the bytes of `encoded`, which `read` reads back."""
    gaussians = gaussians_at(job, job.options.at)
    path.write_bytes(encoded(gaussians))

    def drawn(index: int) -> Tensor:
        del index
        return splat_images(as_written(job, read(path)))

    psnr = against_asset(job.asset, [job.options.at], drawn)
    return Outcome(
        psnr=psnr,
        facts={"gaussians": len(gaussians), "time": job.options.at},
        note=f"{len(gaussians)} Gaussians at time {job.options.at:g}",
    )


def check_some(gaussians: Gaussians) -> None:
    """InputError: there are no Gaussians, so there is nothing to write."""
    if not len(gaussians):
        raise InputError("there is no Gaussian to write", code="E-PLY-COUNT")


def splat_glb(gaussians: Gaussians) -> bytes:
    """The file. Scales are linear, rotations xyzw, opacities after the sigmoid, SH coefficients raw;
    COLOR_0 holds linear colour and opacity for programs that draw points."""
    turned_up = turned(flat_colors(gaussians), "y")
    quats = torch.nn.functional.normalize(turned_up.quats, dim=-1)
    opacity = turned_up.opacity_logits.sigmoid()
    color = srgb_to_linear(gaussians.colors.clamp(0, 1).double().cpu().numpy())
    columns = {
        "POSITION": floats(turned_up.means),
        "COLOR_0": np.concatenate([color, opacity[:, None].cpu().numpy()], 1).astype(np.float32),
        f"{EXTENSION}:ROTATION": floats(quats[:, [1, 2, 3, 0]]),
        f"{EXTENSION}:SCALE": floats(turned_up.log_scales.exp()),
        f"{EXTENSION}:OPACITY": floats(opacity),
        f"{EXTENSION}:SH_DEGREE_0_COEF_0": floats(turned_up.sh[:, 0]),
    }
    out = GlbWriter()
    attributes = {
        name: out.accessor(values, target=VERTICES, bounds=name == "POSITION")
        for name, values in columns.items()
    }
    about = {
        "kernel": "ellipse",
        "colorSpace": "srgb_rec709_display",
        "projection": "perspective",
        "sortingMethod": "cameraDistance",
    }
    primitive = {"attributes": attributes, "mode": 0, "extensions": {EXTENSION: about}}
    mesh = out.add("meshes", {"primitives": [primitive]})
    out.root["scenes"] = [{"nodes": [out.add("nodes", {"mesh": mesh})]}]
    out.root["extensionsUsed"] = [EXTENSION]
    return out.to_bytes()


def read_splat_glb(path: Path) -> Gaussians:
    """The Gaussians of the first primitive with KHR_gaussian_splatting, degree 0, in our world. InputError:
    there is none, or it is damaged."""
    document = read_gltf(path)
    for m, mesh in enumerate(document.items("meshes")):
        for p, entry in enumerate(document.sequence(mesh, "primitives", f"meshes[{m}]")):
            where = f"meshes[{m}].primitives[{p}]"
            if EXTENSION in document.mapping(entry, "extensions", where):
                attributes = document.mapping(entry, "attributes", where)

                def column(name: str, kind: str, found: dict = attributes) -> Tensor:  # type: ignore[type-arg]
                    values = document.accessor(
                        found.get(name), f"meshes.{name}", types=(kind,), max_count=PLY_MAX_VERTICES
                    )
                    return torch.from_numpy(np.array(values, np.float32))

                quats = column(f"{EXTENSION}:ROTATION", "VEC4")
                opacity = column(f"{EXTENSION}:OPACITY", "SCALAR")[:, 0]
                gaussians = Gaussians(
                    means=column("POSITION", "VEC3"),
                    log_scales=column(f"{EXTENSION}:SCALE", "VEC3").log(),
                    quats=quats[:, [3, 0, 1, 2]],
                    opacity_logits=opacity.logit(1e-7),
                    sh=column(f"{EXTENSION}:SH_DEGREE_0_COEF_0", "VEC3")[:, None],
                )
                return turned(gaussians, "y", back=True)
    raise document.fail("meshes", f"a primitive with {EXTENSION}", "none")


def gaussians_at(job: ExportJob, time: float) -> Gaussians:
    """The Gaussians at `time` in the world of the files, with colours that turn with them and sizes that
    programs can hold: these know no scale of the fit, so its low-pass is part of the sizes."""
    with torch.no_grad():
        found = with_low_pass(with_turns(flat_colors(job.asset.at(time))))
    held = replace(found, log_scales=found.log_scales.clamp_min(SMALLEST_LOG_SCALE))
    return job.world.inverse().gaussians(held)


def as_written(job: ExportJob, found: Gaussians) -> Gaussians:
    """What was read back, in our world, to be rendered without the low-pass that `gaussians_at` put into
    the sizes."""
    found = job.world.gaussians(found)
    return found if job.asset.canonical.fitted is None else without_low_pass(found)


def floats(values: Tensor) -> np.ndarray:
    """As float32 on the CPU."""
    return values.detach().cpu().numpy().astype(np.float32)


def axis_words(up: str) -> str:
    """ "+Z"."""
    assert up in MATRICES
    return f"-{up[1:].upper()}" if up.startswith("-") else f"+{up.upper()}"
