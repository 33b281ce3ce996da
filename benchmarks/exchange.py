"""Exchange of Z^T: does the temporal latent of one clip carry its motion to another object of the same rig?

python -m benchmarks.exchange --model MODEL --dataset DATASET [--truths DATASET] [--clips 60] [--seeds 3]
    --out PAGE.md

MODEL: of `orster pretrain` with `pretrain.exchange`, before distill or align merged it. Clip A shows an
object, clip B another one that does something else, both of `--dataset`; the truth is A's object with B's
motion, a clip of `--truths` (the same dataset, unless another is named). The model is given the truth's
object at rest (nothing: `--without-object`), no text and no strength of motion. At every step of sampling
(`--until 0.5`: while the signal is below half of the variance), Z^S is taken from A and Z^T from B, both
with the noise that the sample has left.

C latent channels, T frames, h w latent pixels.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.intervals import grouped, interval
from benchmarks.sampled import as_shown, sampler_of
from benchmarks.timing import table, write_results
from orster_cli.config.load import resolve
from orster_cli.core.errors import ConfigError
from orster_cli.core.seeding import derive_seed
from orster_cli.dataset.reader import Dataset
from orster_cli.diffusion.bundle import WholeBundle
from orster_cli.diffusion.conditions import Conditions, with_object
from orster_cli.diffusion.parametrization import Parametrization, rest_of
from orster_cli.diffusion.solvers import solver_steps
from orster_cli.io.images import contact_sheet, write_png
from orster_cli.sampling.denoise import starting_noise
from orster_cli.sampling.sample_clips import Sampler
from orster_cli.training.held_out import object_name
from orster_cli.training.partners import same_cameras

SHEET = 6  # pairs
EXCHANGED, OWN, ALONE = "Z^S of A, Z^T of B", "Z^S and Z^T of A", "Z^S and Z^T of the sample itself"
OTHER_MOTION, OTHER_OBJECT, REST, CEIL = "clip A", "clip B", "the object at rest", "the truth"


@dataclass(frozen=True)
class Pair:
    """Keys of clip A, of clip B of another object in another motion, and of A's object in B's motion."""

    a: str
    b: str
    truth: str


@dataclass(frozen=True)
class Shown:
    """A clip: `frames` [T,3,H,W], `latents` and those of the object at `rest` [C,T,h,w], `w2c` [T,4,4]."""

    frames: Tensor
    latents: Tensor
    rest: Tensor
    w2c: Tensor


def _named(data: Dataset) -> dict[str, tuple[str, str, Tensor]]:
    """Object, motion and first camera [1,4,4] by key, of clips that have an object at rest."""
    out = {}
    for key in sorted(data.keys()):
        info = data.info(key)
        if {"dynamic", "static"} <= set(info["frames"]) and info.get("clip_name") is not None:
            w2c = data.frames(key, "dynamic", [0]).cameras.w2c
            out[key] = (object_name(data, key), info["clip_name"], w2c)
    return out


def pairs(data: Dataset, truths: Dataset) -> list[Pair]:
    """One for each clip of `truths` where clips A and B of `data` allow it, all three from the same cameras
    and with the object at rest. Motions are the same where the animations have one name."""
    shown, out = _named(data), []
    wanted = shown if truths is data else _named(truths)
    for truth, (thing, motion, w2c) in wanted.items():
        near = [
            (key, who, what)
            for key, (who, what, other) in shown.items()
            if same_cameras(w2c[None], other[None])
        ]
        choices = [
            Pair(a, b, truth)
            for a, who, what in near
            for b, other, another in near
            if who == thing != other and what != motion == another
        ]
        if choices:
            out.append(choices[derive_seed(0, "pair", truth) % len(choices)])
    return out


@torch.no_grad()
def exchanged(
    bundle: WholeBundle,
    noise: Tensor,
    cond: Conditions,
    parts: tuple[Shown, Shown] | None,
    *,
    steps: int,
    until: float = 1.0,
) -> Tensor:
    """Latents [1,C,T,h,w] sampled by DDIM from `noise` under `cond`, with Z^S of the first clip of `parts`
    and Z^T of the second (None: the sample's own) while the signal's share of the variance is below
    `until`. ConfigError: the model does not split."""
    form = Parametrization.of(bundle.schedule, bundle.facts.residual_scale)
    clean_parts = [form.clean_of(part.latents[None], part.rest[None]) for part in parts or ()]
    z = left = noise
    for step in solver_steps(bundle.schedule, "ddim", steps):
        at = torch.full((len(z),), step.timestep, device=z.device)
        noisy = [step.noised(part, left) for part in clean_parts]
        sources = (noisy[0], noisy[1]) if noisy and step.level[0] ** 2 < until else None
        prediction = bundle.std4d(z, at, cond, sources=sources).prediction.float()
        following, clean = step(z, prediction, None)
        left = (z - step.level[0] * clean) / step.level[1]
        z = following
    return form.latents_of(z, *rest_of(cond))


class Exchange:
    """Makes and measures the pairs of a dataset."""

    def __init__(
        self,
        sampler: Sampler,
        data: Dataset,
        truths: Dataset,
        *,
        until: float = 1.0,
        with_rest: bool = True,
    ) -> None:
        """`with_rest`: the model is given the truth's object at rest, else nothing."""
        self.until, self.with_rest = until, with_rest
        self.bundle, self.device, self.cfg = sampler.bundle, sampler.device, sampler.cfg
        self.data, self.truths = data, truths
        self._shown: dict[tuple[Path, str], Shown] = {}

    def shown(self, pair: Pair) -> tuple[Shown, Shown, Shown]:
        """A, B and the truth."""
        return (
            self.read(self.data, pair.a),
            self.read(self.data, pair.b),
            self.read(self.truths, pair.truth),
        )

    @torch.no_grad()
    def read(self, data: Dataset, key: str) -> Shown:
        if (data.root, key) not in self._shown:
            facts, vae = self.bundle.facts, self.bundle.vae
            clip = data.clip(key)
            frames = as_shown(clip, facts, key)
            still = as_shown(data.clip(key, "static"), facts, key)
            latents, rest = (vae.encode(x.to(self.device)).transpose(0, 1) for x in (frames, still))
            if len(clip) != len(frames):
                raise ConfigError(f"{data.root}: prepare it with {facts.frames} frames")
            self._shown[data.root, key] = Shown(frames, latents, rest, clip.cameras.w2c)
        return self._shown[data.root, key]

    @torch.no_grad()
    def decoded(self, z: Tensor) -> Tensor:
        """[T,3,H,W] of latents [C,T,h,w]."""
        return self.bundle.vae.decode(z.transpose(0, 1)).float().clamp(0, 1).cpu()

    def made(self, pair: Pair, seed: int) -> dict[str, Tensor]:
        """Frames [T,3,H,W] by their names."""
        a, b, truth = self.shown(pair)
        empty = self.bundle.encoder.text([""])
        nothing = Conditions(
            text=empty.tokens,
            pooled=empty.pooled,
            cameras=a.w2c[None].to(self.device),
            motion=torch.full((1,), torch.nan, device=self.device),
        )
        cond = with_object(nothing, truth.rest[None]) if self.with_rest else nothing
        noise = starting_noise([derive_seed(seed, pair.a)], a.latents.shape).to(self.device)
        noise = noise * self.cfg.temperature

        def sampled(parts: tuple[Shown, Shown] | None) -> Tensor:
            steps, until = self.cfg.steps, self.until
            return exchanged(self.bundle, noise, cond, parts, steps=steps, until=until)[0]

        latents = {
            EXCHANGED: sampled((a, b)),
            OWN: sampled((a, a)),
            ALONE: sampled(None),
            OTHER_MOTION: a.latents,
            OTHER_OBJECT: b.latents,
            REST: truth.rest,
            CEIL: truth.latents,
        }
        return {name: self.decoded(z) for name, z in latents.items()}


def closeness(one: Tensor, other: Tensor) -> float:
    """PSNR of the mean squared error of frames 1 to T-1."""
    return float(-10 * (one - other)[1:].square().mean().clamp_min(1e-8).log10())


def sections(work: Exchange, found: Sequence[Pair], seeds: int, picture: Path) -> list[str]:
    """The page; the sheet is written to `picture`."""
    rows: list[list[dict[str, float]]] = [[] for _ in range(seeds)]
    follows: list[bool] = []
    pictures: list[tuple[str, Tensor]] = []
    for number, pair in enumerate(found):
        own, other, truth = (clip.frames for clip in work.shown(pair))
        for seed in range(seeds):
            made = work.made(pair, seed)
            rows[seed].append({name: closeness(x, truth) for name, x in made.items()})
            follows.append(rows[seed][-1][EXCHANGED] > rows[seed][-1][OWN])
            if seed == 0 and number % max(1, len(found) // SHEET) == 0:
                pictures += [(f"A: {pair.a}", own), (f"B: {pair.b}", other)]
                pictures += [(f"truth: {pair.truth}", truth), (OWN, made[OWN])]
                pictures += [(EXCHANGED, made[EXCHANGED])]
        print(f"{number + 1} of {len(found)}: {pair}", flush=True)
    pictures = pictures[: 5 * SHEET]
    sheet = contact_sheet([list(x) for _, x in pictures], [name for name, _ in pictures], cell=96)
    write_png(picture, sheet)
    objects = [object_name(work.truths, pair.truth) for pair in found]

    def of(name: str) -> np.ndarray:
        return grouped(np.array([[row[name] for row in seed] for seed in rows]), objects)

    lines = []
    for name in rows[0][0]:
        gain = of(EXCHANGED) - of(name)
        low, high = interval(gain)
        said = "" if name == EXCHANGED else f"{gain.mean():+.2f} ({low:+.2f} to {high:+.2f})"
        lines.append([name, f"{of(name).mean():.2f}", said])
    given = "given the object at rest" if work.with_rest else "given nothing else"
    about = (
        f"{len(found)} pairs of {len(set(objects))} objects, {seeds} seeds, {work.cfg.steps} steps of "
        f"DDIM, noise of standard deviation {work.cfg.temperature:g}; exchanged while the signal is less "
        f"than {work.until:.0%} of the variance; {given}. PSNR of frames 1 to T-1 to A's "
        "object with B's motion; all answers go through the frame VAE. In brackets the 95 % interval, "
        "objects and seeds drawn again."
    )
    share = np.mean(follows)
    nearer = (
        f"{share:.0%} of the samples are nearer to the truth with Z^T of B than with that of A."
    )
    head = ["", "PSNR, dB", "exchanged minus this"]
    return [
        about,
        table(head, lines),
        nearer,
        f"![A, B, truth, not exchanged, exchanged]({picture.name})",
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser()
    for name in ("model", "dataset", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    for name, default in (("clips", 60), ("seeds", 3), ("steps", 12)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--truths", type=Path, help="dataset of the truths, if another one")
    parser.add_argument("--until", type=float, default=1.0, help="share of the signal, 0 to 1")
    parser.add_argument("--without-object", action="store_true", help="no object at rest is given")
    parser.add_argument("--set", action="append", default=[], help="sample.temperature=0.55 ...")
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args(arguments)
    cfg = replace(resolve(assignments=given.set).config.sample, steps=given.steps)
    data = Dataset.open(given.dataset)
    truths = Dataset.open(given.truths) if given.truths else data
    sampler = sampler_of(given.model, cfg, given.device)
    work = Exchange(sampler, data, truths, until=given.until, with_rest=not given.without_object)
    found = pairs(data, truths)
    if not found:
        raise ConfigError(
            f"{truths.root}: no clip shows an object of {data.root} in the motion of another one there, "
            "from the same cameras",
            hint="prepare objects of one rig with prepare.azimuth_jitter=false",
        )
    many = min(given.clips, len(found))
    found = [found[i * len(found) // many] for i in range(many)]
    given.out.parent.mkdir(parents=True, exist_ok=True)
    picture = given.out.with_suffix(".png")
    write_results(given.out, "Exchange of Z^T", sections(work, found, given.seeds, picture))


if __name__ == "__main__":
    main()
