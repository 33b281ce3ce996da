"""What `tools.train_rest` learns from: each training object of a list in its bind pose, as latents.

An object is placed as a given object is, and rendered from sides of its own, so that what is learned of one
angle holds for those between; the model's frame VAE makes latents of them. S subjects, A sides, C latent
channels, h w latent pixels.
"""

from __future__ import annotations

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
from orster_cli.dataset.views import normalize_pose, render_view
from orster_cli.diffusion.bundle import WholeBundle
from orster_cli.diffusion.starts import Start
from orster_cli.geometry.orbit import orbit_azimuths, orbit_cameras
from orster_cli.gltf.load import load_gltf
from orster_cli.inputs.models import open_model
from tools.clip_lists import Row, file_of, pack_of, rows_of

AZIMUTHS, BETWEEN = 88, 8  # sides of an object; the last of them are not trained on
SPLITS = ("train", "pair")  # of a list: what is trained on, and pairs that are held out
QUIET = ("standing", "idle", "breathing", "floating", "hovering", "swimming", "flying", "walking")


@dataclass(frozen=True)
class Objects:
    """`latents` [S,A,C,h,w] of S subjects from the sides at `azimuths` [S,A], in degrees; the `phrases` of
    each and its rig, by number (`rigs`); `starts` of these, and those that each was seen doing (`done`)."""

    latents: Tensor
    azimuths: Tensor
    phrases: tuple[tuple[str, ...], ...]
    rigs: tuple[int, ...]
    starts: tuple[Start, ...]
    done: tuple[tuple[int, ...], ...]


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
    """Those [A] of the sides of an object, in degrees: evenly spaced, but for the last, which are between
    the others."""
    first = derive_seed("azimuth", file) / 2**63 * 360
    trained = AZIMUTHS - BETWEEN
    between = first + (360 / trained) / 2 + orbit_azimuths(BETWEEN)
    return torch.cat([orbit_azimuths(trained, start=first), between]).float()


@torch.no_grad()
def encode(model: Path, path: Path, _: Sequence[Row], out: Path) -> None:
    """Into the file `out`, if it is not there: `latents` [A,C,h,w] of one object in its bind pose. There
    its limbs are apart, so that its pictures have a surface whose parts move on their own."""
    if out.is_file():
        return
    cfg, bundle = PrepareConfig(), loaded_here(model)
    side = bundle.facts.resolution
    cameras = orbit_cameras(azimuths_of(path.name), width=side, height=side)
    posed = normalize_pose(load_gltf(path), None, cfg)
    frames = render_view(posed, cameras, torch.zeros(AZIMUTHS), cfg, None).over()
    draft = out.with_suffix(".tmp")
    torch.save({"latents": bundle.vae.encode(frames).half()}, draft)
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
    return gathered(clips, [one["latents"] for one in made])


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


def gathered(clips: dict[str, list[Row]], latents: Sequence[Tensor]) -> Objects:
    """Of the `clips` of each file, and what `encode` kept of it."""
    labels = labels_of(clips)
    subject = [k for k, some in enumerate(clips.values()) for _ in some]
    done: list[set[int]] = [set() for _ in clips]
    for who, start, held in zip(subject, labels.start.tolist(), labels.held.tolist(), strict=True):
        if not held:
            done[who].add(start)
    packs = sorted({pack_of(file) for file in clips})
    kept = [next(row for row in some if row["use"] == "1") for some in clips.values()]
    return Objects(
        latents=torch.stack(list(latents)),
        azimuths=torch.stack([azimuths_of(file) for file in clips]),
        phrases=tuple(map(phrases_of, kept)),
        rigs=tuple(packs.index(pack_of(file)) for file in clips),
        starts=tuple(
            Start(pack, phrases) for pack, phrases in zip(labels.packs, labels.phrases, strict=True)
        ),
        done=tuple(tuple(sorted(some)) for some in done),
    )


def phrases_of(row: Row) -> tuple[str, ...]:
    """Of its object, the fullest first."""
    return tuple(sorted(row["who"].split("|"), key=len, reverse=True))
