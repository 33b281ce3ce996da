"""Draw the picture of the README in which a static object comes back animated.

python -m tools.draw_object GLB --text "a fox walking" --project PROJECT --out docs/pictures/object.webp
    [--far 1.0]

Runs `orster generate --object` and `orster export --to glb` in PROJECT, where they are not up to date. The
picture turns: the object as given, the asset, and the exported file. `--far`: a factor on the distance of
the cameras, for an object that goes somewhere. T frames, H W pixels.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import torch
from torch import Tensor

from orster_cli.construction.asset import load_asset
from orster_cli.core.compositing import premultiplied_over
from orster_cli.export.source_mesh import open_source_mesh
from orster_cli.geometry.orbit import RADIUS, orbit_azimuths, orbit_cameras
from orster_cli.gltf.load import load_gltf
from orster_cli.io.animations import write_animation
from orster_cli.io.images import contact_sheet
from orster_cli.mesh_render.render import render_mesh
from orster_cli.splatting.render_asset import render_frame

FRAMES, SIDE, FPS, QUALITY = 48, 256, 12.0, 70
CYCLES = 3  # of the motion, while the camera goes round once
TITLES = ("your static object", "orster generate", "orster export --to glb")


def run(*words: str) -> None:
    """`orster WORDS`."""
    subprocess.run([sys.executable, "-m", "orster_cli", *words], check=True)


def frames(asset_folder: Path, exported: Path, far: float) -> Tensor:
    """[T,3,H,W] of the picture."""
    asset = load_asset(asset_folder)
    start = asset.at(0.0).means.numpy()
    source = open_source_mesh(asset_folder / "object.glb", clip=None, frames=FRAMES, like=[start])
    place = source.normalization
    scene = load_gltf(exported)
    seconds = scene.clips[0].end
    loop = asset.motion.timeline
    cycles = loop.cycles if loop.looping else 1
    out = []
    for number, azimuth in enumerate(orbit_azimuths(FRAMES, start=30.0)):
        camera = orbit_cameras(
            azimuth[None], elevation=12.0, radius=far * RADIUS, width=SIDE, height=SIDE
        )
        time = number * CYCLES / FRAMES % 1.0
        rgb, alpha = render_frame(asset.at(time), camera, 0)
        mesh = scene.evaluate(0, time * cycles % 1.0 * seconds)
        row = [
            render_mesh(source.mesh, camera).rgb[0],
            premultiplied_over(rgb, alpha, 1.0),
            render_mesh(mesh.transformed(place.scale, place.offset), camera).rgb[0],
        ]
        cells = [
            contact_sheet([[cell]], [title], cell=SIDE)
            for cell, title in zip(row, TITLES, strict=True)
        ]
        out.append(torch.cat(cells, dim=-1))
    return torch.stack(out)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("object", type=Path)
    parser.add_argument("--text", required=True)
    parser.add_argument("--project", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--far", type=float, default=1.0)
    given = parser.parse_args()
    made = given.project / "made"
    run(
        "generate",
        "--object",
        str(given.object),
        "--text",
        given.text,
        "--preset",
        "fast",
        "-o",
        str(made),
    )
    run("export", str(made / "asset"), "--to", "glb", "-o", str(given.project), "--force")
    [exported] = given.project.glob("*.glb")
    write_animation(
        given.out, frames(made / "asset", exported, given.far), fps=FPS, quality=QUALITY
    )
    print(f"{given.out}: {given.out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
