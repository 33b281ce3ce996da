"""Assets of given objects beside the true animated objects.

python -m benchmarks.animated --dataset DATASET --work FOLDER [--clips 38] [--says falling rolling]
    [--jobs 2] [--baseline construct.root=false construct.rigidity=0.1] [--out PAGE]

The shipped model samples a clip of each object of DATASET, which it was never trained on, from the object
at rest and its caption, as seen by the cameras of the true clip; `construct` makes assets of it as
`generate` does, and with the baseline's settings. All are rendered from the true clip's cameras.
FOLDER keeps samples, assets and figures: a stopped run goes on. `--says`: clips whose text has one of these
words alone.

PSNR of frames 1 to T-1 on white, by their MSE; motion: mean squared difference to the object at rest, as a
share of the true one; torn: as in `benchmarks.construct_cpu`. The page's sheet shows truth, sample,
baseline and asset of some clips.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.fitting import fit
from benchmarks.intervals import signed
from benchmarks.sampled import sampler_of
from benchmarks.tears import torn
from benchmarks.timing import table, write_results
from benchmarks.unseen import chosen
from orster_cli.config.load import resolve
from orster_cli.construction.asset import load_asset
from orster_cli.core.compositing import WHITE
from orster_cli.core.frames import evenly_spaced
from orster_cli.core.seeding import derive_seed
from orster_cli.dataset.reader import Dataset
from orster_cli.inputs.models import MINI_OBJECT, SHIPPED_OBJECT, sampling_of
from orster_cli.io.clip_files import read_clip, write_clip
from orster_cli.io.images import contact_sheet, write_png
from orster_cli.sampling.sample_clips import SampleRequest
from orster_cli.splatting.render_asset import render_clip

BASELINE = ("construct.root=false", "construct.rigidity=0.1")
KINDS = ("baseline", "now")
SHOWN, SHEET = 8, 4  # frames of a line of the sheet, and clips


def sampled(dataset: Path, key: str, folder: Path) -> None:
    """Write the shipped model's clip for `key` into `folder`."""
    if folder.is_dir():
        return
    cfg = resolve(model=sampling_of(SHIPPED_OBJECT)).config.sample
    sampler, data = sampler_of(SHIPPED_OBJECT, cfg), Dataset.open(dataset)
    request = SampleRequest(text=data.clip(key).prompt, object_orbit=data.clip(key, "static"))
    made = next(sampler.sample(request, [derive_seed(0, key)], data.clip(key).cameras))
    building = folder.with_name(f".{folder.name}")
    write_clip(building, made.clip)
    building.rename(folder)


def measured(dataset: Path, key: str, folder: Path, kind: str, baseline: Sequence[str]) -> None:
    """Write the figures of the asset of `key` in the settings of `kind` into `folder`."""
    done = folder / f"{kind}.json"
    if done.is_file():
        return
    assignments = list(baseline) if kind == "baseline" else []
    cfg = resolve(model=sampling_of(SHIPPED_OBJECT), assignments=assignments).config.construct
    data, sample = Dataset.open(dataset), read_clip(folder / "sample")
    truth, static = data.clip(key), data.clip(key, "static")
    (folder / kind).mkdir(parents=True, exist_ok=True)
    began = time.process_time()
    fit([sample], static, cfg, folder / kind)
    seconds = time.process_time() - began
    asset, white = load_asset(folder / kind), torch.full((3,), WHITE)
    made = render_clip(asset, truth.cameras, truth.times).frames
    true, still = truth.over(white), static.over(white)
    root = asset.motion.field.root
    figures = {
        "psnr": decibels(made, true),
        "rest": decibels(still, true),
        "sample": decibels(sample.over(white), true),
        "motion": float((made - still).square().mean()),
        "true motion": float((true - still).square().mean()),
        "torn": torn(asset),
        "turns": 0.0 if root is None else root.farthest,
        "seconds": seconds,
    }
    torch.save(made.clamp(0, 1).mul(255).byte(), folder / f"{kind}.pt")
    done.write_text(json.dumps(figures), encoding="utf-8")


def both(dataset: Path, key: str, folder: Path, baseline: Sequence[str]) -> None:
    """The sample of `key` and its two assets, in one thread."""
    torch.set_num_threads(1)
    sampled(dataset, key, folder / "sample")
    for kind in KINDS:
        measured(dataset, key, folder, kind, baseline)


