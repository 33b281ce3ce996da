"""What `tools.train_rest` learns from: places around the surface of each training object of a list, in its
bind pose, how far they are from it, and its colour there.

An object is placed as a given object is. Cameras on all sides tell where it is: what none of them sees past
is inside. N subjects, P places, S points of a surface, T views.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from scipy.spatial import cKDTree
from torch import Tensor

from orster_cli.config.prepare import PrepareConfig
from orster_cli.core.types import Cameras
from orster_cli.dataset.views import normalize_pose
from orster_cli.diffusion.starts import Start
from orster_cli.geometry.mesh import Mesh
from orster_cli.geometry.orbit import orbit_azimuths, orbit_cameras
from orster_cli.geometry.projection import project
from orster_cli.gltf.load import load_gltf
from orster_cli.mesh_render.render import MeshRender, render_mesh
from tools.clip_lists import Row, file_of, pack_of, rows_of

SPLITS = ("train", "pair")  # of a list: what is trained on, and pairs that are held out
QUIET = ("standing", "idle", "breathing", "floating", "hovering", "swimming", "flying", "walking")
ELEVATIONS, AROUND = (-55.0, -25.0, 0.0, 25.0, 55.0), 8  # views; two more from above and below
PIXELS = 320  # of a view
THINNED = 0.003  # world units: points of a surface are no nearer to each other
CLOSE, NEAR, ANYWHERE = 72_000, 48_000, 40_000  # places: by the surface, and in its box
FAR_OFF = (0.008, 0.04)  # deviations of the first two from the surface
BORDER = 0.08  # around the box
BEHIND = 0.002  # a place so far before what a view shows is outside
SOLID, SHEET = 0.002, 0.006  # by which solid things and sheets are thicker, on each side
THROUGH = 0.015  # outside again so far beyond the surface: it is a sheet
FARTHEST = 0.1  # distances that are told


@dataclass(frozen=True)
class Objects:
    """Of N subjects, P places each: `places` [N,P,3], `distances` [N,P] from the surface, negative inside,
    `colors` [N,P,3] bytes, sRGB, of the nearest point of it, unlit, and `off` [N,P], how far that is; the
    `phrases` of each subject and its rig, by number (`rigs`); `starts` of these, and those that each was
    seen doing (`done`)."""

    places: Tensor
    distances: Tensor
    colors: Tensor
    off: Tensor
    phrases: tuple[tuple[str, ...], ...]
    rigs: tuple[int, ...]
    starts: tuple[Start, ...]
    done: tuple[tuple[int, ...], ...]


PLACES = ("places", "distances", "colors", "off")


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


def around() -> Cameras:
    """The views of an object."""
    sides = [orbit_azimuths(AROUND, start=22.5 * (k % 2)) for k in range(len(ELEVATIONS))]
    elevations = torch.tensor(ELEVATIONS).repeat_interleave(AROUND)
    return orbit_cameras(
        torch.cat([*sides, torch.zeros(2)]),
        elevation=torch.cat([elevations, torch.tensor([89.0, -89.0])]),
        width=PIXELS,
        height=PIXELS,
    )


def sample(path: Path, _: Sequence[Row], out: Path) -> None:
    """Into the file `out`, if it is not there: places around one object in its bind pose. There its limbs
    are apart, so that its parts move on their own."""
    if not out.is_file():
        posed = normalize_pose(load_gltf(path), None, PrepareConfig())
        draft = out.with_suffix(".tmp")
        torch.save(sampled(posed.mesh(0.0)), draft)
        draft.replace(out)


def sampled(mesh: Mesh) -> dict[str, Tensor]:
    """`places`, `distances`, `colors` and `off` of a `mesh`, as for `Objects`."""
    cameras, draw = around(), torch.Generator().manual_seed(0)
    unlit = replace(mesh, materials=tuple(replace(one, unlit=True) for one in mesh.materials))
    seen = render_mesh(unlit, cameras, supersample=1)
    surface, colors = _surface(seen, cameras)
    some = torch.randint(len(surface), (CLOSE + NEAR,), generator=draw)
    far = torch.tensor(FAR_OFF).repeat_interleave(torch.tensor([CLOSE, NEAR]))[:, None]
    low, high = surface.amin(dim=0) - BORDER, surface.amax(dim=0) + BORDER
    places = torch.cat(
        [
            surface[some] + far * torch.randn(len(some), 3, generator=draw),
            low + (high - low) * torch.rand(ANYWHERE, 3, generator=draw),
        ]
    )
    apart, which = cKDTree(surface.numpy()).query(places.numpy())
    off, nearest = torch.from_numpy(apart).float(), surface[torch.from_numpy(which)]
    outside = _is_outside(places, seen, cameras)
    beyond = nearest + THROUGH * (nearest - places) / off[:, None].clamp_min(1e-6)
    sheet = outside & _is_outside(beyond, seen, cameras)
    distances = torch.where(outside, off, -off) - torch.where(sheet, SHEET, SOLID)
    return {
        "places": places.half(),
        "distances": distances.clamp(-FARTHEST, FARTHEST).half(),
        "colors": (colors[torch.from_numpy(which)].clamp(0, 1) * 255).round().byte(),
        "off": off.half(),
    }


def _surface(seen: MeshRender, cameras: Cameras) -> tuple[Tensor, Tensor]:
    """Points [S,3] of what is `seen`, and their colours."""
    places, colors = [], []
    for view in range(len(cameras)):
        y, x = torch.nonzero(seen.alpha[view, 0] > 0.5, as_tuple=True)
        depth, K = seen.depth[view, 0, y, x], cameras.K[view]
        across = [(x + 0.5 - K[0, 2]) / K[0, 0], (y + 0.5 - K[1, 2]) / K[1, 1]]
        local = torch.stack([*across, torch.ones(len(x))], dim=-1) * depth[:, None]
        places.append((local - cameras.w2c[view, :3, 3]) @ cameras.w2c[view, :3, :3])
        colors.append(seen.rgb[view][:, y, x].T)
    every = torch.cat(places)
    _, cell = torch.unique((every / THINNED).round(), dim=0, return_inverse=True)
    one_of = torch.zeros(int(cell.max()) + 1, dtype=torch.long)
    one_of[cell] = torch.arange(len(every))
    return every[one_of], torch.cat(colors)[one_of]


def _is_outside(places: Tensor, seen: MeshRender, cameras: Cameras) -> Tensor:
    """[P] whether a view sees past it."""
    found = torch.zeros(len(places), dtype=torch.bool)
    for view in range(len(cameras)):
        pixel, depth = project(places, cameras, view)
        x, y = pixel.long().unbind(dim=-1)
        within = ((pixel >= 0) & (pixel < PIXELS)).all(dim=-1)
        x, y = x.clamp(0, PIXELS - 1), y.clamp(0, PIXELS - 1)
        empty = seen.alpha[view, 0, y, x] <= 0.5
        found |= within & (empty | (depth < seen.depth[view, 0, y, x] - BEHIND))
    return found


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


def made_of(clips: dict[str, list[Row]], folders: Sequence[Path], out: Path, jobs: int) -> Objects:
    """The objects of all `clips`, looked at by `jobs` processes and kept in the folder `out`."""
    return gathered(clips, kept_of(sample, clips, folders, out, jobs))


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


def gathered(clips: dict[str, list[Row]], kept: Sequence[dict[str, Tensor]]) -> Objects:
    """Of the `clips` of each file, and what `sample` kept of it."""
    labels = labels_of(clips)
    subject = [k for k, some in enumerate(clips.values()) for _ in some]
    done: list[set[int]] = [set() for _ in clips]
    for who, start, held in zip(subject, labels.start.tolist(), labels.held.tolist(), strict=True):
        if not held:
            done[who].add(start)
    packs = sorted({pack_of(file) for file in clips})
    rows = [next(row for row in some if row["use"] == "1") for some in clips.values()]
    return Objects(
        **{name: torch.stack([one[name] for one in kept]) for name in PLACES},
        phrases=tuple(map(phrases_of, rows)),
        rigs=tuple(packs.index(pack_of(file)) for file in clips),
        starts=tuple(
            Start(pack, phrases) for pack, phrases in zip(labels.packs, labels.phrases, strict=True)
        ),
        done=tuple(tuple(sorted(some)) for some in done),
    )


def phrases_of(row: Row) -> tuple[str, ...]:
    """Of its object, the fullest first."""
    return tuple(sorted(row["who"].split("|"), key=len, reverse=True))
