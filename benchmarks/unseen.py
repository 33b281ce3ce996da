"""What a model makes of clips that it was never trained on, given the object at rest and the caption.

python -m benchmarks.unseen --model MODEL --dataset DATASET [--train TRAINING_DATASET] [--by object]
    [--clips 60] [--seeds 3] [--samples 8] [--steps 20] [--guidance 1] --out PAGE.md

All rows are held against the same true clips, with the same cameras and frame VAE: the object at rest, the
VAE's ceiling, the nearest training clip by first view, the conditional mean (one step from pure noise), one
sample, the best and the mean of K samples. A sample has the variance of what is left open once more, so
its PSNR may lie below the object at rest where the model knows much: the conditional mean says what it
knows.
The figures of every clip are in PAGE.json: {"clips": {key: [{row: {metric: number}}]}}, by seed.
S seeds, N clips, K samples, T frames, C latent channels, H W pixels, h w latent pixels.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.sampled import as_shown, conditional_mean, sampler_of
from benchmarks.timing import write_results
from benchmarks.unseen_tables import CEIL, RAW, REST, Figures, figures_table, paired_table
from orster_cli.config.load import resolve
from orster_cli.core.frames import at_resolution, evenly_spaced
from orster_cli.core.reporting import Silent
from orster_cli.core.seeding import derive_seed
from orster_cli.core.types import Cameras, OrbitClip
from orster_cli.dataset.curation import motion_magnitude
from orster_cli.dataset.reader import Dataset
from orster_cli.diffusion.bundle import Facts, WholeBundle
from orster_cli.diffusion.frame_vae import FrameVAE
from orster_cli.inputs.models import sampling_of
from orster_cli.io.images import contact_sheet, write_png
from orster_cli.metrics.psnr import CEILING, psnr
from orster_cli.sampling.known_actions import NEARLY, UNLIKE, moving_as_said
from orster_cli.sampling.lifted import lift
from orster_cli.sampling.sample_clips import Sampler, SampleRequest
from orster_cli.sampling.shown import Shown
from orster_cli.training.held_out import clips_in_common, object_name, without

BY = {
    "object": "the object at rest and the caption",
    "object-only": "the object at rest alone",
    "image": "the first view and the caption",
    "text": "the caption alone",
}
MEAN, SAMPLE = "conditional mean", "one sample"
NEAREST = "nearest training clip by first view"
LIFTED = "at rest, lifted from the first view"
SHEET = 6  # clips


@dataclass(frozen=True)
class TrueClip:
    """A clip as the model shows clips: `frames` and those of the object at `rest` [T,3,H,W], and the
    latents [C,T,h,w] of both."""

    frames: Tensor
    rest: Tensor
    latents: Tensor
    rest_latents: Tensor
    cameras: Cameras

    @classmethod
    def of(cls, data: Dataset, key: str, facts: Facts, vae: FrameVAE) -> TrueClip:
        clip, side = data.clip(key), facts.resolution
        frames = as_shown(clip, facts, key)
        rest = as_shown(data.clip(key, "static"), facts, key)
        pick = evenly_spaced(len(clip), facts.frames, where=key)
        cameras = clip.cameras[pick].resized(side, side)
        return cls(frames, rest, encoded(vae, frames), encoded(vae, rest), cameras)

    def motion(self, frames: Tensor, rest: Tensor) -> float:
        """Motion magnitude of `frames` against the object at `rest` [T,3,H,W]."""
        times = torch.zeros(len(frames))
        clips = (OrbitClip(frames=f, cameras=self.cameras, times=times) for f in (frames, rest))
        return motion_magnitude(*clips)

    def figures(self, frames: Tensor, latents: Tensor | None, rest: Tensor | None) -> Figures:
        """How near `frames` [T,3,H,W] and `latents` [C,T,h,w] are to the true ones, and how far the frames
        are from the object at `rest`; nan: not asked."""
        each, nan = psnr(frames, self.frames), float("nan")
        error = (frames.double() - self.frames.double()).square().mean()
        return {
            "later": float(each[1:].mean()),
            "all": float(each.mean()),
            "clip": float(-10 * error.clamp_min(10 ** (-CEILING / 10)).log10()),
            "latent": nan if latents is None else float(F.mse_loss(latents, self.latents)),
            "motion": nan if rest is None else self.motion(frames, rest),
        }


@torch.no_grad()
def encoded(vae: FrameVAE, frames: Tensor) -> Tensor:
    """Latents [C,T,h,w] of `frames` [T,3,H,W], on the CPU."""
    return vae.encode(frames.to(next(vae.parameters()).device)).transpose(0, 1).float().cpu()


@torch.no_grad()
def decoded(vae: FrameVAE, latents: Tensor) -> Tensor:
    """Frames [T,3,H,W] of `latents` [C,T,h,w], on the CPU."""
    z = latents.transpose(0, 1).to(next(vae.parameters()).device)
    return vae.decode(z).float().clamp(0, 1).cpu()


def request_of(
    data: Dataset, key: str, by: str, true: TrueClip, bundle: WholeBundle
) -> SampleRequest:
    """The conditions `by` of the clip `key`. Where the model can, the object is lifted from its
    first view."""
    text = None if by == "object-only" else data.info(key).get("caption") or data.clip(key).prompt
    if by.startswith("object"):
        orbit = data.clip(key, "static")
        return request_to_move(bundle, text, orbit, Shown.of_orbit(orbit, key))
    if by != "image" or bundle.lift is None:
        return SampleRequest(text=text, image=true.frames[0] if by == "image" else None)
    made = lift(bundle.lift, true.frames[0], true.cameras, where=key)
    sees = true.cameras if made.seen is None else made.seen.cameras(true.cameras)
    orbit = made.orbit(sees)
    return request_to_move(bundle, text, orbit, made.shown, nearly=math.inf, most=UNLIKE)


def request_to_move(
    bundle: WholeBundle,
    text: str | None,
    orbit: OrbitClip,
    shown: Shown,
    nearly: float = NEARLY,
    most: float = math.inf,
) -> SampleRequest:
    """The request of a given object, as `orster sample-video` makes it."""
    goes = None
    if text is not None:
        goes = moving_as_said(bundle, text, shown, Silent(), nearly=nearly, most=most)
    course = None if goes is None else goes.along(orbit.cameras)
    return SampleRequest(text=text, object_orbit=orbit, course=course)


def from_the_model(
    sampler: Sampler, true: TrueClip, request: SampleRequest, seeds: Sequence[int]
) -> tuple[dict[str, Figures], dict[str, Tensor]]:
    """Figures of the conditional mean, and of one sample per seed: of the first, the best (the highest PSNR
    of all frames) and their mean; and frames [T,3,H,W] of the conditional mean and of the first sample."""
    bundle = sampler.bundle
    given, rest = sampler.conditions_for(request, seeds, true.cameras)
    start, strength = sampler.begins_with(request, true.cameras, len(seeds))
    z, noise = sampler.denoised(given, seeds, true.cameras, start=start, strength=strength)
    samples = z.cpu()
    mean = conditional_mean(bundle, noise[:1], given.cond[:1])[0].cpu()
    stills = [
        None if rest is None else decoded(bundle.vae, z.cpu()) for z in rest_rows(rest, seeds)
    ]
    shown = [decoded(bundle.vae, z) for z in (mean, *samples)]
    if request.course is not None and sampler.stays_as_known(request):
        shown[1:] = [at_resolution(request.course, true.cameras.width)] * len(seeds)
    mean_figures = true.figures(shown[0], mean, stills[0])
    every = [true.figures(*one) for one in zip(shown[1:], samples, stills, strict=True)]
    count = len(seeds)
    rows = {
        MEAN: mean_figures,
        SAMPLE: every[0],
        f"best of {count}": max(every, key=lambda one: one["all"]),
        f"mean of {count}": {
            name: float(np.mean([one[name] for one in every])) for name in every[0]
        },
    }
    return rows, {MEAN: shown[0], SAMPLE: shown[1]}


def rest_rows(rest: Tensor | None, seeds: Sequence[int]) -> Sequence[Tensor | None]:
    """The object at rest of each seed's clip."""
    return [None] * len(seeds) if rest is None else list(rest)


