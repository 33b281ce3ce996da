"""The poses that `tools.train_rest` learns from: each training object of a list where each of its
animations begins, as latents.

An object is placed by that pose, as a given object is, and rendered from the sides of orbits of 16 and 24
frames and from OWN of its own, so that what is learned of one angle holds for those between; the model's
frame VAE makes latents of them. N clips, S subjects, A sides, C latent channels, h w latent pixels.
"""

from __future__ import annotations

import math
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from orster_cli.config.prepare import PrepareConfig
from orster_cli.core.seeding import derive_seed
from orster_cli.dataset.views import framing_of, normalize_object, normalize_pose, render_view
from orster_cli.diffusion.bundle import WholeBundle
from orster_cli.diffusion.starts import Start
from orster_cli.geometry.orbit import orbit_azimuths, orbit_cameras
from orster_cli.gltf.load import load_gltf
from orster_cli.inputs.models import open_model
from tools.clip_lists import Row, file_of, pack_of, rows_of

OWN = 32
AZIMUTHS = 24 + 8 + OWN
SPLITS = ("train", "pair")  # of a list: what is trained on, and pairs that are held out
QUIET = ("standing", "idle", "breathing", "floating", "hovering", "swimming", "flying", "walking")


@dataclass(frozen=True)
class Objects:
    """Of N clips of S subjects: `latents` [N,A,C,h,w] of the object in the pose in which each begins, and
    its `framings` [N,4] (`Start`); `subject`, `start` [N]: their numbers; `held` [N]: not trained on;
    `azimuths` [S,A]: of each subject's sides, in degrees; `quiet` [S]: the clip in which it is most likely
    at rest; `phrases` and `rigs`; `starts`."""

    latents: Tensor
    framings: Tensor
    azimuths: Tensor
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
def loaded_here(model: Path) -> WholeBundle:
    """Once a process."""
    torch.set_num_threads(1)
    return open_model(model).load_whole()


def azimuths_of(file: str) -> Tensor:
    """Those [A] of the sides of an object, in degrees."""
    first = derive_seed("azimuth", file) / 2**63 * 360 / OWN
    every = [orbit_azimuths(24), orbit_azimuths(8, start=22.5), orbit_azimuths(OWN, start=first)]
    return torch.cat(every).float()


@torch.no_grad()
def encode(model: Path, path: Path, rows: Sequence[Row], out: Path) -> None:
    """Into the file `out`, if it is not there: `latents` [K,A,C,h,w] of one object where each of its K
    clips begins, placed by that pose alone, the numbers of these `clips`, and their `framings` [K,4]
    (`starts.Start`)."""
    clips = [int(row["clip"]) for row in rows]
    if out.is_file() and torch.load(out, weights_only=True, mmap=True).get("clips") == clips:
        return
    cfg, bundle = PrepareConfig(), loaded_here(model)
    side = bundle.facts.resolution
    cameras = orbit_cameras(azimuths_of(path.name), width=side, height=side)
    scene = load_gltf(path)
    latents, framings = [], []
    for clip in clips:
        posed = normalize_pose(scene, clip, cfg)
        frames = render_view(posed, cameras, torch.zeros(AZIMUTHS), cfg, None).over()
        latents.append(bundle.vae.encode(frames).half())
        far, *point = framing_of(normalize_object(scene, clip, cfg), cfg)
        framings.append(torch.tensor([math.log(far), *point]))
    draft = out.with_suffix(".tmp")
    made = {"latents": torch.stack(latents), "framings": torch.stack(framings), "clips": clips}
    torch.save(made, draft)
    draft.replace(out)


def kept_of(
    make: Callable[[Path, Sequence[Row], Path], None],
    clips: dict[str, list[Row]],
    folders: Sequence[Path],
    out: Path,
    jobs: int,
) -> list[dict[str, Any]]:
    """What `make` writes of the clips of each file into the folder `out`, by `jobs` processes."""
    out.mkdir(parents=True, exist_ok=True)
    kept = [out / f"{file}.pt" for file in clips]
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        paths = [file_of(folders, file) for file in clips]
        for _ in pool.map(make, paths, clips.values(), kept):
            pass
    return [torch.load(path, weights_only=True) for path in kept]


