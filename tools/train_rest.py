"""Train the regressor of a model's objects at rest on the training objects of a list.

python -m tools.train_rest --glb GLB... --list templates/weights-mini2.csv --model mini-object --minutes 60
    --out REST [--further] [--jobs 2] [--width 512] [--blocks 3] [--last 1024] [--lr 2e-3]

Each object is posed where each of its animations begins, placed by that pose as a given object is, and
rendered from AZIMUTHS sides, the first another one for each object; the model's frame VAE makes latents of
them and its encoder reads the phrases of the list. REST has the averaged weights and train-rest.jsonl;
`tools.ship_object --rest REST` puts it into the model. REST/objects/ keeps the latents for another run;
`--further`: from the weights that the model has. N clips, S subjects, A sides, C latent channels, h w
latent pixels.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import torch
from torch import Tensor

from orster_cli.config.prepare import PrepareConfig
from orster_cli.core.seeding import derive_seed
from orster_cli.dataset.views import framing_of, normalize_object, normalize_pose, render_view
from orster_cli.diffusion.bundle import WholeBundle
from orster_cli.diffusion.encoded import Encoded
from orster_cli.diffusion.rest_regressor import RestConfig, RestRegressor, save_rest
from orster_cli.diffusion.starts import Start
from orster_cli.geometry.orbit import orbit_azimuths, orbit_cameras
from orster_cli.gltf.load import load_gltf
from orster_cli.inputs.models import open_model
from orster_cli.training.ema import Ema
from tools.clip_lists import Row, file_of, pack_of, rows_of

AZIMUTHS = 32
SPLITS = ("train", "pair")  # of a list: what is trained on, and pairs that are held out
QUIET = ("standing", "idle", "breathing", "floating", "hovering", "swimming", "flying", "walking")
LOG, OBJECTS = "train-rest.jsonl", "objects"
LOG_EVERY = 250
BATCH, SIDES = 128, 4  # poses of a step, sides of each
QUIETLY = 0.35  # share of a batch


@dataclass(frozen=True)
class Objects:
    """Of N clips of S subjects: `latents` [N,A,C,h,w] of the object in the pose in which each begins;
    `subject`, `start` [N]: their numbers; `held` [N]: not trained on; `first`: of each subject the azimuth
    [S] of the first side, in degrees; `quiet` [S]: the clip in which it is most likely at rest; `phrases`
    and `rigs`; `starts`."""

    latents: Tensor
    first: Tensor
    subject: Tensor
    start: Tensor
    held: Tensor
    quiet: Tensor
    phrases: tuple[tuple[str, ...], ...]
    rigs: tuple[int, ...]
    starts: tuple[Start, ...]


def quietest(rows: Sequence[Row]) -> Row:
    """The animation of one object in whose first moment it is most likely at rest."""

    def loudness(row: Row) -> tuple[int, int]:
        found = [number for number, word in enumerate(QUIET) if word in row["what"]]
        return min(found, default=len(QUIET)), int(row["clip"])

    return min(rows, key=loudness)


def chosen(clips: Path) -> dict[str, list[Row]]:
    """The clips of each training object of the list `clips`, also those that are held out."""
    by_file = defaultdict(list)
    for row in rows_of(clips):
        if row["split"] in SPLITS:
            by_file[row["file"]].append(row)
    return dict(by_file)


@cache
def _loaded(model: Path) -> WholeBundle:
    """Once a process."""
    torch.set_num_threads(1)
    return open_model(model).load_whole()


def first_of(file: str) -> float:
    """The azimuth of the first side of an object, in degrees: what is learned of one angle must hold for
    those between."""
    return derive_seed("azimuth", file) / 2**63 * 360 / AZIMUTHS


@torch.no_grad()
def encode(path: Path, rows: Sequence[Row], model: Path, out: Path) -> None:
    """Into the file `out`, if it is not there: `latents` [K,A,C,h,w] of one object where each of its K
    clips begins, placed by that pose alone, and the clips' `framings` [K,4] (`starts.Start`)."""
    if out.is_file():
        return
    cfg, bundle = PrepareConfig(), _loaded(model)
    side = bundle.facts.resolution
    azimuths = orbit_azimuths(AZIMUTHS, start=first_of(path.name))
    cameras = orbit_cameras(azimuths, width=side, height=side)
    scene = load_gltf(path)
    latents, framings = [], []
    for clip in (int(row["clip"]) for row in rows):
        posed = normalize_pose(scene, clip, cfg)
        frames = render_view(posed, cameras, torch.zeros(AZIMUTHS), cfg, None).over()
        latents.append(bundle.vae.encode(frames).half())
        far, *point = framing_of(normalize_object(scene, clip, cfg), cfg)
        framings.append(torch.tensor([math.log(far), *point]))
    draft = out.with_suffix(".tmp")
    torch.save({"latents": torch.stack(latents), "framings": torch.stack(framings)}, draft)
    draft.replace(out)


def made_of(
    clips: dict[str, list[Row]], folders: Sequence[Path], model: Path, out: Path, jobs: int
) -> Objects:
    """The objects of all `clips`, rendered and encoded by `jobs` processes into the folder `out`."""
    out.mkdir(parents=True, exist_ok=True)
    kept = [out / f"{file}.pt" for file in clips]
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        paths = [file_of(folders, file) for file in clips]
        for _ in pool.map(encode, paths, clips.values(), [model] * len(clips), kept):
            pass
    made = [torch.load(path, weights_only=True) for path in kept]
    return gathered(clips, [(one["latents"], one["framings"]) for one in made])


