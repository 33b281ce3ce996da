"""What a model makes of clips that it was not trained on: denoising losses, and likeness to the teachers.

python -m benchmarks.held_out_measures --model MODEL --teacher-3d DIR --teacher-video DIR \
    --dataset DATASET --config templates/transfer-table.toml --out FILE.json
python -m benchmarks.held_out_measures --baselines --model MODEL --training DATASET --dataset DATASET ...

Every model gets the same noise at the same levels. `--baselines` measures no model, but the object at rest
and the training clip whose first frame is nearest as answers, and the frame VAE's own error. The file
has numbers by clip, one for each level: `text` and `object` are losses under the text, and under text and
object at rest; `spatial` and `temporal` are centred cosines to the features of the 3D and of the video
teacher.

B videos, C latent channels, T frames, h w latent pixels.
"""

from __future__ import annotations

import argparse
import json
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.sampled import as_shown
from benchmarks.transfer import source
from orster_cli.config.load import resolve
from orster_cli.config.schema import Config
from orster_cli.diffusion.bundle import WholeBundle, load_bundle
from orster_cli.diffusion.schedule import NoiseSchedule
from orster_cli.metrics.psnr import psnr
from orster_cli.training.build_finetune import build_finetune
from orster_cli.training.datafeed import LatentBatch, LatentFeed
from orster_cli.training.lessons import FRONT, STATIC, LessonFeed
from orster_cli.training.prepared import Models
from orster_cli.training.step_conditions import lesson_conditions
from orster_cli.training.step_randomness import Draws, draw
from orster_cli.training.taught_stage import CHANNEL, TaughtStage
from orster_cli.training.training_data import latent_feed
from orster_cli.transfer.loss import centred_cosine

LEVELS, LESSON_LEVELS = 8, 4  # of noise, evenly spaced; a lesson draws its own
SEED, AT_ONCE = 0, 16
LOSSES, COSINES = ("text", "object"), {"spatial": STATIC, "temporal": FRONT}
BASELINES = ("at-rest", "nearest")
Measures = dict[str, dict[str, list[float]]]  # by name, then by clip


def settings(cfg: Config) -> Config:
    """`cfg` for fine-tuning with teachers, in which nothing is dropped, held out or left to chance. The
    targets are the teachers' features themselves."""
    finetune = replace(
        cfg.finetune,
        seed=SEED,
        batch=AT_ONCE,
        dynamic=1.0,
        still=0.0,
        drop=0.0,
        drop_who=0.0,
        drop_what=0.0,
        held_out=0.0,
        transfer=1.0,
        transfer_until=1.0,
    )
    distill = replace(
        cfg.distill,
        target="teachers",
        lessons="teachers",
        kernel="none",
        spatial_attention=False,
        temporal_attention=False,
    )
    return replace(cfg, finetune=finetune, distill=distill)


def view_of(cfg: Config, dataset: Path, view: str, bundle: WholeBundle) -> LatentFeed:
    """The videos of one view of a dataset."""
    facts = bundle.facts
    # orbits at rest and front views have no object at rest beside them
    train = cfg.finetune if view == "dynamic" else replace(cfg.finetune, object=0.0)
    feed = latent_feed(
        train,
        source(dataset),
        bundle.vae,
        view,
        facts.frames,
        facts.resolution,
        encoder=bundle.encoder,
    )
    assert isinstance(feed, LatentFeed)
    return feed


def batches(feed: LatentFeed, step: int) -> Iterator[tuple[LatentBatch, list[int], list[str]]]:
    """All videos of `feed` with the draws of `step`: batch, batch indices and keys."""
    for start in range(0, len(feed.keys), AT_ONCE):
        chosen = list(range(start, min(start + AT_ONCE, len(feed.keys))))
        yield feed.of(chosen, step, chosen), chosen, [feed.keys[i] for i in chosen]


def draws_at(level: int, indices: Sequence[int], latents: Tensor) -> Draws:
    """The noise of videos, all at one of `LEVELS` noise levels."""
    drawn = draw(SEED, level, indices, latents.shape[1:])
    return replace(drawn, level=torch.full_like(drawn.level, (level + 0.5) / LEVELS))


def errors(prediction: Tensor, target: Tensor) -> list[float]:
    """Mean squared error of each video [B,C,T,h,w]."""
    values: list[float] = (prediction - target).square().flatten(1).mean(dim=1).tolist()
    return values


