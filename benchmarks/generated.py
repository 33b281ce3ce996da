"""Quality of assets of sampled clips: at their own frames, between the frames, and from other views.

python -m benchmarks.generated --glb GLB --project PROJECT [--preset fast] [--out PAGE] [--picture WEBP]

Runs `orster generate` with one prompt for every object that the shipped model knows, and compares the
asset with the true object. The baseline in the same run is an asset of the rendered clip, with as many
frames of the same size and the static orbit. The picture shows both, turning while they move: a line
from texts, and below it the same objects from rendered clips.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.project import Project
from benchmarks.timing import table, write_results
from orster_cli.config.prepare import PrepareConfig
from orster_cli.construction.asset import load_asset
from orster_cli.core.reporting import Silent
from orster_cli.core.strict_json import read_object
from orster_cli.dataset.views import NormalizedClip, normalize_object, render_view
from orster_cli.diffusion.bundle import Facts, load_bundle
from orster_cli.geometry.orbit import clip_times, orbit_azimuths, orbit_cameras
from orster_cli.gltf.load import load_gltf
from orster_cli.inputs.models import SHIPPED
from orster_cli.io.animations import write_animation
from orster_cli.io.video import read_video
from orster_cli.metrics.psnr import psnr
from orster_cli.splatting.gaussians4d import Gaussians4D
from orster_cli.splatting.render_asset import render_clip
from tools.weights import TEMPLATES, rows_of

PROMPTS = {  # -> file, clip
    "a frog jumping": ("critter_frog.glb", "3"),
    "a brown horse galloping": ("animal_horse.glb", "4"),
    "a brown cow walking": ("animal_cow.glb", "11"),
    "an orange fox jumping and landing": ("animal_fox.glb", "10"),
    "a tyrannosaurus rex running": ("dino_trex.glb", "4"),
    "a velociraptor walking": ("dino_velociraptor.glb", "5"),
    "a clownfish swimming": ("cutefish_clownfish.glb", "3"),
    "a blue tang swimming fast": ("cutefish_bluetang.glb", "3"),
    "a gray shark swimming": ("cutefish_shark.glb", "3"),
    "a wasp flying": ("critter_wasp.glb", "2"),
    "a white robot walking": ("mech_leela.glb", "15"),
    "a green battle mech jumping": ("mech_george.glb", "6"),
}
MOMENTS, SIDE = 46, 128  # at which an asset is held against the true object, and pixels
ELSEWHERE = (120.0, 180.0)  # degrees from the clip's own camera
FPS, CELL, ACROSS = 12, 128, 6  # of the picture: frames a second, pixels, assets in a line


class Generated(Project):
    """Samples, datasets and assets."""

    def lay_out(self) -> None:
        listed = {(row["file"], row["clip"]): row for row in rows_of(TEMPLATES / "weights-cpu.csv")}
        self.dataset("dataset", [listed[one] for one in PROMPTS.values()])

    def generate(self, prompt: str, preset: str) -> None:
        self.orster(
            "generate", "--text", prompt, "--preset", preset, out=f"from-text/{key(prompt)}"
        )

    def rendered(self, prompt: str, preset: str) -> None:
        clip = f"{self.root / 'dataset'}#{key(prompt)}"
        self.orster("construct", clip, "--preset", preset, out=f"rendered/{key(prompt)}/asset")


def key(prompt: str) -> str:
    """The key of the true clip in the dataset."""
    file, clip = PROMPTS[prompt]
    return f"{Path(file).stem}-{int(clip):02d}"


def true_object(glb: Path, prompt: str, facts: Facts) -> NormalizedClip:
    """SampleSpan as the frames of its clip were."""
    file, clip = PROMPTS[prompt]
    cfg = PrepareConfig(frames=facts.frames, resolution=facts.resolution)
    return normalize_object(load_gltf(glb / file), int(clip), cfg)


def psnr_to_truth(asset: Gaussians4D, placed: NormalizedClip, frames: int, offset: float) -> float:
    """PSNR in dB over moments of the clip of `frames` frames, `offset` degrees from its camera."""
    times = clip_times(MOMENTS)
    azimuths = offset + orbit_azimuths(frames)[-1] * times
    cameras = orbit_cameras(azimuths, width=SIDE, height=SIDE)
    truth = render_view(placed, cameras, times, PrepareConfig(resolution=SIDE), None)
    return float(psnr(render_clip(asset, cameras, times).frames, truth.over()).mean())


def measured(folder: Path, placed: NormalizedClip, frames: int) -> list[float]:
    """PSNR at its own frames, between the frames, and from other views."""
    asset = load_asset(folder)
    own = float(read_object(folder / "manifest.json")["content"]["psnr"])
    elsewhere = [psnr_to_truth(asset, placed, frames, offset) for offset in ELSEWHERE]
    return [own, psnr_to_truth(asset, placed, frames, 0.0), float(np.mean(elsewhere))]


def picture(path: Path, kinds: list[list[Path]]) -> None:
    """An animated WebP of the turning half of each asset's preview: a line of one kind above the same
    objects of the other."""
    strips = []
    starts = range(0, len(kinds[0]), ACROSS)
    for row in [kind[start : start + ACROSS] for start in starts for kind in kinds]:
        shown = [read_video(folder / "preview.mp4", Silent()) for folder in row]
        strips.append(torch.cat([fitted(frames) for frames in shown], dim=-1))
    moving = torch.cat(strips, dim=-2)
    write_animation(path, moving, fps=FPS, quality=60)


def fitted(frames: Tensor) -> Tensor:
    """The turning half of a preview, CELL pixels a side."""
    side = frames.shape[-2]  # two square views side by side
    return torch.nn.functional.interpolate(frames[..., :side], size=(CELL, CELL), mode="area")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--glb", type=Path, required=True)
    parser.add_argument("--project", type=Path, required=True)
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--picture", type=Path)
    given = parser.parse_args()
    project = Generated(given.project, given.glb, TEMPLATES / "weights-cpu.toml")
    project.lay_out()
    with ThreadPoolExecutor(given.jobs) as pool:
        jobs = [
            pool.submit(make, prompt, given.preset)
            for prompt in PROMPTS
            for make in (project.generate, project.rendered)
        ]
        for job in jobs:
            job.result()
    facts = load_bundle(SHIPPED).facts
    kinds = ("from-text", "rendered")
    folders = {kind: [project.root / kind / key(p) / "asset" for p in PROMPTS] for kind in kinds}
    lines: list[list[str]] = []
    found: dict[str, list[list[float]]] = {kind: [] for kind in kinds}
    for i, prompt in enumerate(PROMPTS):
        placed = true_object(given.glb, prompt, facts)
        for kind in kinds:
            found[kind].append(measured(folders[kind][i], placed, facts.frames))
        lines.append([prompt, *_cells(found["from-text"][i]), *_cells(found["rendered"][i])])
    means = [np.mean(found[kind], axis=0).tolist() for kind in kinds]
    lines.append(["**mean**", *_cells(means[0]), *_cells(means[1])])
    about = (
        f"`orster generate --preset {given.preset}` of the shipped model, and `construct` of the "
        f"rendered clips ({facts.frames} frames of {facts.resolution} pixels). PSNR in dB on white: at "
        f"the asset's own frames; to the true object at {MOMENTS} moments along the clip's orbit, most "
        f"of them between frames; the same from {' and '.join(f'{a:g}' for a in ELSEWHERE)} degrees "
        "further round. "
        "The sample's own distance to the true clip is part of the two last."
    )
    measures = ("own frames", "between", "elsewhere")
    head = ["", *measures, *(f"rendered: {name}" for name in measures)]
    if given.picture is not None:
        picture(given.picture, [folders[kind] for kind in kinds])
    if given.out is not None:
        write_results(given.out, "Assets of sampled clips", [about, table(head, lines)])


def _cells(values: list[float]) -> list[str]:
    return [f"{value:.1f}" for value in values]


if __name__ == "__main__":
    main()