def baselines(true: TrueClip, vae: FrameVAE) -> tuple[dict[str, Figures], Tensor]:
    """Figures of what needs no diffusion, and frames [T,3,H,W] of the object at rest through the VAE."""
    rest, ceiling = decoded(vae, true.rest_latents), decoded(vae, true.latents)
    rows = {
        RAW: true.figures(true.rest, None, None),
        REST: true.figures(rest, true.rest_latents, rest),
        CEIL: true.figures(ceiling, true.latents, rest),
    }
    rows[RAW]["motion"] = true.motion(true.frames, true.rest)  # of the truth, as the dataset has it
    return rows, rest


class Training:
    """Training clips, to copy the nearest of them."""

    def __init__(self, data: Dataset, facts: Facts) -> None:
        self.data, self.facts, self.keys = data, facts, data.keys()
        still = replace(facts, frames=1)
        firsts = [as_shown(data.frames(key, "dynamic", [0]), still, key)[0] for key in self.keys]
        self.firsts = torch.stack(firsts)

    def nearest(self, first: Tensor) -> str:
        """The key of the clip whose first view is nearest to `first` [3,H,W]."""
        errors = (self.firsts - first).square().flatten(1).mean(dim=1)
        return self.keys[int(errors.argmin())]

    def figures(self, true: TrueClip, vae: FrameVAE) -> Figures:
        """Of that clip's frames."""
        key = self.nearest(true.frames[0])
        frames = as_shown(self.data.clip(key), self.facts, key)
        return true.figures(frames, encoded(vae, frames), None)


