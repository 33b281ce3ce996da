"""Samples of the shipped model for ten prompts: pairs of object and action from its training set, held-out
pairs, and unseen objects.

python -m benchmarks.mini --glb GLB [--model MODEL] [--sheet docs/pictures/mini.png] [--steps 20 ...]

One row per prompt: PSNR to the true clip, if there is one; PSNR to the nearest training clip; and the
motion magnitude of the sample and of the true clip. The magnitude is the mean squared difference to the
static object; a sample's static object is a second sample at motion 0."""

from __future__ import annotations

import argparse
import csv
import time
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from benchmarks.sampled import as_shown, nearness, sampler_of
from orster_cli.config.load import resolve
from orster_cli.config.prepare import PrepareConfig
from orster_cli.core.types import OrbitClip
from orster_cli.dataset.curation import motion_magnitude
from orster_cli.dataset.views import render_views
from orster_cli.diffusion.bundle import Facts
from orster_cli.gltf.load import load_gltf
from orster_cli.inputs.models import SHIPPED, sampling_of
from orster_cli.io.images import contact_sheet, write_png
from orster_cli.sampling.sample_clips import Sampler, SampleRequest

REPOSITORY = Path(__file__).resolve().parents[1]
PROMPTS = (
    "a frog jumping",
    "a brown horse galloping",
    "a clownfish swimming",
    "a white robot walking",
    "a wasp flying",
    "a cow jumping",  # held out from here
    "a blue tang flopping",
    "a green robot running",
    "a fox eating",
    "a red car driving",  # never seen
)
RENDERED_FRAMES = 16  # as in templates/weights-cpu.toml


class Truth:
    """Every clip of the captions file, rendered once: `shown` frames [T,3,H,W] by key, which clips are
    in the training set, and the motion of each."""

    def __init__(self, glb: Path, captions: Path, facts: Facts) -> None:
        self.shown: dict[str, Tensor] = {}
        self.motion: dict[str, float] = {}
        self.trained: set[str] = set()
        self.by_caption: dict[str, str] = {}
        cfg = PrepareConfig(frames=RENDERED_FRAMES, resolution=facts.resolution)
        with captions.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                key = f"{Path(row['file']).stem}-{int(row['clip']):02d}"
                views = render_views(load_gltf(glb / row["file"]), int(row["clip"]), cfg, key=key)
                self.shown[key] = as_shown(views["dynamic"], facts, key)
                self.motion[key] = motion_magnitude(views["dynamic"], views["static"])
                if row["use"] == "1":
                    self.trained.add(key)
                for text in (row["caption"], *row["also"].split("|")):
                    self.by_caption.setdefault(text, key)

    def kind(self, key: str | None) -> str:
        if key is None:
            return "never seen"
        return "known" if key in self.trained else "held out"


def sampled(sampler: Sampler, prompt: str, seed: int) -> tuple[OrbitClip, float, float]:
    """The clip, its motion, and the seconds that it took."""
    began = time.perf_counter()
    clip = next(sampler.sample(SampleRequest(text=prompt), [seed])).clip
    seconds = time.perf_counter() - began
    still = Sampler(
        sampler.bundle,
        replace(sampler.cfg, motion=0.0),
        device=sampler.device,
        reporter=sampler.reporter,
    )
    rest = next(still.sample(SampleRequest(text=prompt), [seed])).clip
    return clip, motion_magnitude(clip, rest), seconds


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--glb", type=Path, default=REPOSITORY / "../shared/data/glb")
    parser.add_argument("--captions", type=Path, default=REPOSITORY / "templates/weights-cpu.csv")
    parser.add_argument("--model", type=Path, default=SHIPPED)
    parser.add_argument("--sheet", type=Path)
    parser.add_argument("--set", action="append", default=[], help="sample.steps=50 ...")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    cfg = resolve(model=sampling_of(given.model), assignments=given.set).config.sample
    sampler = sampler_of(given.model, cfg)
    truth = Truth(given.glb, given.captions, sampler.bundle.facts)
    known = {key: truth.shown[key] for key in truth.trained}
    rows, titles = [], []
    print("| prompt | | to the true clip | nearest trained | | motion | true | s |")
    print("|---|---|---|---|---|---|---|---|")
    for prompt in PROMPTS:
        key = truth.by_caption.get(prompt)
        clip, motion, seconds = sampled(sampler, prompt, given.seed)
        among = known if key is None else {**known, key: truth.shown[key]}
        own, nearest, which = nearness(clip.frames, key, among)
        own_psnr = "-" if own is None else f"{own:.1f}"
        true_motion = "-" if key is None else f"{truth.motion[key]:.4f}"
        print(
            f"| {prompt} | {truth.kind(key)} | {own_psnr} | {nearest:.1f} | {which} "
            f"| {motion:.4f} | {true_motion} | {seconds:.1f} |"
        )
        rows.append(list(clip.frames))
        titles.append(f"{prompt} ({truth.kind(key)})")
    if given.sheet is not None:
        write_png(given.sheet, contact_sheet(rows, titles, cell=sampler.bundle.facts.resolution))


if __name__ == "__main__":
    main()
