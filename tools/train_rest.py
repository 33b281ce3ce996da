"""Train the regressor of a model's objects at rest on the training objects of a list.

python -m tools.train_rest --glb GLB... --list templates/weights-mini2.csv --model mini-object --minutes 60
    --out REST [--from REST] [--jobs 2] [--channels 8] [--side 32] [--hidden 64] [--lr 5e-3]

The places are those of `tools.rest_data`, kept in REST/objects/ for another run; the model's encoder reads
the phrases of the list. REST has the weights and train-rest.jsonl; `tools.ship_object --rest REST` puts
them into the model. `--from`: the weights to begin with.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections import defaultdict
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from orster_cli.diffusion.bundle import WholeBundle
from orster_cli.diffusion.rest_regressor import (
    UNIT,
    RestConfig,
    RestRegressor,
    load_rest,
    read_of,
    save_rest,
)
from orster_cli.inputs.models import open_model
from tools.rest_data import Objects, chosen, made_of

LOG, OBJECTS = "train-rest.jsonl", "objects"
BATCH, PLACES = 8, 3072  # objects of a step, and places of each
HELD = 2048  # places of each object that are not trained on
SURFACE, MARGIN = 0.01, 0.03  # world units: of places by the surface, and around their box
COLORED = 0.01  # world units from the surface within which colours count
COLOR = 0.5  # weight of their squared error
FIELD_LR = 2e-3
HOLDS = 0.3  # share of the time before the rates begin to fall
LOG_EVERY = 500  # steps
TEXT_STEPS, TEXT_LR, ROUGH = 600, 2e-3, 0.1  # of the texts; deviation of noise on their features


class RestTraining:
    """Steps of squared error of distances, of which the far ones are all alike, and of colours near the
    surface."""

    def __init__(self, rest: RestRegressor, objects: Objects, lr: float, seed: int) -> None:
        self.rest, self.objects, self.lr = rest, objects, lr
        self.draw = torch.Generator().manual_seed(seed)
        self.count = len(objects.phrases)
        rest.boxes.copy_(boxes_of(objects))
        self.planes = torch.nn.Embedding.from_pretrained(
            rest.table.detach().view(self.count, -1).clone(), freeze=False, sparse=True
        )
        self.optimizers = (
            torch.optim.SparseAdam(self.planes.parameters(), lr=lr, betas=(0.9, 0.99)),
            torch.optim.Adam(rest.field.parameters(), lr=FIELD_LR, betas=(0.9, 0.99)),
        )
        self.left: list[int] = []

    def step(self, share: float) -> float:
        """One, when this `share` of the time has passed; its loss."""
        falls = max(share - HOLDS, 0) / (1 - HOLDS)
        for optimizer, lr in zip(self.optimizers, (self.lr, FIELD_LR), strict=True):
            for group in optimizer.param_groups:
                group["lr"] = lr * (0.5 + 0.5 * math.cos(math.pi * falls))
        if len(self.left) < min(BATCH, self.count):
            self.left = torch.randperm(self.count, generator=self.draw).tolist()
        who = torch.tensor([self.left.pop() for _ in range(min(BATCH, self.count))])
        most = self.objects.places.shape[1] - HELD
        some = torch.randint(most, (len(who), PLACES), generator=self.draw)
        far, color = self._errors(who, some)
        loss = far + COLOR * color
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        loss.backward()
        for optimizer in self.optimizers:
            optimizer.step()
        return float(loss.detach())

    @torch.no_grad()
    def held_out(self) -> dict[str, float]:
        """The errors of all objects at places that are not trained on."""
        some = self.objects.places.shape[1] - HELD + torch.arange(HELD)
        every = torch.arange(self.count).split(BATCH)
        errors = [torch.stack(self._errors(who, some.expand(len(who), -1))) for who in every]
        far, color = torch.stack(errors).mean(dim=0).tolist()
        return {"distance": far, "color": color}

    def finish(self) -> None:
        """Give the planes to the network."""
        with torch.no_grad():
            self.rest.table.copy_(self.planes.weight.view_as(self.rest.table))

    def _errors(self, who: Tensor, some: Tensor) -> tuple[Tensor, Tensor]:
        """Of distances and of colours, of the objects `who` [B] at some places [B,P] of each."""
        row, objects = who[:, None], self.objects
        made = self.rest.within(self.planes(who), self.rest.boxes.view(-1, 6)[who])
        far, colors = self.rest.at(made, objects.places[row, some].float())
        true = objects.distances[row, some].float() / UNIT
        near = (-objects.off[row, some].float() / COLORED).exp()
        wrong = (colors - objects.colors[row, some].float() / 255).square().sum(dim=-1)
        return (far.tanh() - true.tanh()).square().mean(), (near * wrong).mean()


def boxes_of(objects: Objects) -> Tensor:
    """[6 N] the corners of the boxes around them, as they are kept (`io.whole_numbers`)."""
    found = []
    for places, off in zip(objects.places, objects.off, strict=True):
        near = places[off < SURFACE].float()
        found.append(torch.cat([near.amin(dim=0) - MARGIN, near.amax(dim=0) + MARGIN]))
    return torch.cat(found).half().float()


def train(training: RestTraining, minutes: float, log: Path) -> None:
    """For so many `minutes`; the file `log` gets the errors."""
    began, step, losses = time.monotonic(), 0, []
    with log.open("w", encoding="utf-8") as file:
        while (share := (time.monotonic() - began) / (60 * minutes)) < 1:
            losses.append(training.step(share))
            step += 1
            if step % LOG_EVERY == 0:
                row = {"step": step, "loss": sum(losses[-LOG_EVERY:]) / LOG_EVERY}
                row |= {"seconds": time.monotonic() - began, **training.held_out()}
                print(json.dumps(row), file=file, flush=True)
                print(json.dumps(row), flush=True)
                training.finish()
    training.finish()


def train_texts(rest: RestRegressor, model: WholeBundle, seed: int) -> float:
    """Which subjects each phrase names; the cross entropy at the end, less that of the truth."""
    names = defaultdict(set)
    for number, phrases in enumerate(rest.config.subjects):
        for phrase in phrases:
            names[phrase].add(number)
        names[phrases[0]] = {number}
    with torch.no_grad():
        read = read_of(model.encoder.text(list(names)))
        rest.text_mean.copy_(read.mean(dim=0))
        rest.text_deviation.copy_(read.std(dim=0).clamp_min(1e-6))
    whitened = (read - rest.text_mean) / rest.text_deviation
    true = torch.zeros(len(names), len(rest.config.subjects))
    for row, some in zip(true, names.values(), strict=True):
        row[list(some)] = 1 / len(some)
    parameters = [*rest.text_in.parameters(), *rest.text_out.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=TEXT_LR)
    draw = torch.Generator().manual_seed(seed)
    for _ in range(TEXT_STEPS):
        noise = ROUGH * torch.randn(whitened.shape, generator=draw)
        loss = F.cross_entropy(rest.named(whitened + noise), true)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return float(loss.detach() + torch.special.xlogy(true, true).sum(dim=1).mean())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--glb", type=Path, nargs="+", required=True)
    parser.add_argument("--list", type=Path, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--from", type=Path, dest="begin")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--channels", type=int, default=RestConfig.channels)
    parser.add_argument("--side", type=int, default=RestConfig.side)
    parser.add_argument("--hidden", type=int, default=RestConfig.hidden)
    parser.add_argument("--lr", type=float, default=5e-3)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    model = open_model(given.model).load_whole()
    objects = made_of(chosen(given.list), given.glb, given.out / OBJECTS, given.jobs)
    torch.manual_seed(given.seed)
    rest = RestRegressor(
        RestConfig(
            text=model.encoder.text_width,
            pooled=model.encoder.pooled_width,
            channels=given.channels,
            side=given.side,
            hidden=given.hidden,
            subjects=objects.phrases,
            rigs=objects.rigs,
            starts=objects.starts,
            done=objects.done,
        )
    )
    if given.begin is not None:
        rest.load_state_dict(load_rest(given.begin).state_dict())
    count = sum(p.numel() for p in rest.parameters())
    print(f"{len(objects.phrases)} objects, {len(objects.starts)} starts, {count:,} parameters")
    train(RestTraining(rest, objects, given.lr, given.seed), given.minutes, given.out / LOG)
    print(f"texts: {train_texts(rest, model, given.seed):.4f}")
    save_rest(rest, given.out)


if __name__ == "__main__":
    main()
