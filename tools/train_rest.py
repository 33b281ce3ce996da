"""Train the regressor of a model's objects at rest on the training objects of a list.

python -m tools.train_rest --glb GLB... --list templates/weights-mini2.csv --model mini-object --minutes 60
    --out REST [--further] [--jobs 2] [--width 512] [--blocks 3] [--last 1024] [--lr 2e-3]

The poses are those of `tools.rest_data`, kept in REST/objects/ for another run; the model's encoder reads
the phrases of the list. REST has the averaged weights and train-rest.jsonl; `tools.ship_object --rest REST`
puts it into the model. `--further`: from the weights that the model has.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from orster_cli.diffusion.bundle import WholeBundle
from orster_cli.diffusion.encoded import Encoded
from orster_cli.diffusion.rest_regressor import LISTS, RestConfig, RestRegressor, save_rest
from orster_cli.inputs.models import open_model
from tools.regression import train
from tools.rest_data import AZIMUTHS, Objects, chosen, framings_of, made_of, poses_of

LOG, OBJECTS = "train-rest.jsonl", "objects"
BATCH, SIDES = 128, 4  # poses of a step, sides of each
QUIETLY = 0.35  # share of a batch


class RestTraining:
    """Steps of mean squared error of latents, each text the fullest phrase of its object. In a share
    `QUIETLY` of a batch each object comes as often as another, in its quietest pose; in what is left each
    clip as often as another, where it begins."""

    def __init__(
        self, rest: RestRegressor, objects: Objects, model: WholeBundle, seed: int
    ) -> None:
        self.rest, self.objects = rest, objects
        self.draw = torch.Generator().manual_seed(seed)
        self.shown = (~objects.held).nonzero()[:, 0]
        with torch.no_grad():
            self.texts = model.encoder.text([phrases[0] for phrases in objects.phrases])
            every = objects.latents.float().flatten(2)
            rest.mean.copy_(every.mean(dim=(0, 1)))
            read = rest.read(self.texts)
            rest.text_mean.copy_(read.mean(dim=0))
            rest.text_deviation.copy_(read.std(dim=0))

    def loss(self) -> Tensor:
        """Of one step."""
        quiet = round(QUIETLY * BATCH)
        still = self._drawn(len(self.objects.quiet), quiet)
        moving = self.shown[self._drawn(len(self.shown), BATCH - quiet)]
        clips = torch.cat([self.objects.quiet[still], moving])
        starts = torch.cat([torch.full_like(still, -1), self.objects.start[moving]])
        order = torch.rand(BATCH, AZIMUTHS, generator=self.draw).argsort(dim=1)
        return self._error(clips, starts, order[:, :SIDES])

    @torch.no_grad()
    def held_out(self) -> dict[str, float]:
        """The error of the clips that are held out, from all sides; {}: none are."""
        clips = self.objects.held.nonzero()[:, 0]
        if not len(clips):
            return {}
        sides = torch.arange(AZIMUTHS).expand(len(clips), -1)
        return {"held_out": float(self._error(clips, self.objects.start[clips], sides))}

    def _drawn(self, below: int, count: int) -> Tensor:
        return torch.randint(below, (count,), generator=self.draw)

    def _error(self, clips: Tensor, starts: Tensor, sides: Tensor) -> Tensor:
        """Of `clips` [B] from some `sides` [B,S] of each."""
        who = self.objects.subject[clips]
        texts = Encoded(self.texts.tokens[who], self.texts.pooled[who])
        with torch.autocast("cpu", dtype=torch.bfloat16):
            made = self.rest(self.objects.azimuths[who[:, None], sides], texts, starts)
        true = self.objects.latents[clips[:, None], sides].float()
        return (made.float().transpose(1, 2) - true).square().mean()


def begin_from(rest: RestRegressor, other: RestRegressor | None) -> None:
    """Give `rest` the weights of `other`, and to each start those of the same one there, if there is. Exits
    if they differ in size."""
    lists: dict[str, Any] = dict.fromkeys(LISTS, ())
    if other is None or replace(rest.config, **lists) != replace(other.config, **lists):
        sys.exit("--further: the model has no regressor of these sizes")
    weights = {
        name: value for name, value in other.state_dict().items() if not name.startswith("start_in")
    }
    rest.load_state_dict(weights, strict=False)
    known = {(one.rig, one.phrases[0]): k for k, one in enumerate(other.config.starts)}
    if rest.start_in is None or other.start_in is None:
        return
    with torch.no_grad():
        for number, one in enumerate(rest.config.starts):
            if (one.rig, one.phrases[0]) in known:
                place = known[one.rig, one.phrases[0]]
                rest.start_in.weight[number] = other.start_in.weight[place]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--glb", type=Path, nargs="+", required=True)
    parser.add_argument("--list", type=Path, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--further", action="store_true")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--blocks", type=int, default=3)
    parser.add_argument("--last", type=int, default=1024)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    opened = open_model(given.model)
    model = opened.load_whole()
    objects = made_of(chosen(given.list), given.glb, opened.path, given.out / OBJECTS, given.jobs)
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
            subjects=objects.phrases,
            rigs=objects.rigs,
            starts=objects.starts,
            poses=poses_of(objects),
            framings=framings_of(objects),
        )
    )
    count = sum(p.numel() for p in rest.parameters())
    print(f"{len(objects.phrases)} objects, {len(objects.starts)} starts, {count:,} parameters")
    training = RestTraining(rest, objects, model, given.seed)
    if given.further:
        begin_from(rest, model.rest)
    train(rest, training, given.minutes, given.lr, given.out / LOG)
    save_rest(rest, given.out)


if __name__ == "__main__":
    main()