def chosen(keys: Sequence[str], count: int) -> list[str]:
    """At most `count` of `keys`, evenly spaced."""
    many = min(count, len(keys))
    return [keys[i * len(keys) // many] for i in range(many)]


def main(arguments: Sequence[str] | None = None) -> None:
    given = parsed(arguments)
    cfg = resolve(model=sampling_of(given.model), assignments=given.set).config.sample
    scales = dict.fromkeys(("guidance_text", "guidance_image", "guidance_object"), given.guidance)
    sampler = sampler_of(given.model, replace(cfg, steps=given.steps, **scales), given.device)
    facts, vae = sampler.bundle.facts, sampler.bundle.vae
    data = Dataset.open(given.dataset)
    keys, training, left_out = data.keys(), None, 0
    if given.train is not None:
        known = Dataset.open(given.train)
        trained = clips_in_common(data, known)
        keys, left_out = without(keys, trained), len(trained)
        if not keys:
            sys.exit(f"{given.dataset}: all {left_out} clips are in {given.train}")
        training = Training(known, facts)
    keys = chosen(keys, given.clips)
    objects = [object_name(data, key) for key in keys]
    given.out.parent.mkdir(parents=True, exist_ok=True)
    found: list[list[dict[str, Figures]]] = []
    sheet: list[tuple[str, list[Tensor]]] = []
    begin = time.perf_counter()
    for number, key in enumerate(keys, start=1):
        true = TrueClip.of(data, key, facts, vae)
        plain, rest = baselines(true, vae)
        if training is not None:
            plain[NEAREST] = training.figures(true, vae)
        request = request_of(data, key, given.by, true, sampler.bundle)
        if given.by == "image" and request.object_orbit is not None:
            plain[LIFTED] = true.figures(request.object_orbit.over(), None, None)
        found.append([])
        for seed in range(given.seeds):
            noises = [derive_seed(seed, key, k) for k in range(given.samples)]
            rows, pictures = from_the_model(sampler, true, request, noises)
            found[-1].append(plain | rows)
            if seed == 0 and key in chosen(keys, SHEET):
                shown = {"truth": true.frames, REST: rest, **pictures}
                sheet += [(f"{key}: {name}", list(frames)) for name, frames in shown.items()]
        print(f"{number} of {len(keys)}: {key}", file=sys.stderr, flush=True)
    seconds = (time.perf_counter() - begin) / len(keys)
    picture = given.out.with_suffix(".png")
    write_png(
        picture, contact_sheet([row for _, row in sheet], [name for name, _ in sheet], cell=64)
    )
    motion = "unspecified" if facts.motion is None else f"{facts.motion:.4f}"
    about = (
        f"{len(keys)} clips of {len(set(objects))} objects, {facts.resolution} px, {facts.frames} frames, "
        f"given {BY[given.by]}; {given.seeds} seeds of {given.samples} samples, {given.steps} steps of "
        f"{cfg.scheduler}, guidance {given.guidance:g}; {seconds:.1f} s a clip. In brackets the 95 % "
        "bootstrap interval, clips and seeds drawn again. Motion: mean squared difference to the same "
        f"object at rest; `{RAW}` has the true one. Asked for: "
        f"{motion if cfg.motion is None else cfg.motion}."
    )
    if given.train is not None:
        seen = {object_name(known, key) for key in known.keys()}  # noqa: SIM118
        count = sum(name in seen for name in objects)
        about += (
            f"\n\n{left_out} clips of the dataset are training clips and left out; of {count} of the "
            "others the object is in the training set."
        )
    sections = [
        about,
        figures_table(found),
        *(
            f"## Against {says}\n\nBold: the interval leaves out 0.\n\n"
            f"{paired_table(found, objects, base)}"
            for base, says in ((REST, "the object at rest"), (NEAREST, "the nearest training clip"))
            if base in found[0][0]
        ),
        f"![true clips, at rest, conditional mean, one sample]({picture.name})",
    ]
    figures = json.dumps({"clips": dict(zip(keys, found, strict=True))})
    given.out.with_suffix(".json").write_text(figures.replace("NaN", "null"), encoding="utf-8")
    write_results(given.out, "Clips never trained on", sections)


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    for name in ("model", "dataset", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--train", type=Path, help="the training set: its clips are left out")
    parser.add_argument("--by", choices=list(BY), default="object")
    for name, default in (("clips", 60), ("seeds", 3), ("samples", 8), ("steps", 20)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--guidance", type=float, default=1.0)
    parser.add_argument("--set", action="append", default=[], help="sample.motion=0.02 ...")
    parser.add_argument("--device", default="cpu")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
