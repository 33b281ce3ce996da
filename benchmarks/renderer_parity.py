"""Agreement of the built-in renderer with Blender: silhouettes and colours.

    python benchmarks/renderer_parity.py FOLDER --blender-python PYTHON [--objects 12]

FOLDER contains GLB files. PYTHON is an interpreter with `bpy`, NumPy and Pillow, possibly the one that
runs this script. Both renderers draw the middle clip of each object at two times from two azimuths, at
256 px. Writes a table to stdout.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).resolve().parent.parent
SIZE = 256
MOMENTS = ((0.25, 30.0), (0.6, 200.0))  # time in [0,1], azimuth in degrees
# one of each kind; dinosaurs are left out, Blender's importer shears their skins
DEFAULT = (
    "animal_horse", "animal_fox", "cutefish_clownfish", "sea_whale", "critter_wasp", "critter_frog",
    "mech_mike", "tank_tank2", "human_knightcharacter", "space_astronaut_finnthefrog",
    "platformer_crab", "cyber_enemy_flying_gun",
)  # fmt: skip


def ours(path: Path) -> tuple[list[np.ndarray], dict[str, object]]:
    """RGBA frames, and the job for Blender to draw the same."""
    import torch

    from orster_cli.config.prepare import PrepareConfig
    from orster_cli.dataset.views import clip_seconds, normalize_object
    from orster_cli.geometry.orbit import orbit_cameras
    from orster_cli.gltf.load import load_gltf
    from orster_cli.mesh_render.render import render_mesh

    scene = load_gltf(path)
    clip = len(scene.clips) // 2
    placed = normalize_object(scene, clip, PrepareConfig(elevation=10.0))
    frames, shots = [], []
    for t, azimuth in MOMENTS:
        cameras = orbit_cameras(torch.tensor([azimuth]), elevation=10.0, width=SIZE, height=SIZE)
        render = render_mesh(placed.mesh(t), cameras)
        rgba = torch.cat([render.rgb[0], render.alpha[0]]).permute(1, 2, 0).numpy()
        frames.append(np.round(rgba * 255).astype(np.uint8))
        shots.append(
            {
                "seconds": clip_seconds(scene, clip, t),
                "K": cameras.K[0].tolist(),
                "w2c": cameras.w2c[0].tolist(),
            }
        )
    job = {
        "path": str(path.resolve()),
        "clip": clip,
        "name": scene.clips[clip].name,
        "scale": placed.normalization.scale,
        "offset": placed.normalization.offset.tolist(),
        "shots": shots,
    }
    return frames, job


def draw_in_blender(jobs_file: Path, samples: int) -> None:
    """Runs in the other interpreter: draws every job to a .npy file."""
    from orster_cli.mesh_render.blender import Shot, render_shots

    for k, job in enumerate(json.loads(jobs_file.read_text())):
        shots = [
            Shot(seconds=s["seconds"], K=np.array(s["K"]), w2c=np.array(s["w2c"]))
            for s in job["shots"]
        ]
        frames = render_shots(
            Path(job["path"]), job["clip"], shots, scale=job["scale"],
            offset=np.array(job["offset"]), width=SIZE, height=SIZE, samples=samples,
        )  # fmt: skip
        np.save(jobs_file.parent / f"{k}.npy", np.stack(list(frames)))


def compare(a: np.ndarray, b: np.ndarray) -> tuple[float, float, float]:
    """Silhouette IoU (alpha over one half), mean absolute alpha difference, and mean absolute sRGB
    difference where both are opaque, of two [H,W,4] uint8 images."""
    x, y = a[..., 3] > 127, b[..., 3] > 127
    iou = (x & y).sum() / max((x | y).sum(), 1)
    alpha = np.abs(a[..., 3] / 255 - b[..., 3] / 255).mean()
    both = (a[..., 3] == 255) & (b[..., 3] == 255)
    color = np.abs(a[..., :3][both] / 255 - b[..., :3][both] / 255).mean() if both.any() else 0.0
    return float(iou), float(alpha), float(color)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--blender-python", default=sys.executable)
    parser.add_argument("--objects", nargs="*", default=DEFAULT)
    parser.add_argument("--samples", type=int, default=32)
    parser.add_argument("--sheet", type=Path, help="write both renderers side by side")
    parser.add_argument("--draw", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.draw:
        draw_in_blender(args.draw, args.samples)
        return
    drawn = [ours(args.folder / f"{name}.glb") for name in args.objects]
    rows, strips = [], []
    with tempfile.TemporaryDirectory() as folder:
        jobs = Path(folder) / "jobs.json"
        jobs.write_text(json.dumps([job for _, job in drawn]))
        command = [args.blender_python, __file__, str(args.folder), "--draw", str(jobs)]
        command += ["--samples", str(args.samples)]
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
        for k, (frames, job) in enumerate(drawn):
            theirs = np.load(Path(folder) / f"{k}.npy")
            for frame, other, (t, _) in zip(frames, theirs, MOMENTS, strict=True):
                rows.append((args.objects[k], job["name"], t, *compare(frame, other)))
            strips.append(np.concatenate([*frames, *theirs], axis=1))
    print("| object | clip | t | silhouette IoU | alpha diff | colour diff |")
    print("|---|---|---|---|---|---|")
    for name, clip, t, iou, alpha, color in rows:
        print(f"| {name} | {clip} | {t} | {iou:.4f} | {alpha:.5f} | {color:.4f} |")
    mean = np.mean([row[3:] for row in rows], axis=0)
    worst = min(row[3] for row in rows)
    print(
        f"| **mean** (worst IoU {worst:.4f}) | | | {mean[0]:.4f} | {mean[1]:.5f} | {mean[2]:.4f} |"
    )
    if args.sheet:
        from PIL import Image

        sheet = np.concatenate(strips).astype(np.float64)
        alpha = sheet[..., 3:] / 255
        white = sheet[..., :3] * alpha + 255 * (1 - alpha)
        Image.fromarray(np.round(white).astype(np.uint8)).save(args.sheet)


if __name__ == "__main__":
    main()
