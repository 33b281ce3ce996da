"""Reconstruction by frame VAEs of frames of objects that they were not trained on.

python -m benchmarks.frame_vae --dataset VAL [MODEL...] [--training CONFIG=SCRATCH...] [--frames 4]
    [--sheet PICTURE] [--curve CSV] [--out PAGE]

MODEL is an artifact with a frame VAE. CONFIG=SCRATCH is an unfinished training: its settings, and the
folder of its checkpoints, of which the newest is read (averaged weights if there are any). Frames are
those of the dynamic orbits, on white, at the VAE's own resolution. PSNR is the mean over frames;
"object" counts the pixels of the object only; "at 64" and "at 128" resize both to that size first, as
ST-LPIPS at 128 does.
"""

from __future__ import annotations

import argparse
import csv
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.timing import table, write_results
from orster_cli.artifacts.store import open_artifact
from orster_cli.config.load import resolve
from orster_cli.core.errors import MissingResourceError
from orster_cli.core.frames import at_resolution, evenly_spaced
from orster_cli.dataset.reader import Dataset
from orster_cli.diffusion.bundle import load_bundle
from orster_cli.diffusion.frame_vae import FrameVAE
from orster_cli.io.checkpoints import load_latest
from orster_cli.io.images import contact_sheet, write_png
from orster_cli.metrics.perceptual import find_st_lpips, load_st_lpips
from orster_cli.metrics.psnr import masked_psnr, psnr

HEADER = (
    "VAE", "step", "pixels", "PSNR", "of clips", "object", "at 64", "at 128", "ST-LPIPS",
    "parameters", "16 frames, s",
)  # fmt: skip
SIZES = (64, 128)
SHOWN = 10  # frames on the sheet


def frames_of(dataset: Dataset, resolution: int, count: int) -> tuple[Tensor, Tensor]:
    """`count` frames [N,3,H,W] of each dynamic orbit and their masks [N,1,H,W]."""
    frames, masks = [], []
    for key in list(dataset.keys()):
        clip = dataset.clip(key, "dynamic")
        pick = evenly_spaced(len(clip), count, where=key)
        frames.append(at_resolution(clip, resolution)[pick])
        masks.append(F.adaptive_avg_pool2d(clip.alpha[pick], resolution))
    return torch.cat(frames), torch.cat(masks)


def trained(path: Path) -> tuple[FrameVAE, int, int]:
    """VAE, resolution and steps of an artifact."""
    made = open_artifact(path, kind="model")
    bundle = load_bundle(made.path)
    assert bundle.vae is not None, f"{path}: no frame VAE"
    return bundle.vae, bundle.facts.resolution, int(made.content.get("steps", 0))


def training(config: Path, scratch: Path) -> tuple[FrameVAE, int, int]:
    """The same for the newest checkpoint in `scratch`."""
    model = resolve(file=config, environ={}).config.model
    vae = FrameVAE.create(
        model.vae_widths,
        channels=model.latent_channels,
        groups=min(model.groups, *model.vae_widths),
        seed=0,
        patch=model.vae_patch,
    )
    found = load_latest(scratch)
    if found is None:
        raise SystemExit(f"{scratch}: no checkpoint yet")
    step, tensors = found
    for kind in ("model/", "average/"):
        part = {n.removeprefix(kind): v for n, v in tensors.items() if n.startswith(kind)}
        own = {n.removeprefix("vae."): v for n, v in part.items() if n.startswith("vae.")}
        vae.load_state_dict(own, strict=kind == "model/")
    return vae.eval(), model.resolution, step


@torch.no_grad()
def figures(
    vae: FrameVAE, frames: Tensor, masks: Tensor, count: int
) -> tuple[dict[str, str], Tensor]:
    """A row of the table, and the reconstructions of `frames`, `count` of each clip."""
    out = vae.decode(vae.encode(frames)).clamp(0, 1)
    error = (out - frames).double().square().mean(dim=(1, 2, 3)).unflatten(0, (-1, count)).mean(1)
    z = vae.encode(frames[:16])
    start = time.process_time()
    vae.decode(z)
    seconds = (time.process_time() - start) * 16 / len(z)
    row = {
        "pixels": str(frames.shape[-1]),
        "PSNR": f"{float(psnr(out, frames).mean()):.2f}",
        "of clips": f"{float((-10 * error.log10()).mean()):.2f}",
        "object": f"{float(masked_psnr(out, frames, masks).mean()):.2f}",
        "parameters": f"{sum(p.numel() for p in vae.parameters()):,}",
        "16 frames, s": f"{seconds:.2f}",
    }
    return row, out


def _distance(out: Tensor, frames: Tensor) -> str:
    try:
        distance = load_st_lpips(find_st_lpips())
    except MissingResourceError:
        return "-"
    parts = [distance(a, b) for a, b in zip(out.split(32), frames.split(32), strict=True)]
    return f"{float(torch.cat(parts).mean()):.4f}"


def resized(frames: Tensor, side: int) -> Tensor:
    if side == frames.shape[-1]:
        return frames
    smaller = side < frames.shape[-1]
    kind = {"mode": "area"} if smaller else {"mode": "bicubic", "align_corners": False}
    return F.interpolate(frames, size=side, **kind).clamp(0, 1)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("models", type=Path, nargs="*")
    parser.add_argument("--dataset", type=Path, required=True)
    parser.add_argument("--training", action="append", default=[], metavar="CONFIG=SCRATCH")
    parser.add_argument("--frames", type=int, default=4)
    parser.add_argument("--sheet", type=Path)
    parser.add_argument("--curve", type=Path)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    dataset = Dataset.open(given.dataset)
    vaes = {str(path): trained(path) for path in given.models}
    for pair in given.training:
        config, _, scratch = pair.partition("=")
        vaes[config] = training(Path(config), Path(scratch))
    truth = {side: frames_of(dataset, side, given.frames) for side in SIZES}
    rows, sheet, names = [], [], []
    for name, (vae, resolution, step) in vaes.items():
        side = resolution or SIZES[-1]
        frames, masks = truth[side] if side in truth else frames_of(dataset, side, given.frames)
        row, out = figures(vae, frames, masks, given.frames)
        for other in SIZES:
            value = float(psnr(resized(out, other), truth[other][0]).mean())
            row[f"at {other}"] = f"{value:.2f}"
        row["ST-LPIPS"] = _distance(resized(out, SIZES[-1]), truth[SIZES[-1]][0])
        rows.append({"VAE": name, "step": str(step), **row})
        every = max(len(frames) // SHOWN, 1)
        sheet += [list(frames[::every][:SHOWN]), list(out[::every][:SHOWN])]
        names += ["frames", Path(name).name]
    print(table(HEADER, [[row[key] for key in HEADER] for row in rows]))
    if given.sheet is not None:
        write_png(given.sheet, contact_sheet(sheet, names, cell=max(SIZES)))
    if given.curve is not None:
        fresh = not given.curve.is_file()
        with given.curve.open("a", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, HEADER, lineterminator="\n")
            if fresh:
                writer.writeheader()
            writer.writerows(rows)
    if given.out is not None:
        about = f"{len(dataset)} clips of {given.dataset.parent.name}, {given.frames} frames each."
        body = table(HEADER, [[row[key] for key in HEADER] for row in rows])
        write_results(
            given.out, "Frame VAEs on objects that they were not trained on", [about, body]
        )


if __name__ == "__main__":
    main()