@torch.no_grad()
def model_measures(cfg: Config, dataset: Path, models: Models) -> Measures:
    """Losses and cosines of a model, merged if it is not, beside its teachers."""
    ready = build_finetune(cfg, source(dataset), models)
    stage, lessons = ready.task.eval(), ready.feed
    assert isinstance(stage, TaughtStage)
    assert isinstance(lessons, LessonFeed)
    assert isinstance(lessons.feed, LatentFeed)
    assert models.start is not None
    found: dict[str, dict[str, list[float]]] = {
        name: defaultdict(list) for name in (*LOSSES, *COSINES)
    }
    for level in range(LEVELS):
        for batch, indices, keys in batches(lessons.feed, level):
            draws = draws_at(level, indices, batch.latents)
            for name in LOSSES:
                rest = batch.static_latents if name == "object" else None
                cond = lesson_conditions(batch, stage.context, cfg.finetune, draws, rest)
                noisy = stage.noised(batch.latents, cond, draws)
                out = stage.model(noisy.noisy, noisy.timesteps, noisy.cond)
                for key, value in zip(keys, errors(out.prediction, noisy.target), strict=True):
                    found[name][key].append(value)
    start = models.start.whole("the model")
    for name, view in COSINES.items():
        feed = view_of(cfg, dataset, view, start)
        for step in range(LESSON_LEVELS):
            for batch, indices, keys in batches(feed, step):
                values = cosines(stage, name, view, batch, step, indices)
                for key, value in zip(keys, values, strict=True):
                    found[name][key].append(value)
    return {name: dict(values) for name, values in found.items()}


def cosines(
    stage: TaughtStage, kind: str, view: str, batch: LatentBatch, step: int, indices: Sequence[int]
) -> list[float]:
    """Of each video of a lesson: the centred cosine of the student's and its teacher's features, as means
    over the taps."""
    noisy = stage.lesson_batch(view, batch, step, indices)
    units = stage.transfer.units()[0 if view == STATIC else 1]
    out = stage.model(
        noisy.noisy, noisy.timesteps, noisy.cond, wanted=units, channels=(CHANNEL[view],)
    )
    teacher = stage.teachers[0 if view == STATIC else 1]
    theirs = teacher.features(stage.teacher_inputs(noisy, batch), units)
    mine, frames = out.features(), noisy.clean.shape[2]
    sums = [0.0] * len(indices)
    for unit in units:
        pairs = zip(mine[unit].split(frames), theirs[unit].split(frames), strict=True)
        for i, (own, its) in enumerate(pairs):
            sums[i] += float(centred_cosine(own, its, kind, frames)) / len(units)
    return sums


def answered(
    schedule: NoiseSchedule, clean: Tensor, noise: Tensor, timesteps: Tensor, answer: Tensor
) -> list[float]:
    """The loss of one who predicts that the clean latents are `answer` [B,C,T,h,w]."""
    noisy = schedule.add_noise(clean, noise, timesteps)
    a, s = (x.view(-1, 1, 1, 1, 1) for x in schedule.signal_and_noise(timesteps))
    implied = (noisy - a * answer) / s
    target = schedule.target(clean, noise, timesteps)
    return errors(schedule.target(answer, implied, timesteps), target)


@torch.no_grad()
def baseline_measures(
    cfg: Config, dataset: Path, training: Path, bundle: WholeBundle
) -> dict[str, Measures]:
    """By the name of a baseline: its losses (the same under every condition), and its PSNR over all frames
    to the true ones. "vae": the PSNR of the true clip after the frame VAE."""
    feed = view_of(cfg, dataset, "dynamic", bundle)
    known = view_of(cfg, training, "dynamic", bundle)
    shown = torch.cat([batch.latents for batch, _, _ in batches(known, 0)])
    vae, schedule = bundle.vae.eval(), bundle.schedule
    names = (*BASELINES, "vae")
    found: dict[str, Any] = {name: defaultdict(lambda: defaultdict(list)) for name in names}
    for level in range(LEVELS):
        for batch, indices, keys in batches(feed, level):
            draws = draws_at(level, indices, batch.latents)
            levels = (draws.level * schedule.num_train_timesteps).long()
            first = batch.latents[:, :, 0].flatten(1)
            nearest = torch.cdist(first, shown[:, :, 0].flatten(1)).argmin(dim=1)
            answers = {"at-rest": batch.static_latents, "nearest": shown[nearest]}
            for name, answer in answers.items():
                values = answered(schedule, batch.latents, draws.noise, levels, answer)
                for key, value in zip(keys, values, strict=True):
                    found[name]["loss"][key].append(value)
            if level:
                continue
            for name, latents in {**answers, "vae": batch.latents}.items():
                for key, z in zip(keys, latents, strict=True):
                    true = as_shown(feed.cache.dataset.clip(key), bundle.facts, key)
                    made = vae.decode(z.transpose(0, 1)).clamp(0, 1)
                    found[name]["psnr"][key].append(float(psnr(made, true).mean()))
    return {
        name: {which: dict(clips) for which, clips in values.items()}
        for name, values in found.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("model", "dataset", "config", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    for name in ("teacher-3d", "teacher-video", "training"):
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--baselines", action="store_true")
    given = parser.parse_args()
    if given.out.exists():
        return
    cfg = settings(resolve(file=given.config).config)
    start = load_bundle(given.model)
    found: Any
    if given.baselines:
        found = baseline_measures(cfg, given.dataset, given.training, start.whole("the model"))
    else:
        models = Models(start=start, teacher_3d=given.teacher_3d, teacher_video=given.teacher_video)
        found = model_measures(cfg, given.dataset, models)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    building = given.out.with_name(f".{given.out.name}.{os.getpid()}")
    building.write_text(json.dumps(found), encoding="utf-8")
    building.replace(given.out)


if __name__ == "__main__":
    main()
