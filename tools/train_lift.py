"""Train the network that lifts a picture to a shape, on files of `tools.lift_data`.

python -m tools.train_lift --data FOLDER --val FOLDER --minutes 60 --out LIFT [--batch 24] [--lr 2e-3]
    [--widths 64,128,192] [--poses 12] [--from LIFT [--mix 0.5]] [--resume]

OUT has the averaged weights, train-lift.jsonl and, for --resume, the state of the training; `--from`: the
weights to begin with and their widths, as the folder lift/ of a model; `--mix`: their share in what is
kept (WiSE-FT, Wortsman et al. 2022), which may serve pictures of other objects better. Points of a
picture's frustum are read from the volumes; a step draws pictures, their mirror images, other sizes,
places and colours. B pictures, D bins, s points a side.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from orster_cli.diffusion.lift_net import LiftConfig, LiftNet, bin_depths, load_lift, save_lift
from orster_cli.geometry.orbit import FOV_DEG, RADIUS, camera_positions, look_at
from orster_cli.training.ema import Ema
from orster_cli.training.muon import Muon
from tools.lift_data import HALF, REACH
from tools.regression import mix

LOG, STATE = "train-lift.jsonl", "state.pt"
LOG_EVERY, KEEP_EVERY = 100, 500
SEEN = 0.05  # opacity of a ray that is looked at
SOFT = 0.010  # world units in which a point goes from outside to inside
SIZES, MOVED = (0.80, 1.15), 0.06  # of a picture: factors, and the share of its side
COLOR_WEIGHT = 2.0
FRONTS = 0.25  # share of pictures, beside those among the others
Batch = tuple[Tensor, Tensor, Tensor, Tensor]


class Volumes:
    """All objects of a folder, in memory. `views`: (object, pose, view)."""

    def __init__(self, folder: Path, poses: int) -> None:
        self.objects = [torch.load(path, weights_only=True) for path in sorted(folder.glob("*.pt"))]
        self.views = [
            (number, pose, view)
            for number, one in enumerate(self.objects)
            for pose in range(min(poses, len(one["rgba"])))
            for view in range(one["rgba"].shape[1])
        ]
        self.fronts = [
            number
            for number, (which, pose, view) in enumerate(self.views)
            if not float(self.objects[which]["azimuth"][pose, view])
        ]


class Draws:
    """Batches of pictures, the shares [B,D,s,s] of points inside, colours [B,3,s,s] of the far side, and
    which rays [B,s,s] meet the object."""

    def __init__(self, volumes: Volumes, config: LiftConfig, seed: int, *, widened: bool) -> None:
        self.volumes, self.config, self.widened = volumes, config, widened
        self.draw = torch.Generator().manual_seed(seed)
        side = config.side // 2
        axis = (torch.arange(side) + 0.5) / side * 2 - 1
        self.v, self.u = torch.meshgrid(axis, axis, indexing="ij")
        self.depths = bin_depths(config, RADIUS)

    def batch(self, count: int) -> Batch:
        """Drawn pictures, `FRONTS` of them from the front, which shows least of what lies behind."""
        many = round(FRONTS * count)
        every, fronts = len(self.volumes.views), self.volumes.fronts
        which = torch.randint(every, (count - many,), generator=self.draw).tolist()
        front = torch.randint(len(fronts), (many,), generator=self.draw).tolist()
        return self.of([*which, *(fronts[number] for number in front)])

    def every(self, count: int) -> Iterator[Batch]:
        """Each picture once."""
        numbers = list(range(len(self.volumes.views)))
        for start in range(0, len(numbers), count):
            yield self.of(numbers[start : start + count])

    def of(self, numbers: list[int]) -> Batch:
        parts = zip(*(self._one(number) for number in numbers), strict=True)
        return tuple(torch.stack(part) for part in parts)  # type: ignore[return-value]

    def _one(self, number: int) -> tuple[Tensor, ...]:
        which, pose, view = self.volumes.views[number]
        one = self.volumes.objects[which]
        rgba = one["rgba"][pose, view].float() / 255
        size, right, down, mirrored = 1.0, 0.0, 0.0, False
        if self.widened:
            draws = torch.rand(4, generator=self.draw).tolist()
            size = SIZES[0] + (SIZES[1] - SIZES[0]) * draws[0]
            right, down = (MOVED * 2 * (one - 0.5) * 2 for one in draws[1:3])
            mirrored = draws[3] < 0.5
            theta = torch.tensor([[1 / size, 0.0, -right / size], [0.0, 1 / size, -down / size]])
            grid = F.affine_grid(theta[None], [1, 4, *rgba.shape[1:]], align_corners=False)
            whole = torch.cat([rgba[:3] * rgba[3:], rgba[3:]])[None]
            moved = F.grid_sample(whole, grid, align_corners=False)[0]
            rgba = torch.cat([moved[:3] / moved[3:].clamp_min(1e-3), moved[3:]]).clamp(0, 1)
        rays = F.avg_pool2d(rgba[None, 3:], 2)[0, 0] > SEEN
        points = self._points(one, pose, view, (size, right, down), rays)
        volume = one["distance"][pose].float()[None, None] / 127
        distance = F.grid_sample(volume, points, padding_mode="border", align_corners=True)
        distance = torch.where(points.abs().amax(dim=-1) > 1, 1.0, distance[0, 0, 0])
        inside, far, there = (
            torch.zeros(len(self.depths), *rays.shape),
            torch.zeros(3, *rays.shape),
            rays.clone(),
        )
        inside[:, rays] = torch.sigmoid(-distance[0, 0] * REACH / SOFT)
        there[rays] = (distance[0, 0] < 0).any(dim=0)
        far[:, rays] = self._far_side(one, pose, points, distance[0, 0])
        if self.widened:
            rgba, far = self._recolored(rgba, far)
        if mirrored:
            return rgba.flip(-1), inside.flip(-1), far.flip(-1), there.flip(-1)
        return rgba, inside, far, there

    def _points(
        self,
        one: dict[str, Tensor],
        pose: int,
        view: int,
        moved: tuple[float, float, float],
        rays: Tensor,
    ) -> Tensor:
        """[1,1,D,R,3] places in the volume, from -1 to 1, of the points of R `rays` [s,s] of a picture that
        was scaled and moved right and down."""
        size, right, down = moved
        azimuth, elevation = (one[name][pose, view : view + 1] for name in ("azimuth", "elevation"))
        c2w = torch.linalg.inv(look_at(camera_positions(azimuth, elevation, RADIUS)))[0].float()
        wide = math.tan(math.radians(FOV_DEG / 2))
        x, y = (self.u[rays] - right) / size * wide, (self.v[rays] - down) / size * wide
        z = (RADIUS + (self.depths - RADIUS) / size)[:, None]
        camera = torch.stack([x * z, y * z, z.expand(-1, len(x))], dim=-1)
        world = camera @ c2w[:3, :3].T + c2w[:3, 3]
        return (world / HALF)[None, None]

    def _far_side(
        self, one: dict[str, Tensor], pose: int, points: Tensor, distance: Tensor
    ) -> Tensor:
        """Colours [3,R] where rays leave the object for the last time, of distances [D,R] of their
        points."""
        inside = distance < 0
        last = len(inside) - 1 - inside.flip(0).int().argmax(dim=0)
        place = points[0, 0].gather(0, last[None, :, None].expand(1, -1, 3))
        color = one["color"][pose].float()[None] / 255
        found = F.grid_sample(color, place[None, None], padding_mode="border", align_corners=True)
        return found[0, :, 0, 0]

    def _recolored(self, rgba: Tensor, far: Tensor) -> tuple[Tensor, Tensor]:
        """Other colours, the same for both sides; sometimes a little noise."""
        order = torch.randperm(3, generator=self.draw)
        if float(torch.rand((), generator=self.draw)) < 0.5:
            order = torch.arange(3)
        gain = 0.75 + 0.5 * torch.rand(3, generator=self.draw)
        gamma = 0.75 + 0.5 * float(torch.rand((), generator=self.draw))

        def of(x: Tensor) -> Tensor:
            return (x[order].clamp(0, 1) ** gamma * gain[:, None, None]).clamp(0, 1)

        color = of(rgba[:3])
        if float(torch.rand((), generator=self.draw)) < 0.3:
            color = (color + 0.03 * torch.randn(color.shape, generator=self.draw)).clamp(0, 1)
        return torch.cat([color, rgba[3:]]), of(far)


def losses(lift: LiftNet, batch: Batch) -> tuple[Tensor, Tensor]:
    """Cross-entropy of the points of rays that meet the object, and the far side's absolute error."""
    rgba, inside, far, there = batch
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits, colors = lift(rgba)
    apart = F.binary_cross_entropy_with_logits(
        logits.float().movedim(1, -1)[there], inside.movedim(1, -1)[there]
    )
    aside = (colors.float() - far).abs().movedim(1, -1)[there].mean()
    return apart, aside


