"""Train the regressor of a model's known actions on the training objects of a list.

python -m tools.train_course --glb GLB... --list templates/weights-mini2.csv --model mini-object
    --out COURSE [--minutes 45] [--from COURSE] [--jobs 2] [--width 320] [--blocks 6]

The points are those of `tools.course_data`, kept in COURSE/tracks/ for another run; the model's regressor
of objects at rest says which actions there are. COURSE has the averaged weights and train-course.jsonl;
`tools.ship_object --course COURSE` puts it into the model. `--from`: the weights to begin with; of more
blocks than they have the further ones begin as nothing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from orster_cli.diffusion.course_regressor import (
    CourseConfig,
    CourseRegressor,
    Surface,
    load_course,
    outline,
    save_course,
)
from orster_cli.inputs.models import open_model
from tools.course_data import POINTS, Tracks, tracked
from tools.regression import train
from tools.rest_data import Labels, chosen, labels_of

LOG, TRACKS = "train-course.jsonl", "tracks"
BATCH = 24  # clips of a step
PAIRS, SHAPE = 128, 384  # of each: pairs of neighbours, and points of the shape
NEAR = 4  # neighbours of a point
OWN, BIND = 0.5, 0.25  # shares of objects that stand as the action begins, and in their bind pose
STRETCH = 0.15  # deviation of the logarithm of a stretch, at most
ROUGH = 0.005  # deviation of noise, in shares of the object
STILL = 0.03  # root mean square of a motion below which errors count less
APART = 3.0  # weight of what neighbours differ in


class CourseTraining:
    """Steps of squared error of places, in shares of how far the points of the clip go, and of the
    differences between neighbours. An object stands where the action begins, or where another of its
    actions does, or in its bind pose, and is stretched."""

    def __init__(
        self, course: CourseRegressor, tracks: Sequence[Tracks], labels: Labels, seed: int
    ) -> None:
        self.course, self.labels = course, labels
        self.draw = torch.Generator().manual_seed(seed)
        self.shown = (~labels.held).nonzero()[:, 0]
        self.places = torch.cat([one.places for one in tracks])
        self.normals = torch.cat([one.normals for one in tracks])
        counts = [len(one.places) for one in tracks]
        owner = torch.arange(len(tracks)).repeat_interleave(torch.tensor(counts))
        self.bind = torch.stack([one.bind for one in tracks])[owner]
        self.bind_normals = torch.stack([one.bind_normals for one in tracks])[owner]
        first = torch.tensor([0, *counts]).cumsum(0)[owner]
        self.siblings = torch.stack([first, torch.tensor(counts)[owner]])
        begun = [one[0].float() for one in self.places]
        near = [torch.cdist(one, one).topk(NEAR + 1, largest=False).indices for one in begun]
        self.near = torch.stack(near)[..., 1:]

    def loss(self) -> Tensor:
        """Of one step."""
        clips = self.shown[self._drawn(len(self.shown), BATCH)]
        stands = self._stands(clips)
        far, apart = self._errors(clips, *stands, stretch=STRETCH)
        return (far + APART * apart).mean()

    @torch.no_grad()
    def held_out(self) -> dict[str, float]:
        """The error of clips that are held out, from where they begin and from the bind pose, in shares of
        how far they go; {}: none are."""
        clips = self.labels.held.nonzero()[:, 0]
        if not len(clips):
            return {}
        begun = self._errors(clips, self.places[clips, 0], self.normals[clips])
        bound = self._errors(clips, self.bind[clips], self.bind_normals[clips])
        return {
            "held_out": float(begun[0].mean()),
            "from_bind": float(bound[0].mean()),
        }

    def _drawn(self, below: int, *shape: int) -> Tensor:
        return torch.randint(below, shape, generator=self.draw)

    def _stands(self, clips: Tensor) -> tuple[Tensor, Tensor]:
        """Places and normals [B,P,3] of the objects of `clips` [B] in the pose that is shown."""
        first, count = self.siblings[:, clips]
        kind = torch.rand(len(clips), generator=self.draw)
        other = first + (torch.rand(len(clips), generator=self.draw) * count).long()
        shown = torch.where(kind < OWN, clips, other)
        bind = (kind > 1 - BIND)[:, None, None]
        places = torch.where(bind, self.bind[clips], self.places[shown, 0])
        return places, torch.where(bind, self.bind_normals[clips], self.normals[shown])

    def _errors(
        self, clips: Tensor, places: Tensor, normals: Tensor, stretch: float = 0.0
    ) -> tuple[Tensor, Tensor]:
        """Of `clips` [B], each: of places, and of neighbours' differences."""
        row = clips[:, None]
        one = self._drawn(POINTS, len(clips), PAIRS)
        other = self.near[row, one, self._drawn(NEAR, len(clips), PAIRS)]
        moved = torch.cat([one, other], dim=1)
        seen = self._drawn(POINTS, len(clips), SHAPE)
        here = torch.arange(len(clips))[:, None]
        true = self.places[row, :, moved].float() - places[here, moved].float()[:, :, None]
        true = true.transpose(1, 2)
        most = stretch * torch.rand(len(clips), 1, 1, generator=self.draw)
        scale = torch.exp(most * torch.randn(len(clips), 1, 3, generator=self.draw))
        rough = ROUGH if stretch else 0.0
        shape, points = (
            Surface(
                self._rough(places[here, some] * scale, rough), _turned(normals[here, some], scale)
            )
            for some in (seen, moved)
        )
        true = true * scale[:, None]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            made = self.course(self.course.see(shape), points, self.labels.start[clips])
        error = made.float() - true
        size = true.square().sum(-1).mean((1, 2)) + STILL**2
        far = error.square().sum(-1).mean((1, 2)) / size
        pairs = error[:, :, :PAIRS] - error[:, :, PAIRS:]
        apart = pairs.square().sum(-1).mean((1, 2)) / size
        return far, apart

    def _rough(self, places: Tensor, rough: float) -> Tensor:
        return places + rough * torch.randn(places.shape, generator=self.draw)


