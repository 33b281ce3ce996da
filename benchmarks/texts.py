"""Texts of pairs of object and action that the shipped model was trained on, and that were held out.

python -m benchmarks.texts --glb GLB... --list templates/weights-mini2.csv --work FOLDER [--clips 60]
    [--seeds 3] [--jobs 2] [--out PAGE] [--assets PROJECT --picture WEBP]

Each pair is asked for by its fullest caption alone: the model makes the object, then moves it. Its clip is
held against the true animation as the clip's own cameras see it, the true object placed as the model's is,
by its bind pose; beside it the course of the action that sampling begins from, the object that the model
made, and the object's own true pictures where the animation begins. The nearest training clip, the one
whose caption is nearest to the text in the model's encoder (never the pair itself), is held against the
true animation as the datasets show both.

PSNR of frames 1 to T-1 on white, by their MSE. FOLDER keeps the figures: a stopped run goes on. The picture
shows assets of `orster generate` with texts of a user's, turning while they move; PROJECT keeps these.
"""

from __future__ import annotations

import argparse
import json
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.animated import decibels, write_sheet
from benchmarks.generated import picture
from benchmarks.intervals import grouped, signed
from benchmarks.project import Project
from benchmarks.sampled import sampler_of
from benchmarks.timing import table, write_results
from benchmarks.unseen import chosen
from orster_cli.config.load import resolve
from orster_cli.config.prepare import PrepareConfig
from orster_cli.core.compositing import WHITE
from orster_cli.core.frames import at_resolution, evenly_spaced
from orster_cli.core.reporting import Silent
from orster_cli.core.seeding import derive_seed
from orster_cli.core.types import Cameras
from orster_cli.dataset.views import NormalizedClip, normalize_object, normalize_pose, render_view
from orster_cli.geometry.orbit import clip_times
from orster_cli.gltf.load import load_gltf
from orster_cli.inputs.models import MINI_OBJECT, SHIPPED_OBJECT, open_model, sampling_of
from orster_cli.inputs.sampling_plan import plan_sampling
from orster_cli.inputs.sampling_request import Requests
from orster_cli.sampling.sample_clips import Sampler, cameras_for
from tools.clip_lists import Row, captions_of, file_of, rows_of
from tools.weights import TEMPLATES

SPLITS = {"pair": "held-out pairs", "train": "training pairs"}
ROWS = {
    "text": "asked for by text",
    "course": "the course that it begins from",
    "made": "the object that it made, which stands still",
    "nearest": "the nearest training clip",
    "rest": "the true object where it begins",
}
ASKED = (
    "a zombie dancing",
    "a knight walking",
    "a shark swimming fast",
    "a police officer running",
    "a pigeon flying",
    "a cowboy falling over",
    "a yeti jumping",
    "a clownfish swimming",
    "a wizard waving hello",
    "a mech walking",
    "a goblin attacking",
    "a rabbit running",
)
SHOWN, SHEET = 8, 6  # frames of a line of the sheet, and pairs of each split


def name_of(row: Row) -> str:
    """Of a pair's folder."""
    return f"{Path(row['file']).stem}-{int(row['clip']):02d}"


def rendered(glb: list[Path], row: Row, sampler: Sampler) -> Tensor:
    """[T,3,H,W] of the animation as a dataset has it."""
    cfg, cameras = PrepareConfig(), cameras_for(sampler.bundle.facts, sampler.cfg)
    placed = normalize_object(load_gltf(file_of(glb, row["file"])), int(row["clip"]), cfg)
    times = clip_times(len(cameras)).float()
    return render_view(placed, cameras, times, cfg, None).over(torch.full((3,), WHITE))


def seen(glb: list[Path], row: Row, cameras: Cameras) -> tuple[Tensor, Tensor]:
    """[T,3,H,W] of the animation of an object that is placed by its bind pose, and of it at its start."""
    cfg, scene = PrepareConfig(), load_gltf(file_of(glb, row["file"]))
    bind = normalize_pose(scene, None, cfg).normalization
    placed, times = NormalizedClip(scene, int(row["clip"]), bind), clip_times(len(cameras)).float()
    white = torch.full((3,), WHITE)
    moving, still = (render_view(placed, cameras, t, cfg, None) for t in (times, 0 * times))
    return moving.over(white), still.over(white)


@cache
def captions(sampler: Sampler, path: Path) -> tuple[list[Row], Tensor]:
    """The training clips, and the encoder's unit vectors of their fullest captions."""
    rows = [row for row in rows_of(path) if row["split"] == "train"]
    with torch.no_grad():
        pooled = sampler.bundle.encoder.text([captions_of(row)[0] for row in rows]).pooled
    return rows, F.normalize(pooled, dim=-1)


def nearest(sampler: Sampler, path: Path, row: Row) -> Row:
    """The training clip with the nearest caption, which is not that of `row`."""
    rows, vectors = captions(sampler, path)
    with torch.no_grad():
        own = sampler.bundle.encoder.text([captions_of(row)[0]]).pooled[0]
    for number in (vectors @ own).argsort(descending=True).tolist():
        other = rows[number]
        if (other["file"], other["what"]) != (row["file"], row["what"]):
            return other
    raise ValueError(f"{path}: one clip")