def gathered(clips: dict[str, list[Row]], made: Sequence[tuple[Tensor, Tensor]]) -> Objects:
    """Of the `clips` of each file, and what `encode` kept of it. An action of a pack is a start."""
    rows = [row for some in clips.values() for row in some]
    framings = torch.cat([framing for _, framing in made])
    held = torch.tensor([row["use"] != "1" for row in rows])
    packs = sorted({pack_of(file) for file in clips})
    key = [(packs.index(pack_of(row["file"])), row["what"].split("|")[0]) for row in rows]
    keys = sorted({one for one, out in zip(key, held.tolist(), strict=True) if not out})
    starts = []
    for one in keys:
        mine = [k for k, row in enumerate(rows) if key[k] == one and row["use"] == "1"]
        phrases = dict.fromkeys(phrase for k in mine for phrase in rows[k]["what"].split("|"))
        framing = tuple(round(float(n), 4) for n in framings[mine].mean(dim=0))
        starts.append(Start(one[0], tuple(phrases), framing))
    numbers = {id(row): number for number, row in enumerate(rows)}
    kept = [[row for row in some if row["use"] == "1"] for some in clips.values()]
    return Objects(
        latents=torch.cat([latents for latents, _ in made]),
        first=torch.tensor([first_of(file) for file in clips]),
        subject=torch.tensor([k for k, some in enumerate(clips.values()) for _ in some]),
        start=torch.tensor([keys.index(one) for one in key]),
        held=held,
        quiet=torch.tensor([numbers[id(quietest(some))] for some in kept]),
        phrases=tuple(phrases_of(some[0]) for some in kept),
        rigs=tuple(packs.index(pack_of(file)) for file in clips),
        starts=tuple(starts),
    )


def poses_of(objects: Objects) -> tuple[tuple[int, ...], ...]:
    """Of each subject, for each start of its rig in their order, the start of a clip of its own that looks
    most as that start does on the objects that are known in both; itself, where the subject is."""
    seen = objects.latents[:, ::4].float().flatten(1)
    clips: dict[int, dict[int, int]] = defaultdict(dict)  # of each subject those of its starts
    for number in (~objects.held).nonzero()[:, 0].tolist():
        clips[int(objects.subject[number])].setdefault(int(objects.start[number]), number)
    apart = defaultdict(list)
    for mine in clips.values():
        for start, number in mine.items():
            errors = (seen[list(mine.values())] - seen[number]).square().mean(dim=1)
            for other, error in zip(mine, errors.tolist(), strict=True):
                apart[start, other].append(error)
    unlike = {pair: sum(errors) / len(errors) for pair, errors in apart.items()}

    def shown(mine: dict[int, int], start: int) -> int:
        if start in mine:
            return start
        known = [(unlike[start, other], other) for other in mine if (start, other) in unlike]
        return min(known, default=(0.0, -1))[1]

    return tuple(
        tuple(shown(clips[who], k) for k, one in enumerate(objects.starts) if one.rig == rig)
        for who, rig in enumerate(objects.rigs)
    )


def phrases_of(row: Row) -> tuple[str, ...]:
    """Of its object, the fullest first."""
    return tuple(sorted(row["who"].split("|"), key=len, reverse=True))


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
            rest.deviation.copy_(every.std(dim=(0, 1)).clamp_min(0.05))
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
    def held_out(self) -> float:
        """The error of the clips that are held out, from all sides."""
        clips = self.objects.held.nonzero()[:, 0]
        sides = torch.arange(AZIMUTHS).expand(len(clips), -1)
        return float(self._error(clips, self.objects.start[clips], sides))

    def _drawn(self, below: int, count: int) -> Tensor:
        return torch.randint(below, (count,), generator=self.draw)

    def _error(self, clips: Tensor, starts: Tensor, sides: Tensor) -> Tensor:
        """Of `clips` [B] from some `sides` [B,S] of each."""
        who = self.objects.subject[clips]
        texts = Encoded(self.texts.tokens[who], self.texts.pooled[who])
        with torch.autocast("cpu", dtype=torch.bfloat16):
            azimuths = self.objects.first[who][:, None] + sides * (360 / AZIMUTHS)
            made = self.rest(azimuths, texts, starts)
        true = self.objects.latents[clips[:, None], sides].float()
        return (made.float().transpose(1, 2) - true).square().mean()


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
                if training.objects.held.any():
                    row["held_out"] = training.held_out()
                print(json.dumps(row), file=file, flush=True)
                print(json.dumps(row), flush=True)
    ema.copy_to(rest)
    rest.eval()


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
        )
    )
    count = sum(p.numel() for p in rest.parameters())
    print(f"{len(objects.phrases)} objects, {len(objects.starts)} starts, {count:,} parameters")
    training = RestTraining(rest, objects, model, given.seed)
    if given.further:
        assert model.rest is not None
        rest.load_state_dict(model.rest.state_dict(), strict=False)
    train(training, given.minutes, given.lr, given.out / LOG)
    save_rest(rest, given.out)


if __name__ == "__main__":
    main()