@torch.no_grad()
def begin_with(course: CourseRegressor, before: CourseRegressor) -> None:
    """Give `course` the weights of `before`, which may have fewer blocks: further ones change nothing."""
    blocks = len(before.blocks)
    course.load_state_dict(before.state_dict(), strict=len(course.blocks) <= blocks)
    for block in course.blocks[blocks:]:
        block.out.weight.zero_()
        block.out.bias.zero_()


def shapes_of(tracks: Sequence[Tracks], labels: Labels, points: int) -> Tensor:
    """[K,3S] the known shapes (`CourseRegressor`), of so many `points` each."""
    found, row = [], 0
    for one in tracks:
        rows = torch.arange(row, row + len(one.places))
        begun = {int(labels.start[k]): k - row for k in rows.tolist() if not labels.held[k]}
        poses = [one.bind, *(one.places[begun[start], 0] for start in sorted(begun))]
        places = torch.stack(poses).float()
        found.append(outline(Surface(places, places), points).flatten(1))
        row += len(one.places)
    return torch.cat(found)


@torch.no_grad()
def features_of(course: CourseRegressor, tracks: Sequence[Tracks]) -> Tensor:
    """[N,W] what `course` sees of the bind poses."""
    binds = [Surface(one.bind[None].float(), one.bind_normals[None].float()) for one in tracks]
    return torch.cat([course.see(one).features for one in binds])


def _turned(normals: Tensor, scale: Tensor) -> Tensor:
    """Unit `normals` [B,N,3] of a surface that is stretched by `scale` [B,1,3]."""
    return F.normalize(normals.float() / scale, dim=-1)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--glb", type=Path, nargs="+", required=True)
    parser.add_argument("--list", type=Path, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--from", type=Path, dest="begin")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=45.0)
    parser.add_argument("--width", type=int, default=CourseConfig.width)
    parser.add_argument("--blocks", type=int, default=CourseConfig.blocks)
    parser.add_argument("--lr", type=float, default=1.5e-3)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rest = open_model(given.model).load().rest  # its own course may be that of another one
    clips = chosen(given.list)
    labels = labels_of(clips)
    if rest is None or [one.phrases for one in rest.config.starts] != list(labels.phrases):
        sys.exit(f"{given.model}: has no regressor of objects at rest of this list")
    tracks = tracked(clips, given.glb, given.out / TRACKS, given.jobs)
    torch.manual_seed(given.seed)
    shapes = shapes_of(tracks, labels, CourseConfig.points)
    config = CourseConfig(
        starts=len(labels.phrases),
        known=len(shapes),
        subjects=len(tracks),
        width=given.width,
        blocks=given.blocks,
    )
    course = CourseRegressor(config)
    if given.begin is not None:
        begin_with(course, load_course(given.begin))
    count = sum(p.numel() for p in course.parameters())
    print(
        f"{len(labels.held)} clips, {len(labels.phrases)} starts, {count:,} parameters", flush=True
    )
    training = CourseTraining(course, tracks, labels, given.seed)
    train(course, training, given.minutes, given.lr, given.out / LOG)
    course.known_shapes.copy_(shapes)
    course.known_features.copy_(features_of(course, tracks))
    save_course(course, given.out)


if __name__ == "__main__":
    main()
