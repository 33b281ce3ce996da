"""Time to prepare one clip: normalise, render its views, curate, encode.

    python benchmarks/prepare_data.py examples/creature.glb [MORE.glb ...] [--frames 16 --grid 16]

Runs on one thread. The baseline in the same run is the same renderer in plain torch: the time of one frame
times the number of frames. Prints a Markdown table of CPU seconds and, in brackets, wall seconds.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch

from orster_cli.config.prepare import PrepareConfig
from orster_cli.dataset.samples import curate, encode_views
from orster_cli.dataset.views import normalize_object, render_normalized, render_views, view_cameras
from orster_cli.gltf.load import load_gltf
from orster_cli.mesh_render.render import render_mesh

Result = TypeVar("Result")


def timed(function: Callable[[], Result]) -> tuple[Result, str, float]:
    """The result, its times as text, and the CPU seconds."""
    cpu, wall = time.process_time(), time.perf_counter()
    result = function()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return result, f"{cpu:.2f} ({wall:.2f})", cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--clip", type=int, default=0)
    parser.add_argument("--resolution", type=int, default=256)
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--grid", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    cfg = PrepareConfig(resolution=args.resolution, frames=args.frames, grid=args.grid)
    first = load_gltf(args.files[0])
    render_views(first, 0, PrepareConfig(frames=2, resolution=32))  # compile, or read the cache
    print(f"{platform.machine()}, {torch.__version__}, {cfg.frames} frames, {cfg.resolution} px, "
          f"{cfg.supersample}x{cfg.supersample} samples, grid {cfg.grid}, one thread\n")  # fmt: skip
    print(
        "| object | triangles | load | place | render | judge | encode | MB | torch baseline | ratio |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for path in args.files:
        scene, load, _ = timed(lambda path=path: load_gltf(path))
        placed, placing, _ = timed(lambda scene=scene: normalize_object(scene, args.clip, cfg))
        views, rendering, seconds = timed(lambda placed=placed: render_normalized(placed, cfg))
        _, judging, _ = timed(lambda views=views: curate(views, cfg))
        encoded, encoding, _ = timed(lambda views=views: encode_views("key", views, {}))
        mesh, camera = placed.mesh(0.5), view_cameras(cfg)["dynamic"][0][cfg.frames // 3]
        _, _, plain = timed(lambda m=mesh, c=camera: render_mesh(m, c, backend="torch"))
        plain *= sum(map(len, views.values()))
        cells = [path.stem, f"{len(mesh.triangles):,}", load, placing, rendering, judging]
        cells += [encoding, f"{len(encoded) / 1e6:.2f}"]
        print("| " + " | ".join([*cells, f"{plain:.0f}", f"{plain / seconds:.0f}x"]) + " |")


if __name__ == "__main__":
    main()
