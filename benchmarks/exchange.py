"""Exchange of Z^T: does the temporal latent of one clip carry its motion to another object of the same rig?

Z^S of clip A and Z^T of clip B are joined by the disentangle VAE's decoder (Eq. 1-2, on clean latents). The
truth is the clip of A's object with B's motion. C latent channels, T frames, H W pixels, h w latent pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.intervals import interval
from benchmarks.sampled import as_shown
from benchmarks.timing import table
from orster_cli.core.errors import ConfigError
from orster_cli.core.seeding import derive_seed
from orster_cli.dataset.reader import Dataset
from orster_cli.diffusion.bundle import WholeBundle
from orster_cli.io.images import contact_sheet, write_png
from orster_cli.metrics.psnr import psnr
from orster_cli.sampling.sample_clips import Sampler
from orster_cli.training.held_out import object_name

SHEET = 6  # pairs
SAME_CAMERA = 1e-3


@dataclass(frozen=True)
class Pair:
    """Keys of clip A, whose Z^S is used, of clip B, whose Z^T is used, and of the `truth`. They are of one
    object where B is the truth itself, else of two objects with clips of the same names."""

    a: str
    b: str
    truth: str

    @property
    def kind(self) -> str:
        return "one object" if self.b == self.truth else "two objects"


def pairs(data: Dataset) -> list[Pair]:
    """At most one pair for each clip A: with another object where that gives a truth, else with another
    clip of A's object. Clips from other cameras than A's are passed over."""
    keys = data.keys()
    cameras = {key: data.frames(key, "dynamic", [0]).cameras.w2c for key in keys}
    names = {key: (object_name(data, key), data.info(key).get("clip_name")) for key in keys}
    named = {name: key for key, name in names.items() if name[1] is not None}
    out = []
    for (thing, motion), a in named.items():
        found: dict[bool, list[Pair]] = {True: [], False: []}
        for (other, another), b in named.items():
            truth = named.get((thing, another))
            if another == motion or truth is None:
                continue
            if _near(cameras[a], cameras[b]) and _near(cameras[a], cameras[truth]):
                found[other == thing].append(Pair(a, b, truth))
        choices = found[False] or found[True]
        if choices:
            out.append(choices[derive_seed(0, "pair", a) % len(choices)])
    return out


def _near(one: Tensor, other: Tensor) -> bool:
    return float((one - other).abs().max()) < SAME_CAMERA


@torch.no_grad()
def exchanged(bundle: WholeBundle, first: Tensor, second: Tensor) -> Tensor:
    """Latents [C,T,h,w] of Z^S of `first` and Z^T of `second` [C,T,h,w]. ConfigError: the model does not
    split its latents."""
    vae = bundle.std4d.disentangle
    if vae is None:
        raise ConfigError(
            "the model does not split its latents",
            hint="give a model of orster pretrain, before distill or align merged it",
        )
    return vae.decode(vae.split(first[None]).spatial_mean, vae.split(second[None]).temporal_mean)[0]


def exchange_section(sampler: Sampler, data: Dataset, page: Path, count: int) -> str:
    """A section with the PSNR of at most `count` exchanged clips, and a sheet beside `page`. ConfigError:
    as `exchanged`, or no two clips of the dataset can be exchanged."""
    bundle, device = sampler.bundle, sampler.device
    found = pairs(data)
    if not found:
        raise ConfigError(f"{data.root}: no two clips of one object, or of names in common")
    many = min(count, len(found))
    found = [found[i * len(found) // many] for i in range(many)]

    @torch.no_grad()
    def latents(key: str) -> Tensor:
        frames = as_shown(data.clip(key), bundle.facts, key).to(device)
        return bundle.vae.encode(frames).transpose(0, 1)

    @torch.no_grad()
    def frames(z: Tensor) -> Tensor:
        return bundle.vae.decode(z.transpose(0, 1)).float().clamp(0, 1).cpu()

    figures: dict[str, list[list[float]]] = {"one object": [], "two objects": []}
    rows, titles = [], []
    for i, pair in enumerate(found):
        a, b, truth = (latents(key) for key in (pair.a, pair.b, pair.truth))
        true = as_shown(data.clip(pair.truth), bundle.facts, pair.truth)
        own = as_shown(data.clip(pair.a), bundle.facts, pair.a)
        made = frames(exchanged(bundle, a, b))
        shown = (made, frames(a), frames(b), frames(exchanged(bundle, truth, truth)))
        line = [float(psnr(one, true)[1:].mean()) for one in shown]
        figures[pair.kind].append([*line, float(psnr(made, own)[1:].mean())])
        if i % max(1, len(found) // SHEET) == 0 and len(rows) < 4 * SHEET:
            rows += [list(own), list(shown[2]), list(true), list(made)]
            titles += [
                f"A: {pair.a}",
                f"B: {pair.b}",
                f"truth: {pair.truth}",
                "Z^S of A, Z^T of B",
            ]
    picture = page.with_name(f"{page.stem}_exchange.png")
    write_png(picture, contact_sheet(rows, titles, cell=64))
    lines = []
    for kind, listed in figures.items():
        if not listed:
            continue
        numbers = np.array(listed)
        low, high = interval((numbers[:, 0] - numbers[:, 1])[None])
        gain = f"{(numbers[:, 0] - numbers[:, 1]).mean():+.2f} ({low:+.2f} to {high:+.2f})"
        lines.append([kind, len(listed), *(f"{mean:.2f}" for mean in numbers.mean(axis=0)), gain])
    head = [
        "A and B", "pairs", "exchanged to the truth", "A to the truth", "B to the truth",
        "the truth, split and joined", "exchanged to A", "exchanged minus A",
    ]  # fmt: skip
    return (
        "## Exchange of Z^T\n\nZ^S of clip A with Z^T of clip B, on clean latents. The truth is the clip "
        "of A's object with B's motion; where A and B are of one object it is B. PSNR of frames 1 to T-1, "
        "all through the VAE; in brackets the 95 % interval over pairs.\n\n"
        f"{table(head, lines)}\n\n![A, B, truth, exchanged]({picture.name})"
    )