@cache
def the_sampler() -> Sampler:
    """That of the shipped model, once a process."""
    torch.set_num_threads(1)
    settings = resolve(model=sampling_of(SHIPPED_OBJECT)).config
    return sampler_of(SHIPPED_OBJECT, settings.sample)


def measure(glb: list[Path], path: Path, row: Row, seeds: int, folder: Path) -> None:
    """Write the figures and frames of one pair into `folder`."""
    sampler = the_sampler()
    text = captions_of(row)[0]
    plan = plan_sampling(open_model(SHIPPED_OBJECT), text=text, reporter=Silent())
    request = Requests(plan, sampler).condition()
    assert request.object_orbit is not None
    true, still = seen(glb, row, request.object_orbit.cameras)
    made = request.object_orbit.over()
    near, shown_so = (rendered(glb, one, sampler) for one in (nearest(sampler, path, row), row))
    drawn = [derive_seed(seed, name_of(row)) for seed in range(seeds)]
    side = true.shape[-1]
    clips = [at_resolution(one.clip, side) for one in sampler.sample(request, drawn)]
    course = made if request.course is None else at_resolution(request.course, side)
    found = {
        "text": [decibels(clip, true) for clip in clips],
        "course": [decibels(course, true)] * seeds,
        "made": [decibels(made, true)] * seeds,
        "nearest": [decibels(near, shown_so)] * seeds,
        "rest": [decibels(still, true)] * seeds,
    }
    folder.mkdir(parents=True, exist_ok=True)
    shown = {"truth": true, "made": clips[0]}
    torch.save({name: x.clamp(0, 1).mul(255).byte() for name, x in shown.items()}, folder / "f.pt")
    (folder / "figures.json").write_text(json.dumps(found), encoding="utf-8")


def page(rows: dict[str, list[Row]], work: Path, out: Path) -> None:
    """Write the page `out` and its sheet."""
    sections, sheet = [], []
    for split, some in rows.items():
        folders = [work / split / name_of(row) for row in some]
        found = [json.loads((folder / "figures.json").read_text()) for folder in folders]
        objects = [row["file"] for row in some]

        def column(name: str, found: list[dict[str, list[float]]] = found) -> np.ndarray:
            return np.array([one[name] for one in found]).T

        base = column("nearest")
        lines = [
            [
                says,
                f"{column(name).mean():.2f}",
                "" if name == "nearest" else signed(grouped(column(name) - base, objects)),
            ]
            for name, says in ROWS.items()
        ]
        count = f"{len(some)} pairs of {len(set(objects))} objects, {base.shape[0]} seeds"
        sections += [
            f"## {SPLITS[split].capitalize()}",
            table([count, "PSNR, dB", "minus the nearest clip"], lines),
        ]
        by_name = dict(zip((name_of(row) for row in some), some, strict=True))
        for name in chosen(list(by_name), SHEET):
            for kind, frames in torch.load(work / split / name / "f.pt").items():
                pick = evenly_spaced(len(frames), SHOWN, where=name)
                says = captions_of(by_name[name])[0] if kind == "made" else "truth"
                sheet.append((f"{split}: {says}", list(frames[pick].float() / 255)))
    about = (
        f"`{MINI_OBJECT}` is given a text and nothing else. Means over clips; in brackets the 95 % "
        "bootstrap interval over seeds and objects. The true object where it begins is in the pose of the "
        "true clip, which nobody told the model."
    )
    shown = f"![truth, and what the text gives]({write_sheet(out, sheet)})"
    write_results(out, "Asked for by text", [about, *sections, shown])


def assets(project: Path, glb: Path, jobs: int, out: Path) -> None:
    """Write the picture `out` of assets of `ASKED`."""
    made = Project(project, glb, TEMPLATES / "construct-fast.toml")
    folders = {text: text.replace(" ", "-") for text in ASKED}
    with ThreadPoolExecutor(jobs) as pool:
        runs = [
            pool.submit(made.orster, "generate", text, out=name) for text, name in folders.items()
        ]
        for run in runs:
            run.result()
    picture(out, [[project / name / "asset" for name in folders.values()]])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--glb", type=Path, nargs="+", required=True)
    parser.add_argument("--list", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--clips", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--assets", type=Path)
    parser.add_argument("--picture", type=Path)
    given = parser.parse_args()
    listed = rows_of(given.list)
    rows = {}
    for split in SPLITS:
        some = {name_of(row): row for row in listed if row["split"] == split}
        rows[split] = [some[name] for name in chosen(list(some), given.clips)]
    left = [
        (row, folder)
        for split, some in rows.items()
        for row in some
        if not ((folder := given.work / split / name_of(row)) / "figures.json").is_file()
    ]
    with ProcessPoolExecutor(given.jobs, mp_context=get_context("spawn")) as pool:
        jobs = [
            pool.submit(measure, given.glb, given.list, row, given.seeds, folder)
            for row, folder in left
        ]
        for number, job in enumerate(jobs, start=1):
            job.result()
            print(f"{number} of {len(jobs)}", file=sys.stderr, flush=True)
    if given.out is not None:
        page(rows, given.work, given.out)
    if given.assets is not None and given.picture is not None:
        assets(given.assets, given.glb[0], given.jobs, given.picture)


if __name__ == "__main__":
    main()