def made_of(
    clips: dict[str, list[Row]], folders: Sequence[Path], model: Path, out: Path, jobs: int
) -> Objects:
    """The objects of all `clips`, rendered and encoded by `jobs` processes into the folder `out`."""
    made = kept_of(partial(encode, model), clips, folders, out, jobs)
    return gathered(clips, [(one["latents"], one["framings"]) for one in made])


@dataclass(frozen=True)
class Labels:
    """Of N clips: `start` [N], the number of the action of their pack; `held` [N]: not trained on. Of each
    start: `packs`, by number, and `phrases`, the fullest first."""

    start: Tensor
    held: Tensor
    packs: tuple[int, ...]
    phrases: tuple[tuple[str, ...], ...]


def labels_of(clips: dict[str, list[Row]]) -> Labels:
    """Of the `clips` of each file, in their order. Exits where an action is only held out."""
    rows = [row for some in clips.values() for row in some]
    held = [row["use"] != "1" for row in rows]
    packs = sorted({pack_of(file) for file in clips})
    key = [(packs.index(pack_of(row["file"])), row["what"].split("|")[0]) for row in rows]
    keys = sorted({one for one, out in zip(key, held, strict=True) if not out})
    if unknown := set(key) - set(keys):
        sys.exit(f"held out, and in no clip that is trained on: {sorted(unknown)}")
    said: list[dict[str, None]] = [{} for _ in keys]
    for row, one, out in zip(rows, key, held, strict=True):
        if not out:
            said[keys.index(one)] |= dict.fromkeys(row["what"].split("|"))
    return Labels(
        start=torch.tensor([keys.index(one) for one in key]),
        held=torch.tensor(held),
        packs=tuple(pack for pack, _ in keys),
        phrases=tuple(map(tuple, said)),
    )


def gathered(clips: dict[str, list[Row]], made: Sequence[tuple[Tensor, Tensor]]) -> Objects:
    """Of the `clips` of each file, and what `encode` kept of it."""
    rows = [row for some in clips.values() for row in some]
    framings = torch.cat([framing for _, framing in made])
    latents = torch.cat([latents for latents, _ in made])
    labels = labels_of(clips)
    starts = []
    for number, (pack, phrases) in enumerate(zip(labels.packs, labels.phrases, strict=True)):
        mine = (labels.start == number) & ~labels.held
        starts.append(Start(pack, phrases, _rounded(framings[mine].mean(dim=0))))
    packs = sorted({pack_of(file) for file in clips})
    numbers = {id(row): number for number, row in enumerate(rows)}
    kept = [[row for row in some if row["use"] == "1"] for some in clips.values()]
    return Objects(
        latents=latents,
        framings=framings,
        azimuths=torch.stack([azimuths_of(file) for file in clips]),
        subject=torch.tensor([k for k, some in enumerate(clips.values()) for _ in some]),
        start=labels.start,
        held=labels.held,
        quiet=torch.tensor([numbers[id(quietest(some))] for some in kept]),
        phrases=tuple(phrases_of(some[0]) for some in kept),
        rigs=tuple(packs.index(pack_of(file)) for file in clips),
        starts=tuple(starts),
    )


def _rounded(framing: Tensor) -> tuple[float, ...]:
    return tuple(round(float(n), 4) for n in framing)


def framings_of(objects: Objects) -> tuple[tuple[tuple[float, ...] | None, ...], ...]:
    """Of each subject, for each start of its rig in their order, the framing of its own clip; None: it has
    none that is trained on."""
    own: dict[tuple[int, int], tuple[float, ...]] = {}
    for number in (~objects.held).nonzero()[:, 0].tolist():
        key = int(objects.subject[number]), int(objects.start[number])
        own.setdefault(key, _rounded(objects.framings[number]))
    return tuple(
        tuple(own.get((who, k)) for k, one in enumerate(objects.starts) if one.rig == rig)
        for who, rig in enumerate(objects.rigs)
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
