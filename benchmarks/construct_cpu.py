"""How good and how fast `construct` is on real objects, on a CPU.

    python -m benchmarks.construct_cpu --glb ../shared/data/glb --presets fast,balanced --orbits 1,4

Each of six objects gives an orbit of 24 frames; with `--orbits 4` three more, a quarter turn apart. They
are fitted with and without the static orbit. PSNR is measured on white, against renders of the true
object: at the input frames; at eight of them at twice the size, and the asset at twice the size averaged
down; from the input cameras half-way between frames; from 60 and 120 degrees further round. `area x2` and
`area x4`: how much larger, in per cent, the silhouette is at twice and four times the size. The baseline in
the same run is the static model, the fitted object at time 0 seen from 120 degrees, which any motion must
beat. `torn`: per cent of the pairs of neighbouring Gaussians (at rest, the nearest 8 of each) that are at
any of 64 moments more than three times as far apart as at rest; `torn in truth`: of points on the true
surface (`benchmarks.tears`).
Wall time depends on what else the machine does; processor time does not.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
from torch.nn.functional import avg_pool2d

from benchmarks.fitting import CPU, fit
from benchmarks.tears import torn, torn_in_truth
from benchmarks.timing import write_results
from orster_cli.config.construct import ConstructConfig
from orster_cli.config.load import resolve
from orster_cli.config.prepare import PrepareConfig
from orster_cli.construction.asset import load_asset
from orster_cli.core.types import OrbitClip
from orster_cli.dataset.views import NormalizedClip, normalize_object, render_view
from orster_cli.geometry.orbit import clip_times, orbit_azimuths, orbit_cameras
from orster_cli.gltf.load import load_gltf
from orster_cli.metrics.psnr import psnr
from orster_cli.splatting.gaussians4d import Gaussians4D
from orster_cli.splatting.render_asset import render_clip, render_frame

OBJECTS = {
    "animal_horse": 4,  # galloping
    "cutefish_clownfish": 3,  # swimming fast
    "critter_wasp": 2,  # flying
    "mech_george": 11,  # running
    "tank_tank": 1,  # driving forward
    "human_knightcharacter": 7,  # running
}
FRAMES = 24
NEARER, HELD_OUT = 60.0, 120.0  # degrees
SOME = slice(0, None, 3)  # of the frames, for what is measured at other sizes and between them


def orbit(
    placed: NormalizedClip,
    cfg: PrepareConfig,
    start: float,
    *,
    still: bool = False,
    larger: int = 1,
    later: float = 0.0,
    pick: slice = slice(None),
) -> OrbitClip:
    """The clip from an orbit that starts at `start` degrees; `still`: at time 0; `larger` times as large;
    `later` by a fraction of the time between two frames; the frames `pick`."""
    cfg = replace(cfg, resolution=cfg.resolution * larger)
    size = {"width": cfg.resolution, "height": cfg.resolution}
    cameras = orbit_cameras(orbit_azimuths(cfg.frames, start=start), **size)
    times = torch.zeros(cfg.frames) if still else clip_times(cfg.frames)
    times = (times + later / (cfg.frames - 1)).clamp(max=1)
    return render_view(placed, cameras[pick], times[pick], cfg, None)


def mean_psnr(asset: Gaussians4D, truth: OrbitClip) -> float:
    """Mean PSNR of `asset` at the frames of `truth`."""
    return float(psnr(render_clip(asset, truth.cameras, truth.times).frames, truth.over()).mean())


def covered(asset: Gaussians4D, truth: OrbitClip, larger: int) -> float:
    """The fraction of the picture that `asset` covers at the cameras of `truth`, `larger` times larger."""
    size = (truth.cameras.width * larger, truth.cameras.height * larger)
    cameras = truth.cameras.resized(*size)
    drawn = [render_frame(asset.at(float(t)), cameras, i)[1] for i, t in enumerate(truth.times)]
    return float((torch.stack(drawn) > 0.5).double().mean())


def at_sizes(asset: Gaussians4D, placed: NormalizedClip, cfg: PrepareConfig) -> dict[str, float]:
    """Figures of `asset` at twice and four times the size, and between frames."""
    own = orbit(placed, cfg, 0.0, pick=SOME)
    cameras = own.cameras.resized(2 * own.cameras.width, 2 * own.cameras.height)
    averaged = avg_pool2d(render_clip(asset, cameras, own.times).frames, 2)
    area = covered(asset, own, 1)
    return {
        "twice": mean_psnr(asset, orbit(placed, cfg, 0.0, larger=2, pick=SOME)),
        "twice, averaged": float(psnr(averaged, own.over()).mean()),
        "area x2": 100 * (covered(asset, own, 2) / area - 1),
        "area x4": 100 * (covered(asset, own, 4) / area - 1),
        "between": mean_psnr(asset, orbit(placed, cfg, 0.0, later=0.5, pick=SOME)),
    }


def one(
    name: str,
    glb: Path,
    cfg: ConstructConfig,
    orbits: int,
    static: bool,
    device: torch.device = CPU,
    frames: int = FRAMES,
) -> dict[str, float]:
    """Construct one object; PSNR at input and held-out frames, of the static model, and times."""
    prepare = PrepareConfig(frames=frames, resolution=cfg.resolution or 256)
    placed = normalize_object(load_gltf(glb / f"{name}.glb"), OBJECTS[name], prepare)
    clips = [orbit(placed, prepare, 90.0 * k) for k in range(orbits)]
    still = orbit(placed, prepare, 0.0, still=True) if static else None
    held, nearer = orbit(placed, prepare, HELD_OUT), orbit(placed, prepare, NEARER)
    with tempfile.TemporaryDirectory() as folder:
        wall, processor = time.perf_counter(), time.process_time()
        content = fit(clips, still, cfg, Path(folder), device)
        spent = time.perf_counter() - wall, time.process_time() - processor
        asset = load_asset(Path(folder))
    at_rest = render_clip(asset, held.cameras, torch.zeros(frames)).frames
    print(f"{name}: {content['recurrence']}", flush=True)
    return {
        "input": content["psnr"],
        **at_sizes(asset, placed, prepare),
        "+60 degrees": mean_psnr(asset, nearer),
        "held-out": mean_psnr(asset, held),
        "torn %": torn(asset),
        "torn in truth %": torn_in_truth(placed),
        "static model": float(psnr(at_rest, held.over()).mean()),
        "wall s": spent[0],
        "cpu s": spent[1],
        "Gaussians": content["gaussians"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--glb", type=Path, required=True)
    parser.add_argument("--presets", default="fast,balanced")
    parser.add_argument("--orbits", default="1")
    parser.add_argument("--objects", default=",".join(OBJECTS))
    parser.add_argument("--frames", type=int, default=FRAMES)
    parser.add_argument("--without-static", action="store_true")
    parser.add_argument("--set", action="append", default=[], help="section.key=value")
    parser.add_argument("--out", type=Path, default=None)
    given = parser.parse_args()
    sections = []
    for preset in given.presets.split(","):
        for orbits in map(int, given.orbits.split(",")):
            cfg = resolve(template=f"construct-{preset}", assignments=given.set).config.construct
            rows = []
            for name in given.objects.split(","):
                how = {"static": not given.without_static, "frames": given.frames}
                row = one(name, given.glb, replace(cfg), orbits, **how)
                rows.append((name, row))
                print(preset, orbits, name, {k: round(v, 2) for k, v in row.items()}, flush=True)
            columns = list(rows[0][1])
            mean = {c: sum(row[c] for _, row in rows) / len(rows) for c in columns}
            static = "without" if given.without_static else "with"
            size = f"{cfg.resolution} px, {given.frames} frames"
            title = f"{preset}, {size}, {orbits} orbit(s), {static} the static orbit"
            lines = [f"## {title}", "", "| object | " + " | ".join(columns) + " |"]
            lines.append("|---" * (len(columns) + 1) + "|")
            for name, row in [*rows, ("**mean**", mean)]:
                lines.append(f"| {name} | " + " | ".join(f"{row[c]:.1f}" for c in columns) + " |")
            sections.append("\n".join(lines))
            print(sections[-1], flush=True)
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    sections.append(f"Load of the machine at the end (1, 5, 15 min): {load}. PSNR in dB, on white.")
    if given.out:
        write_results(given.out, "construct on a CPU", sections)


if __name__ == "__main__":
    main()