def decibels(made: Tensor, true: Tensor) -> float:
    """PSNR of frames 1 to T-1 of `made` and `true` [T,3,H,W], by their MSE."""
    return float(-10 * (made[1:].double() - true[1:].double()).square().mean().log10())


def page(data: Dataset, keys: Sequence[str], work: Path, out: Path, about: str) -> None:
    """Write the page `out` and its sheet."""
    found = {
        kind: [json.loads((work / key / f"{kind}.json").read_text()) for key in keys]
        for kind in KINDS
    }

    def column(kind: str, name: str) -> np.ndarray:
        return np.array([one[name] for one in found[kind]])

    rest = column("now", "rest")
    true = column("now", "true motion").mean()
    lines = [
        ["the object at rest", f"{rest.mean():.2f}", "0", "0.00", "-", "-"],
        [
            "the clip",
            f"{column('now', 'sample').mean():.2f}",
            signed((column("now", "sample") - rest)[None]),
            *("-", "-", "-"),
        ],
    ]
    for kind in KINDS:
        values = column(kind, "psnr")
        cells = [f"asset, {kind}", f"{values.mean():.2f}", signed((values - rest)[None])]
        cells.append(f"{column(kind, 'motion').mean() / true:.2f}")
        cells += [f"{column(kind, 'torn').mean():.2f}", f"{column(kind, 'seconds').mean():.0f}"]
        lines.append(cells)
    head = ["", "PSNR, dB", "minus at rest", "motion", "torn %", "processor seconds"]
    better = column("now", "psnr") - column("baseline", "psnr")
    gain = f"Now minus baseline: {signed(better[None])} dB."
    rows = [
        [
            key,
            data.info(key).get("caption") or "",
            f"{now['rest']:.2f}",
            f"{now['sample']:.2f}",
            f"{before['psnr']:.2f}",
            f"{now['psnr']:.2f}",
            f"{now['turns']:.0f}" if now["turns"] else "",
        ]
        for key, before, now in zip(keys, found["baseline"], found["now"], strict=True)
    ]
    each = ["clip", "text", "at rest", "the clip", "baseline", "now", "turns by, degrees"]
    sheet: list[tuple[str, list[Tensor]]] = []
    for key in chosen(keys, SHEET):
        truth = data.clip(key).over(torch.full((3,), WHITE))
        own = read_clip(work / key / "sample").over(torch.full((3,), WHITE))
        kinds = [torch.load(work / key / f"{kind}.pt").float() / 255 for kind in KINDS]
        pick = evenly_spaced(len(truth), SHOWN, where=key)
        for name, frames in zip(("truth", "the clip", *KINDS), (truth, own, *kinds), strict=True):
            sheet.append((f"{key}: {name}", list(frames[pick])))
    shown = f"![truth, clip, baseline, asset]({write_sheet(out, sheet)})"
    write_results(
        out,
        "Assets beside the truth",
        [about, table(head, lines), gain, table(each, rows), shown],
    )


def write_sheet(out: Path, lines: Sequence[tuple[str, list[Tensor]]]) -> str:
    """The picture of `lines` beside the page `out`; its name."""
    picture = out.with_suffix(".png")
    sheet = contact_sheet([row for _, row in lines], [name for name, _ in lines], cell=80)
    write_png(picture, sheet)
    return picture.name


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--dataset", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--clips", type=int, default=38)
    parser.add_argument("--says", nargs="+", default=[])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--baseline", nargs="+", default=list(BASELINE))
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    data = Dataset.open(given.dataset)
    words = set(given.says)
    keys = [
        key
        for key in data.keys()  # noqa: SIM118
        if not words or words & set((data.info(key).get("caption") or "").split())
    ]
    keys = chosen(keys, given.clips)
    with ProcessPoolExecutor(given.jobs, mp_context=get_context("spawn")) as pool:
        jobs = [
            pool.submit(both, given.dataset, key, given.work / key, given.baseline) for key in keys
        ]
        for number, job in enumerate(jobs, start=1):
            job.result()
            print(f"{number} of {len(jobs)}", file=sys.stderr, flush=True)
    if given.out is not None:
        about = (
            f"{len(keys)} clips of objects that `{MINI_OBJECT}` was never trained on, one sample of each; "
            f"baseline: {', '.join(f'`{one}`' for one in given.baseline)}. In brackets the 95 % "
            "bootstrap interval over clips."
        )
        page(data, keys, given.work, given.out, about)


if __name__ == "__main__":
    main()
