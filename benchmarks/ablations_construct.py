"""The rows of Tables 2 and 3 that concern `construct`, on clips that the shipped model samples.

python -m benchmarks.ablations_construct --glb GLB --project PROJECT [--seeds 3] [--out PAGE]

Each of eight training clips is sampled by its caption. An asset is fitted to it with and without each
of the priors and the splatting stage. Assets are compared with the sample at its own frames, and with
the true object at four azimuths, each of which the sample shows at one time only.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.ablations import cell
from benchmarks.project import Project
from benchmarks.timing import table, write_results
from orster_cli.core.strict_json import read_object
from orster_cli.inputs.models import SHIPPED
from tools.weights import TEMPLATES, rows_of

CLIPS = (  # file, clip
    ("critter_frog.glb", "3"), ("animal_horse.glb", "4"), ("cutefish_clownfish.glb", "3"),
    ("critter_wasp.glb", "2"), ("dino_trex.glb", "4"), ("animal_fox.glb", "3"), ("mech_leela.glb", "15"),
    ("cutefish_shark.glb", "3"),
)  # fmt: skip
PAPER = ("CLIP-F up", "CLIP-O up", "PSNR up", "LPIPS down", "FVD down")
# name, label, the paper's, settings
ROWS: tuple[tuple[str, str, tuple[float, ...], Mapping[str, Any]], ...] = (
    ("complete", "complete", (0.93, 0.82, 17.3, 0.17, 477.7), {}),
    (
        "spatial",
        "w/o spatial features",
        (0.86, 0.76, 16.6, 0.24, 522.4),
        {"spatial_prior": "false"},
    ),
    (
        "temporal",
        "w/o temporal features",
        (0.89, 0.81, 16.9, 0.21, 578.5),
        {"temporal_prior": "false"},
    ),
    ("fine", "w/o 4D construction", (0.68, 0.60, 15.3, 0.37, 587.4), {"fine_steps": 0}),
)
OURS = {
    "input": "PSNR to its frames up",
    "psnr": "PSNR, true object up",
    "st-lpips": "ST-LPIPS down",
}
DIGITS = {"input": 2, "psnr": 2, "st-lpips": 3}


class Constructs(Project):
    """Samples, assets and reports."""

    def lay_out(self) -> None:
        """Makes the clips, a sample of each, and links to the true objects by the clips' keys."""
        listed = {(row["file"], row["clip"]): row for row in rows_of(TEMPLATES / "weights-cpu.csv")}
        self.dataset("data-construct", [listed[one] for one in CLIPS], objects="objects-construct")
        self.python(
            "-m", "benchmarks.sample_set", "--model", str(SHIPPED), "--dataset",
            str(self.root / "data-construct"), "--out", str(self.root / "construct/samples"),
            out="construct/samples",
        )  # fmt: skip

    def fit(self, name: str, changes: Mapping[str, Any], seed: int, key: str, preset: str) -> None:
        words = [w for k, v in changes.items() for w in ("--set", f"construct.{k}={v}")]
        clip = self.root / "construct/samples" / key
        out = f"construct/{name}-{seed}/{key}"
        self.orster(
            "construct", str(clip), "--preset", preset, "--seed", str(seed), *words, out=out
        )

    def report(self, name: str, seed: int) -> None:
        """A report against the true objects from the side, at the size of the clips."""
        self.orster(
            "evaluate", str(self.root / f"construct/{name}-{seed}"), "--reference",
            str(self.root / "objects-construct"), "--protocol", "consistent4d", "--metrics",
            "psnr,st-lpips", "--set", "evaluate.resolution=64", "--set", "evaluate.frames=8",
            "--set", "evaluate.fov=39.6", "--set", "evaluate.spare=false",
            out=f"construct/report-{name}-{seed}",
        )  # fmt: skip

    def measured(self, name: str, seeds: Sequence[int]) -> dict[str, np.ndarray]:
        """[S,O] for each metric."""
        found: dict[str, list[list[float]]] = {figure: [] for figure in OURS}
        for seed in seeds:
            report = read_object(self.root / f"construct/report-{name}-{seed}" / "report.json")
            means = {one["name"]: one["mean"] for one in report["subjects"]}
            for figure in ("psnr", "st-lpips"):
                found[figure].append([means[key][figure] for key in keys()])
            assets = self.root / f"construct/{name}-{seed}"
            made = [read_object(assets / key / "manifest.json")["content"] for key in keys()]
            found["input"].append([content["psnr"] for content in made])
        return {figure: np.array(values) for figure, values in found.items()}


def keys() -> list[str]:
    """The keys of the clips in the dataset."""
    return [f"{Path(file).stem}-{int(clip):02d}" for file, clip in CLIPS]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--glb", type=Path, required=True)
    parser.add_argument("--project", type=Path, required=True)
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    project = Constructs(given.project, given.glb, TEMPLATES / "ablations.toml")
    project.lay_out()
    seeds = range(given.seeds)
    with ThreadPoolExecutor(given.jobs) as pool:
        jobs = [
            pool.submit(project.fit, name, changes, seed, key, given.preset)
            for seed, (name, _, _, changes), key in product(seeds, ROWS, keys())
        ]
        for job in jobs:
            job.result()
        list(pool.map(lambda one: project.report(one[1][0], one[0]), product(seeds, ROWS)))
    figures = {name: project.measured(name, seeds) for name, *_ in ROWS}
    whole = figures["complete"]
    lines = [
        [label, *paper, *(cell(figures[name][f], whole[f], DIGITS[f]) for f in OURS)]
        for name, label, paper, _ in ROWS
    ]
    about = (
        "Left the paper's, right ours: mean over clips and seeds, in brackets the 95 % interval of the "
        "difference to the complete one (clips and seeds drawn again), bold where it leaves out 0."
    )
    head = ["", *(f"paper: {name}" for name in PAPER), *OURS.values()]
    if given.out is not None:
        write_results(given.out, "Ablations of construct", [about, table(head, lines)])


if __name__ == "__main__":
    main()
