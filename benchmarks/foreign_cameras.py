"""Does an asset get worse by cameras of another scale and centre?

    python -m benchmarks.foreign_cameras --glb ../shared/data/glb [--object animal_fox] [--clip 11]

One orbit of 24 frames is written as transforms.json four times: with our cameras, and with cameras of other
worlds. `orster construct` (preset fast, no static orbit) makes an asset of each. PSNR in dB on white, at
the input frames and against the true object between them and 120 degrees further round. The similarity that
the manifest keeps brings the true cameras to the asset.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import torch

import orster_cli as orster
from benchmarks.construct_cpu import FRAMES, HELD_OUT, SOME, mean_psnr, orbit
from benchmarks.timing import table, write_results
from orster_cli.config.prepare import PrepareConfig
from orster_cli.construction.asset import load_asset
from orster_cli.core.strict_json import read_object
from orster_cli.core.types import OrbitClip
from orster_cli.dataset.views import normalize_object
from orster_cli.geometry.similarity import Similarity
from orster_cli.gltf.load import load_gltf
from orster_cli.io.images import write_png
from orster_cli.io.transforms_json import TRANSFORMS, write_transforms

SIDE = 128
WORLDS = {  # ours = scale (theirs - center)
    "ours": Similarity(),
    "4 times as large": Similarity(scale=1 / 4),
    "a fifth": Similarity(scale=5.0),
    "off the centre by 3, 1.5 times as large": Similarity(scale=1 / 1.5, center=(3.0, -1.0, 0.5)),
}


def written(folder: Path, clip: OrbitClip, world: Similarity) -> Path:
    """`clip` as transforms.json and RGBA images, its cameras in `world`."""
    assert clip.alpha is not None
    folder.mkdir()
    names = [f"{i:04d}.png" for i in range(len(clip))]
    for name, frame, alpha in zip(names, clip.frames, clip.alpha, strict=True):
        write_png(folder / name, torch.cat([frame, alpha]))
    theirs = replace(clip, cameras=world.inverse().cameras(clip.cameras))
    write_transforms(folder / TRANSFORMS, theirs, names)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--glb", type=Path, required=True)
    parser.add_argument("--object", default="animal_fox")
    parser.add_argument("--clip", type=int, default=11)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    prepare = PrepareConfig(frames=FRAMES, resolution=SIDE)
    placed = normalize_object(load_gltf(given.glb / f"{given.object}.glb"), given.clip, prepare)
    clip = orbit(placed, prepare, 0.0)
    between = orbit(placed, prepare, 0.0, later=0.5, pick=SOME)
    unseen = orbit(placed, prepare, HELD_OUT)
    rows = []
    for name, world in WORLDS.items():
        with tempfile.TemporaryDirectory() as folder:
            there = Path(folder)
            source = written(there / "clip", clip, world)
            orster.construct(source, preset="fast", model="none", out=there / "asset")
            content = read_object(there / "asset" / "manifest.json")["content"]
            asset = load_asset(there / "asset")
            found = Similarity.of(content.get("similarity"), where=name)

            def seen(
                truth: OrbitClip, world: Similarity = world, own: Similarity = found
            ) -> OrbitClip:
                theirs = world.inverse().cameras(truth.cameras)
                return replace(truth, cameras=own.cameras(theirs))

            row = [content["psnr"], *(mean_psnr(asset, seen(one)) for one in (between, unseen))]
        rows.append([name, f"{found.scale:.3f}", *(f"{value:.2f}" for value in row)])
        print(*rows[-1], flush=True)
    page = table(["cameras", "scale found", "input", "between frames", "+120 degrees"], rows)
    print(page)
    if given.out:
        write_results(given.out, f"Cameras of other worlds ({given.object})", [page])


if __name__ == "__main__":
    main()
