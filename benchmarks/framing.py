"""Does it matter what the clip of a given object begins with, and where the object stands in it?

python -m benchmarks.framing --dataset DATASET --glb GLB... --work FOLDER [--clips 16] [--jobs 2]
    [--out PAGE]

Each clip of DATASET is an animation of a file of GLB, which the shipped model was never trained on. The
object at the start of the animation is given with the clip's caption, centred and at full size as
`generate --object` places it, by its default, which begins with the course of a known action where clips
of that have it, and sampled from noise alone (`sample.course=1`), where the text's words have it. The
assets are held against the true animation in the object's own world, from cameras 1.4 times as far away as
usual, so that it stays in view.

PSNR of frames 1 to T-1 on white, by their MSE; motion: mean squared difference to the object at rest, as a
share of the true one. FOLDER keeps the figures: a stopped run goes on.
"""

from __future__ import annotations

import argparse
import json
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.animated import decibels, write_sheet
from benchmarks.fitting import fit
from benchmarks.intervals import signed
from benchmarks.sampled import sampler_of
from benchmarks.timing import table, write_results
from benchmarks.unseen import chosen
from orster_cli.config.load import resolve
from orster_cli.config.prepare import PrepareConfig
from orster_cli.construction.asset import load_asset
from orster_cli.core.compositing import WHITE
from orster_cli.core.frames import evenly_spaced
from orster_cli.core.seeding import derive_seed
from orster_cli.core.types import Cameras, OrbitClip
from orster_cli.dataset.reader import Dataset
from orster_cli.dataset.views import normalize_pose, render_view
from orster_cli.geometry.orbit import RADIUS, clip_times, orbit_azimuths, orbit_cameras
from orster_cli.gltf.load import load_gltf
from orster_cli.inputs.models import MINI_OBJECT, SHIPPED_OBJECT, open_model, sampling_of
from orster_cli.inputs.sampling_plan import SamplingPlan
from orster_cli.inputs.sampling_request import Requests
from orster_cli.sampling.sample_clips import cameras_for
from orster_cli.sampling.shown import Shown
from orster_cli.splatting.render_asset import render_clip
from tools.clip_lists import file_of

KINDS = ("noise", "known")
FAR, SIDE = 1.4, 128
SHOWN, SHEET = 8, 8  # frames of a line of the sheet, and clips


def measure(dataset: Path, glb: list[Path], key: str, folder: Path) -> None:
    """Write the figures and frames of both assets of `key` into `folder`."""
    torch.set_num_threads(1)
    info, cfg = Dataset.open(dataset).info(key), PrepareConfig()
    scene = load_gltf(file_of(glb, info["source"]))
    posed = normalize_pose(scene, info["clip"], cfg)

    def render(cameras: Cameras) -> OrbitClip:
        return render_view(posed, cameras, torch.zeros(len(cameras)), cfg, None)

    given = Shown(render, partial(posed.mesh, 0.0))
    frames, white = 16, torch.full((3,), WHITE)
    away = orbit_cameras(orbit_azimuths(frames), radius=FAR * RADIUS, width=SIDE, height=SIDE)
    times = clip_times(frames).float()
    true, still = (render_view(posed, away, t, cfg, None).over(white) for t in (times, 0 * times))
    settings = resolve(model=sampling_of(SHIPPED_OBJECT)).config
    model, text = open_model(SHIPPED_OBJECT), info["caption"]
    plan = SamplingPlan(model=model, text=text, image=None, static_object=None, object_name="")
    found, shown = {}, {"truth": true}
    for kind in KINDS:
        own = replace(settings.sample, course=1.0) if kind == "noise" else settings.sample
        sampler = sampler_of(SHIPPED_OBJECT, own)
        usual = cameras_for(sampler.bundle.facts, sampler.cfg)
        request = Requests(plan, sampler).of_shown(given, usual)
        made = next(sampler.sample(request, [derive_seed(0, key)]))
        (folder / kind).mkdir(parents=True, exist_ok=True)
        fit([made.clip, *made.further], made.static, settings.construct, folder / kind)
        asset = load_asset(folder / kind)
        shown[kind] = render_clip(asset, away, times).frames
        found[kind] = {
            "psnr": decibels(shown[kind], true),
            "motion": float((shown[kind] - still).square().mean()),
        }
    found["rest"] = {
        "psnr": decibels(still, true),
        "motion": float((true - still).square().mean()),
    }
    torch.save({name: x.clamp(0, 1).mul(255).byte() for name, x in shown.items()}, folder / "f.pt")
    (folder / "figures.json").write_text(json.dumps(found), encoding="utf-8")


def page(data: Dataset, keys: list[str], work: Path, out: Path) -> None:
    """Write the page `out` and its sheet."""
    found = [json.loads((work / key / "figures.json").read_text()) for key in keys]

    def column(kind: str, name: str) -> np.ndarray:
        return np.array([one[kind][name] for one in found])

    rest, true = column("rest", "psnr"), column("rest", "motion").mean()
    lines = [["the object at rest", f"{rest.mean():.2f}", "0", "0.00"]]
    for kind in KINDS:
        values, moved = column(kind, "psnr"), column(kind, "motion").mean() / true
        lines.append(
            [
                f"asset, {kind}",
                f"{values.mean():.2f}",
                signed((values - rest)[None]),
                f"{moved:.2f}",
            ]
        )
    better = signed((column("known", "psnr") - column("noise", "psnr"))[None])
    rows = [
        [key, data.info(key)["caption"], *(f"{one[kind]['psnr']:.2f}" for kind in ("rest", *KINDS))]
        for key, one in zip(keys, found, strict=True)
    ]
    sheet: list[tuple[str, list[Tensor]]] = []
    for key in chosen(keys, SHEET):
        for name, frames in torch.load(work / key / "f.pt").items():
            pick = evenly_spaced(len(frames), SHOWN, where=key)
            sheet.append((f"{key}: {name}", list(frames[pick].float() / 255)))
    about = (
        f"{len(keys)} animations of objects that `{MINI_OBJECT}` was never trained on, given at their "
        "start with their captions, one sample of each. In brackets the 95 % bootstrap interval over clips."
    )
    sections = [
        about,
        table(["", "PSNR, dB", "minus at rest", "motion"], lines),
        f"Known minus noise: {better} dB.",
        table(["clip", "text", "at rest", *KINDS], rows),
        f"![truth, from noise, as is known]({write_sheet(out, sheet)})",
    ]
    write_results(out, "Given as a user gives it", sections)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--dataset", type=Path, required=True)
    parser.add_argument("--glb", type=Path, nargs="+", required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--clips", type=int, default=16)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    data = Dataset.open(given.dataset)
    keys = chosen(data.keys(), given.clips)
    left = [key for key in keys if not (given.work / key / "figures.json").is_file()]
    with ProcessPoolExecutor(given.jobs, mp_context=get_context("spawn")) as pool:
        jobs = [
            pool.submit(measure, given.dataset, given.glb, key, given.work / key) for key in left
        ]
        for number, job in enumerate(jobs, start=1):
            job.result()
            print(f"{number} of {len(jobs)}", file=sys.stderr, flush=True)
    if given.out is not None:
        page(data, keys, given.work, given.out)


if __name__ == "__main__":
    main()
