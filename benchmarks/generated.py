"""Quality of assets of clips of the shipped model: at their own frames, between the frames, and from other
views.

python -m benchmarks.generated --glb GLB --project PROJECT [--jobs 2] [--out PAGE] [--picture WEBP]

Runs `orster generate` for twelve known objects in two ways: of the text alone, and of the text and the
object's file, of which it sees the start of the first animation. The assets are held against the true
object, placed as they are and animated as in its file, from the cameras of the clip: at its moments (the
clip's own frames as well), half way between them, and from 120 degrees further round. The last columns are
assets of the true animation, rendered from the same cameras: what `construct` alone costs. The picture
shows a line of assets of texts, and below it those of the same objects that were given.
"""

from __future__ import annotations

import argparse
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.cameras import turned
from benchmarks.fitting import fit
from benchmarks.project import Project
from benchmarks.timing import table, write_results
from orster_cli.config.load import resolve
from orster_cli.config.prepare import PrepareConfig
from orster_cli.construction.asset import load_asset
from orster_cli.core.reporting import Silent
from orster_cli.core.types import Cameras
from orster_cli.dataset.views import NormalizedClip, normalize_pose, render_view
from orster_cli.gltf.load import load_gltf
from orster_cli.inputs.models import SHIPPED_OBJECT, sampling_of
from orster_cli.io.animations import write_animation
from orster_cli.io.clip_files import read_clip, read_further
from orster_cli.io.video import read_video
from orster_cli.metrics.psnr import psnr
from orster_cli.splatting.render_asset import render_clip
from tools.weights import TEMPLATES

PROMPTS = {  # -> file, clip
    "a frog jumping": ("critter_frog.glb", "3"),
    "a brown horse galloping": ("animal_horse.glb", "4"),
    "a brown cow walking": ("animal_cow.glb", "11"),
    "an orange fox jumping and landing": ("animal_fox.glb", "10"),
    "a tyrannosaurus rex running": ("dino_trex.glb", "4"),
    "a velociraptor walking": ("dino_velociraptor.glb", "5"),
    "a clownfish swimming": ("cutefish_clownfish.glb", "3"),
    "a blue tang fish swimming fast": ("cutefish_bluetang.glb", "3"),
    "a gray shark swimming": ("cutefish_shark.glb", "3"),
    "a wasp flying": ("critter_wasp.glb", "2"),
    "a white and black bipedal mech walking": ("mech_leela.glb", "15"),
    "a green battle mech with gun barrels jumping": ("mech_george.glb", "6"),
}
KINDS = {"text": "by text", "given": "given", "true": "true animation"}
MEASURES = ("the clip", "its moments", "between", "elsewhere")
ELSEWHERE = 120.0  # degrees further round
FPS, CELL, ACROSS = 12, 128, 6  # of the picture: frames a second, pixels, assets in a line


class Generated(Project):
    """Clips and assets of each prompt."""

    def asset(self, kind: str, prompt: str) -> Path:
        return self.root / kind / key(prompt) / "asset"

    def clip(self, kind: str, prompt: str) -> Path:
        return self.root / kind / key(prompt) / "clip"

    def made(self, prompt: str) -> None:
        """By text, and of the object's file."""
        name, file = key(prompt), str(self.glb / PROMPTS[prompt][0])
        self.orster("generate", "--text", prompt, out=f"text/{name}")
        self.orster("generate", "--object", file, "--text", prompt, out=f"given/{name}")

    def rendered(self, prompt: str) -> None:
        """An asset of the true animation, from the cameras of the clip of the given object."""
        folder = self.asset("true", prompt)
        if (folder / "quality.json").is_file():
            return
        torch.set_num_threads(1)
        made = read_clip(self.clip("given", prompt))
        placed = true_object(self.glb, prompt, "given")
        further = read_further(self.clip("given", prompt))
        clips = [
            render_view(placed, one.cameras, one.times, PrepareConfig(), None)
            for one in (made, *further)
        ]
        still = torch.zeros(len(made))
        begins = render_view(placed, made.cameras, still, PrepareConfig(), None)
        folder.mkdir(parents=True, exist_ok=True)
        cfg = resolve(model=sampling_of(SHIPPED_OBJECT)).config.construct
        fit(clips, begins, cfg, folder)

    def measured(self, kind: str, prompt: str) -> list[float]:
        """`MEASURES` of an asset; of the rendered clip the first is nan."""
        own = read_clip(self.clip("text" if kind == "text" else "given", prompt))
        asset, placed = (
            load_asset(self.asset(kind, prompt)),
            true_object(self.glb, prompt, kind),
        )
        half = (own.times[1:] + own.times[:-1]) / 2
        seen = [
            (own.cameras, own.times),
            (own.cameras[: len(half)], half),
            (turned(own.cameras, ELSEWHERE), own.times),
        ]
        truths = [truth(placed, *one) for one in seen]
        found = [math.nan if kind == "true" else near(own.over(), truths[0])]
        for (cameras, times), true in zip(seen, truths, strict=True):
            found.append(near(render_clip(asset, cameras, times).frames, true))
        return found


def key(prompt: str) -> str:
    """The name of the true animation."""
    file, clip = PROMPTS[prompt]
    return f"{Path(file).stem}-{int(clip):02d}"


def true_object(glb: Path, prompt: str, kind: str) -> NormalizedClip:
    """The animated object, placed as an asset of this kind is: by its bind pose, or as its file begins."""
    file, clip = PROMPTS[prompt]
    scene, cfg = load_gltf(glb / file), PrepareConfig()
    pose = normalize_pose(scene, None if kind == "text" else 0, cfg)
    return NormalizedClip(scene, int(clip), pose.normalization)


def truth(placed: NormalizedClip, cameras: Cameras, times: Tensor) -> Tensor:
    return render_view(placed, cameras, times, PrepareConfig(), None).over(torch.ones(3))


def near(made: Tensor, true: Tensor) -> float:
    return float(psnr(made, true).mean())


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
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--picture", type=Path)
    given = parser.parse_args()
    project = Generated(given.project, given.glb, TEMPLATES / "construct-fast.toml")
    with ThreadPoolExecutor(given.jobs) as pool:
        for job in [pool.submit(project.made, prompt) for prompt in PROMPTS]:
            job.result()
    for prompt in PROMPTS:
        project.rendered(prompt)
    found = {kind: [project.measured(kind, prompt) for prompt in PROMPTS] for kind in KINDS}
    lines = [
        [prompt, *(cell for kind in KINDS for cell in _cells(found[kind][i]))]
        for i, prompt in enumerate(PROMPTS)
    ]
    means = [np.mean(found[kind], axis=0).tolist() for kind in KINDS]
    lines.append(["**mean**", *(cell for mean in means for cell in _cells(mean))])
    about = (
        "`orster generate` of the shipped model: by a text alone, and of a known object's file; and "
        "`construct` of the true animation from the same cameras. PSNR in dB on white to the true "
        "object: of the clip, and of the asset at the clip's moments, half way between them, and from "
        f"{ELSEWHERE:g} degrees further round."
    )
    head = ["", *(f"{says}: {name}" for says in KINDS.values() for name in MEASURES)]
    if given.picture is not None:
        shown = ("text", "given")
        picture(given.picture, [[project.asset(kind, p) for p in PROMPTS] for kind in shown])
    if given.out is not None:
        write_results(given.out, "Assets of sampled clips", [about, table(head, lines)])


def _cells(values: list[float]) -> list[str]:
    return ["" if math.isnan(value) else f"{value:.1f}" for value in values]


if __name__ == "__main__":
    main()
