"""Train the regressor of a model's objects at rest on the training objects of a list.

python -m tools.train_rest --glb GLB... --list templates/weights-mini2.csv --model mini-object --minutes 60
    --out REST [--width 512] [--blocks 3] [--last 1024] [--lr 2e-3]

Each object is posed at the start of the animation in which it stands most quietly, placed as a given
object is, and rendered from AZIMUTHS sides; the model's frame VAE makes latents of them and its encoder
reads the phrases of the list. REST has the averaged weights and train-rest.jsonl; `tools.ship_object
--rest REST` puts it into the model. REST/objects.pt keeps the latents for another run.
N objects, A sides, C latent channels, h w latent pixels.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from orster_cli.config.prepare import PrepareConfig
from orster_cli.dataset.views import normalize_pose, render_view
from orster_cli.diffusion.bundle import WholeBundle
from orster_cli.diffusion.encoded import Encoded
from orster_cli.diffusion.rest_regressor import RestConfig, RestRegressor, save_rest
from orster_cli.geometry.orbit import orbit_azimuths, orbit_cameras
from orster_cli.gltf.load import load_gltf
from orster_cli.inputs.models import open_model
from orster_cli.training.ema import Ema
from tools.clip_lists import Row, file_of, rows_of

AZIMUTHS = 32
QUIET = ("standing", "idle", "breathing", "floating", "hovering", "swimming", "flying", "walking")
LOG, OBJECTS = "train-rest.jsonl", "objects.pt"
LOG_EVERY = 250
BATCH, SIDES = 128, 4  # objects of a step, sides of each


@dataclass(frozen=True)
class Objects:
    """`latents` [N,A,C,h,w]; `phrases`: of each, the fullest first."""

    latents: Tensor
    phrases: list[tuple[str, ...]]


def quietest(rows: Sequence[Row]) -> Row:
    """The animation of one object in whose first moment it is most likely at rest."""

    def loudness(row: Row) -> tuple[int, int]:
        found = [number for number, word in enumerate(QUIET) if word in row["what"]]
        return min(found, default=len(QUIET)), int(row["clip"])

    return min(rows, key=loudness)


def chosen(folders: Sequence[Path], clips: Path) -> Iterator[tuple[Path, Row]]:
    """The file of each training object of the list `clips`, and its quietest animation."""
    by_file = defaultdict(list)
    for row in rows_of(clips):
        if row["use"] == "1":
            by_file[row["file"]].append(row)
    for name, rows in by_file.items():
        yield file_of(folders, name), quietest(rows)


@torch.no_grad()
def made_of(found: Sequence[tuple[Path, Row]], model: WholeBundle) -> Objects:
    """Rendered and encoded."""
    cfg, side = PrepareConfig(), model.facts.resolution
    cameras = orbit_cameras(orbit_azimuths(AZIMUTHS), width=side, height=side)
    latents, phrases = [], []
    for number, (path, row) in enumerate(found):
        posed = normalize_pose(load_gltf(path), int(row["clip"]), cfg)
        frames = render_view(posed, cameras, torch.zeros(AZIMUTHS), cfg, None).over()
        latents.append(model.vae.encode(frames))
        phrases.append(tuple(sorted(row["who"].split("|"), key=len, reverse=True)))
        if number % 50 == 0:
            print(f"rendered {number} of {len(found)}", flush=True)
    return Objects(torch.stack(latents), phrases)


class RestTraining:
    """Steps of mean squared error of latents, each text the fullest phrase of its object."""

    def __init__(
        self, rest: RestRegressor, objects: Objects, model: WholeBundle, seed: int
    ) -> None:
        self.rest, self.objects = rest, objects
        self.draw = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            self.texts = model.encoder.text([phrases[0] for phrases in objects.phrases])
            every = objects.latents.flatten(2)
            rest.mean.copy_(every.mean(dim=(0, 1)))
            rest.deviation.copy_(every.std(dim=(0, 1)).clamp_min(0.05))
            read = rest.read(self.texts)
            rest.text_mean.copy_(read.mean(dim=0))
            rest.text_deviation.copy_(read.std(dim=0))

    def loss(self) -> Tensor:
        """Of one step."""
        who, sides = self._drawn(BATCH)
        texts = Encoded(self.texts.tokens[who], self.texts.pooled[who])
        with torch.autocast("cpu", dtype=torch.bfloat16):
            made = self.rest(sides * (360 / AZIMUTHS), texts)
        return (
            (made.float().transpose(1, 2) - self.objects.latents[who[:, None], sides])
            .square()
            .mean()
        )

    def _drawn(self, count: int) -> tuple[Tensor, Tensor]:
        """Numbers of objects [B] and of different sides of each [B,S]."""
        who = torch.randint(len(self.objects.phrases), (count,), generator=self.draw)
        order = torch.rand(count, AZIMUTHS, generator=self.draw).argsort(dim=1)
        return who, order[:, :SIDES]


def train(training: RestTraining, minutes: float, lr: float, log: Path) -> None:
    """For so many `minutes`, the rate falling to 0; `training.rest` ends with the averaged weights."""
    rest = training.rest.train()
    optimizer = torch.optim.AdamW(rest.parameters(), lr=lr, weight_decay=0.0)
    ema = Ema(rest, 0.995)
    began, step, losses = time.monotonic(), 0, []
    with log.open("w", encoding="utf-8") as file:
        while (share := (time.monotonic() - began) / (60 * minutes)) < 1:
            rate = lr * min(1.0, step / 50) * (0.5 + 0.5 * math.cos(math.pi * share))
            for group in optimizer.param_groups:
                group["lr"] = rate
            loss = training.loss()
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(rest.parameters(), 1.0)
            optimizer.step()
            ema.update(rest, step)
            step += 1
            losses.append(float(loss.detach()))
            if step % LOG_EVERY == 0:
                mean = sum(losses[-LOG_EVERY:]) / LOG_EVERY
                row = {"step": step, "loss": mean, "lr": rate, "seconds": time.monotonic() - began}
                print(json.dumps(row), file=file, flush=True)
                print(f"step {step}: {mean:.4f}", flush=True)
    ema.copy_to(rest)
    rest.eval()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--glb", type=Path, nargs="+", required=True)
    parser.add_argument("--list", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--blocks", type=int, default=3)
    parser.add_argument("--last", type=int, default=1024)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    model = open_model(given.model).load_whole()
    kept = given.out / OBJECTS
    if kept.is_file():
        objects = Objects(**torch.load(kept, weights_only=True))
    else:
        objects = made_of(list(chosen(given.glb, given.list)), model)
        torch.save(vars(objects), kept)
    channels, side = objects.latents.shape[2:4]
    torch.manual_seed(given.seed)
    rest = RestRegressor(
        RestConfig(
            channels=channels,
            side=side,
            text=model.encoder.text_width,
            pooled=model.encoder.pooled_width,
            width=given.width,
            blocks=given.blocks,
            last=given.last,
            subjects=tuple(objects.phrases),
        )
    )
    count = sum(p.numel() for p in rest.parameters())
    print(f"{len(objects.phrases)} objects, {count:,} parameters", flush=True)
    training = RestTraining(rest, objects, model, given.seed)
    train(training, given.minutes, given.lr, given.out / LOG)
    save_rest(rest, given.out)


if __name__ == "__main__":
    main()
