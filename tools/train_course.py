"""Train the regressor of a model's known actions on the training objects of a list.

python -m tools.train_course --glb GLB... --list templates/weights-mini2.csv --model mini-object
    --out COURSE [--minutes 60] [--from COURSE [--mix 0.5]] [--jobs 2] [--width 512] [--blocks 3]

The frames are those of `tools.course_data`, kept in COURSE/frames/ for another run; the model's regressor
of objects at rest says which actions there are. COURSE has the averaged weights and train-course.jsonl;
`tools.ship_object --course COURSE` puts it into the model. `--from`: the weights to begin with; `--mix`:
their share in what is kept.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from orster_cli.diffusion.course_regressor import (
    CourseConfig,
    CourseRegressor,
    load_course,
    save_course,
)
from orster_cli.inputs.models import open_model
from tools.course_data import SHOWN, Frames, made_of
from tools.regression import mix, train
from tools.rest_data import Labels, chosen, labels_of

LOG, FRAMES = "train-course.jsonl", "frames"
BATCH, MOMENTS = 96, 8  # clips of a step, frames of each
ORBIT = 0.35  # share of frames on the clip's own orbit
ROUGH = 0.6  # most noise in what the network is shown, in standard deviations of the latents


class CourseTraining:
    """Steps of mean squared error of latents: every clip as often as another, and every moment. The object
    where it begins is shown with more or less noise: what is shown later is made by a network, or is an
    object that was never seen."""

    def __init__(self, course: CourseRegressor, frames: Frames, labels: Labels, seed: int) -> None:
        self.course, self.frames, self.labels = course, frames, labels
        self.draw = torch.Generator().manual_seed(seed)
        self.shown = (~labels.held).nonzero()[:, 0]
        every = frames.still.float().flatten(3)
        course.mean.copy_(every.mean(dim=(0, 1)).flatten())
        course.deviation.copy_(every.std(dim=(0, 1)).flatten())

    def loss(self) -> Tensor:
        """Of one step."""
        clips = self.shown[self._drawn(len(self.shown), BATCH)]
        moments = self._drawn(len(self.frames.times), BATCH * MOMENTS).unflatten(0, (BATCH, -1))
        places = 1 + self._drawn(SHOWN - 1, moments.numel()).view_as(moments)
        on_orbit = torch.rand(moments.shape, generator=self.draw) < ORBIT
        return self._error(clips, moments, places.masked_fill(on_orbit, 0), ROUGH)[0]

    @torch.no_grad()
    def held_out(self) -> dict[str, float]:
        """The error on the orbits of the clips that are held out, and that of what is shown at rest; {}:
        none are."""
        clips = self.labels.held.nonzero()[:, 0]
        if not len(clips):
            return {}
        moments = torch.arange(len(self.frames.times)).expand(len(clips), -1)
        made, still = self._error(clips, moments, torch.zeros_like(moments), 0.0)
        return {"held_out": float(made), "at_rest": float(still)}

    def _drawn(self, below: int, count: int) -> Tensor:
        return torch.randint(below, (count,), generator=self.draw)

    def _error(
        self, clips: Tensor, moments: Tensor, places: Tensor, rough: float
    ) -> tuple[Tensor, Tensor]:
        """Of `clips` [B] at `moments` [B,T] from the sides at `places` [B,T], and of the object at rest."""
        frames, course = self.frames, self.course
        sides = frames.sides[moments, places]
        still = frames.still[clips[:, None], sides].float().transpose(1, 2)
        true = frames.moving[clips[:, None], moments, places].float().transpose(1, 2)
        shape = still.shape[1], 1, *still.shape[3:]
        scale = course.deviation.view(shape)
        amount = rough * torch.rand(len(still), 1, 1, 1, 1, generator=self.draw)
        noise = amount * torch.randn(still.shape, generator=self.draw)
        azimuths, times = frames.azimuths[clips[:, None], sides], frames.times[moments]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            made = course(still + scale * noise, azimuths, times, self.labels.start[clips])
        return F.mse_loss(made.float(), true), F.mse_loss(still, true)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--glb", type=Path, nargs="+", required=True)
    parser.add_argument("--list", type=Path, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--from", type=Path, dest="begin")
    parser.add_argument("--mix", type=float, default=0.0)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--blocks", type=int, default=3)
    parser.add_argument("--last", type=int, default=640)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    opened = open_model(given.model)
    rest = opened.load_whole().rest
    clips = chosen(given.list)
    labels = labels_of(clips)
    if rest is None or [one.phrases for one in rest.config.starts] != list(labels.phrases):
        sys.exit(f"{given.model}: has no regressor of objects at rest of this list")
    frames = made_of(clips, given.glb, opened.path, given.out / FRAMES, given.jobs)
    channels, side = frames.still.shape[2:4]
    torch.manual_seed(given.seed)
    course = CourseRegressor(
        CourseConfig(
            channels=channels,
            side=side,
            starts=len(labels.phrases),
            width=given.width,
            blocks=given.blocks,
            last=given.last,
        )
    )
    if given.begin is not None:
        course.load_state_dict(load_course(given.begin).state_dict())
    count = sum(p.numel() for p in course.parameters())
    print(
        f"{len(labels.held)} clips, {len(labels.phrases)} starts, {count:,} parameters", flush=True
    )
    training = CourseTraining(course, frames, labels, given.seed)
    train(course, training, given.minutes, given.lr, given.out / LOG)
    if given.begin is not None:
        mix(course, load_course(given.begin), given.mix)
    save_course(course, given.out)


if __name__ == "__main__":
    main()
