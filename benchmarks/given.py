"""Assets of objects that are given: do they keep the object's looks, hold together and move?

python -m benchmarks.given --glb GLB GLB2 --project PROJECT [--jobs 2] [--out PAGE] [--picture WEBP]

Runs `orster generate --object` for twelve objects that the shipped model was never trained on. The baseline
in the same run is an asset of the same clip without what says how the object looks: all frames shape the
Gaussians (`construct.canonical=all`) and count alike (`construct.blurred=1`).

`at rest`: PSNR to the object's own pictures of its static orbit; `torn %`: as in
`benchmarks.construct_cpu`; `moves`: mean distance of the Gaussians from rest, in thousandths of the object.
The picture shows the assets, turning while they move.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from benchmarks.generated import picture
from benchmarks.project import Project
from benchmarks.tears import torn
from benchmarks.timing import table, write_results
from orster_cli.construction.asset import load_asset
from orster_cli.core.reporting import Silent
from orster_cli.inputs.clips import open_clip
from orster_cli.inputs.video import OrbitFlags
from orster_cli.metrics.psnr import psnr
from orster_cli.splatting.gaussians4d import Gaussians4D
from orster_cli.splatting.render_asset import render_clip
from tools.clip_lists import file_of
from tools.weights import TEMPLATES

OBJECTS = {
    "animal_deer": "a brown deer walking",
    "cutefish_cowfish": "a yellow horned cowfish swimming fast",
    "dino_parasaurolophus": "a crested parasaurolophus dinosaur running",
    "sea_whale": "a purple humpback whale swimming",
    "mech_mike": "a light blue bulky mech walking",
    "space_astronaut_fernandotheflamingo": "a pink flamingo astronaut in a gray space suit walking",
    "bigmonster_frog": "a yellow and black frog monster running",
    "cubeenemy_demon": "a blocky pink demon with horns running",
    "flymonster_glub": "a dark blue flying creature with gray wings flying fast",
    "kaykit_barbarian": "a cartoon barbarian in a bear pelt hood walking",
    "modman_farmer": "a farmer in blue overalls and a straw hat running",
    "person_kimono_female": "a cartoon woman with pink hair in a white kimono walking",
}
BASELINE = ("--set", "construct.canonical=all", "--set", "construct.blurred=1")
MOMENTS = 16  # at which the distance from rest is taken
MEASURES = ("at rest, dB", "torn %", "moves")


def moves(asset: Gaussians4D) -> float:
    """Mean distance of the Gaussians from rest over time, in thousandths of the object."""
    rest = asset.canonical.means
    moved = [(asset.at(k / MOMENTS).means - rest).norm(dim=1).mean() for k in range(MOMENTS)]
    return 1000 * float(torch.stack(moved).mean())


class Given(Project):
    """Clips, and an asset of each with and without the baseline's settings."""

    def made(self, name: str, file: Path) -> None:
        self.orster("generate", "--object", str(file), "--text", OBJECTS[name], out=f"now/{name}")
        clip = str(self.root / "now" / name / "clip")
        self.orster("construct", clip, *BASELINE, out=f"before/{name}/asset")

    def asset(self, kind: str, name: str) -> Path:
        return self.root / kind / name / "asset"

    def measured(self, kind: str, name: str) -> list[float]:
        """`MEASURES` of an asset."""
        asset = load_asset(self.asset(kind, name))
        clip = str(self.root / "now" / name / "clip")
        static = open_clip(clip, OrbitFlags(), Silent()).static
        assert static is not None
        seen = render_clip(asset, static.cameras, torch.zeros(len(static))).frames
        near = float(psnr(seen, static.over(torch.ones(3))).mean())
        return [near, torn(asset), moves(asset)]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--glb", type=Path, nargs="+", required=True)
    parser.add_argument("--project", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--picture", type=Path)
    given = parser.parse_args()
    files = {name: file_of(given.glb, f"{name}.glb") for name in OBJECTS}
    project = Given(given.project, given.glb[0], TEMPLATES / "construct-fast.toml")
    with ThreadPoolExecutor(given.jobs) as pool:
        for job in [pool.submit(project.made, name, file) for name, file in files.items()]:
            job.result()
    found = {kind: [project.measured(kind, name) for name in OBJECTS] for kind in ("before", "now")}
    lines = [
        [name, *_cells(before), *_cells(now)]
        for name, before, now in zip(OBJECTS, found["before"], found["now"], strict=True)
    ]
    means = (np.mean(found[kind], axis=0).tolist() for kind in ("before", "now"))
    lines.append(["**mean**", *(cell for mean in means for cell in _cells(mean))])
    about = (
        "`orster generate --object` for objects that `mini-object` was never trained on, and the "
        "baseline's asset of the same clip: `construct.canonical=all`, `construct.blurred=1`."
    )
    head = ["", *(f"baseline: {name}" for name in MEASURES), *MEASURES]
    if given.picture is not None:
        picture(given.picture, [[project.asset("now", name) for name in OBJECTS]])
    if given.out is not None:
        write_results(given.out, "Assets of given objects", [about, table(head, lines)])


def _cells(values: list[float]) -> list[str]:
    return [f"{value:.2f}" for value in values]


if __name__ == "__main__":
    main()