@torch.no_grad()
def validated(lift: LiftNet, draws: Draws) -> dict[str, float]:
    """Mean losses of all pictures, and the overlap (IoU) of points inside."""
    rows = []
    for batch in draws.every(16):
        shape, color = losses(lift, batch)
        rgba, inside, _, there = batch
        found = (lift(rgba)[0] > 0) & there[:, None]
        true = (inside > 0.5) & there[:, None]
        both, either = (found & true).sum().float(), (found | true).sum().float()
        rows.append((float(shape), float(color), float(both / either)))
    means = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
    return dict(zip(("val_shape", "val_color", "val_iou"), means, strict=True))


def train(lift: LiftNet, draws: Draws, val: Draws, given: argparse.Namespace, out: Path) -> None:
    """For so many minutes, the rate falling to 0; `lift` ends with the averaged weights."""
    matrices = [p for p in lift.parameters() if p.ndim > 1]
    others = [p for p in lift.parameters() if p.ndim < 2]
    optimizer = Muon(matrices, others, lr=given.lr, weight_decay=0.02)
    ema, step, spent, losses_of = Ema(lift, 0.999), 0, 0.0, []
    if given.resume and (out / STATE).is_file():
        state = torch.load(out / STATE, weights_only=True)
        lift.load_state_dict(state["lift"])
        optimizer.load_state_dict(state["optimizer"])
        ema.load(state["ema"])
        step, spent = state["step"], state["spent"]
        draws.draw.manual_seed(step)
    began = time.monotonic() - spent
    with (
        (out / LOG).open("a" if step else "w", encoding="utf-8") as log,
        ThreadPoolExecutor(1) as pool,
    ):
        drawn = pool.submit(draws.batch, given.batch)  # beside the step before it
        while (share := (time.monotonic() - began) / (60 * given.minutes)) < 1:
            rate = given.lr * min(1.0, step / 100) * (0.5 + 0.5 * math.cos(math.pi * share))
            for group in optimizer.param_groups:
                group["lr"] = rate
            batch, drawn = drawn.result(), pool.submit(draws.batch, given.batch)
            shape, color = losses(lift, batch)
            optimizer.zero_grad()
            (shape + COLOR_WEIGHT * color).backward()
            torch.nn.utils.clip_grad_norm_(lift.parameters(), 1.0)
            optimizer.step()
            ema.update(lift, step)
            step += 1
            losses_of.append((float(shape.detach()), float(color.detach())))
            if step % LOG_EVERY:
                continue
            means = [sum(x) / LOG_EVERY for x in zip(*losses_of[-LOG_EVERY:], strict=True)]
            row = {"step": step, "shape": means[0], "color": means[1], "lr": rate}
            row["seconds"] = time.monotonic() - began
            if step % KEEP_EVERY == 0:
                state = {"lift": lift.state_dict(), "optimizer": optimizer.state_dict()}
                state |= {"ema": ema.values, "step": step, "spent": row["seconds"]}
                torch.save(state, out / STATE)
                with ema.swapped(lift):
                    row |= validated(lift, val)
            print(json.dumps(row), file=log, flush=True)
            print(json.dumps(row), flush=True)
    ema.copy_to(lift)
    lift.eval()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--val", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--batch", type=int, default=24)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--widths", default="64,128,192")
    parser.add_argument("--poses", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--from", type=Path, dest="begin")
    parser.add_argument("--mix", type=float, default=0.0)
    parser.add_argument("--resume", action="store_true")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(given.seed)
    config = LiftConfig(widths=tuple(int(width) for width in given.widths.split(",")))
    lift = LiftNet(config) if given.begin is None else load_lift(given.begin).train()
    print(f"{sum(p.numel() for p in lift.parameters()):,} parameters", flush=True)
    draws = Draws(Volumes(given.data, given.poses), lift.config, given.seed, widened=True)
    val = Draws(Volumes(given.val, 1), lift.config, 0, widened=False)
    print(f"{len(draws.volumes.objects)} objects, {len(draws.volumes.views)} pictures", flush=True)
    train(lift, draws, val, given, given.out)
    if given.begin is not None:
        mix(lift, load_lift(given.begin), given.mix)
    print(json.dumps(validated(lift, val)), flush=True)
    save_lift(lift, given.out)


if __name__ == "__main__":
    main()
