"""Train the regressor of a model's objects at rest on the training objects of a list.

python -m tools.train_rest --glb GLB... --list templates/weights-mini2.csv --model mini-object --minutes 60
    --out REST [--from REST] [--jobs 2] [--width 512] [--blocks 3] [--last 1024] [--lr 2e-3]

The pictures are those of `tools.rest_data`, kept in REST/objects/ for another run; the model's encoder
reads the phrases of the list. REST has the averaged weights and train-rest.jsonl; `tools.ship_object
--rest REST` puts it into the model. `--from`: the weights to begin with.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor

from orster_cli.diffusion.bundle import WholeBundle
from orster_cli.diffusion.encoded import Encoded
from orster_cli.diffusion.rest_regressor import RestConfig, RestRegressor, load_rest, save_rest
from orster_cli.inputs.models import open_model
from tools.regression import train
from tools.rest_data import AZIMUTHS, BETWEEN, Objects, chosen, made_of

LOG, OBJECTS = "train-rest.jsonl", "objects"
BATCH, SIDES = 128, 4  # objects of a step, sides of each


class RestTraining:
    """Steps of mean squared error of latents, each text the fullest phrase of its object, and each object
    as often as another."""

    def __init__(
        self, rest: RestRegressor, objects: Objects, model: WholeBundle, seed: int
    ) -> None:
        self.rest, self.objects = rest, objects
        self.draw = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            self.texts = model.encoder.text([phrases[0] for phrases in objects.phrases])
            every = objects.latents.float().flatten(2)
            rest.mean.copy_(every.mean(dim=(0, 1)))
            read = rest.read(self.texts)
            rest.text_mean.copy_(read.mean(dim=0))
            rest.text_deviation.copy_(read.std(dim=0))

    def loss(self) -> Tensor:
        """Of one step."""
        who = torch.randint(len(self.objects.phrases), (BATCH,), generator=self.draw)
        order = torch.rand(BATCH, AZIMUTHS - BETWEEN, generator=self.draw).argsort(dim=1)
        return self._error(who, order[:, :SIDES])

    @torch.no_grad()
    def held_out(self) -> dict[str, float]:
        """The error of all objects from sides between those that are trained on."""
        who = torch.arange(len(self.objects.phrases))
        between = torch.arange(AZIMUTHS - BETWEEN, AZIMUTHS)
        return {"between": float(self._error(who, between.expand(len(who), -1)))}

    def _error(self, who: Tensor, sides: Tensor) -> Tensor:
        """Of the objects `who` [B] from some `sides` [B,S] of each."""
        texts = Encoded(self.texts.tokens[who], self.texts.pooled[who])
        with torch.autocast("cpu", dtype=torch.bfloat16):
            made = self.rest(self.objects.azimuths[who[:, None], sides], texts)
        true = self.objects.latents[who[:, None], sides].float()
        return (made.float().transpose(1, 2) - true).square().mean()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--glb", type=Path, nargs="+", required=True)
    parser.add_argument("--list", type=Path, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--from", type=Path, dest="begin")
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
            done=objects.done,
        )
    )
    count = sum(p.numel() for p in rest.parameters())
    print(f"{len(objects.phrases)} objects, {len(objects.starts)} starts, {count:,} parameters")
    training = RestTraining(rest, objects, model, given.seed)
    if given.begin is not None:
        rest.load_state_dict(load_rest(given.begin).state_dict())
    train(rest, training, given.minutes, given.lr, given.out / LOG)
    save_rest(rest, given.out)


if __name__ == "__main__":
    main()
