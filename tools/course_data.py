"""The frames that `tools.train_course` learns from: each animation of the training objects of a list, as
latents, where its clip has it.

The sides are those of the orbit of a clip and OWN of the object's own; of each of the T moments of a clip
there is the side that its orbit has then, and all own ones. K clips of a file, S sides, M of them a moment,
C latent channels, h w latent pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from orster_cli.config.prepare import PrepareConfig
from orster_cli.core.seeding import derive_seed
from orster_cli.dataset.views import normalize_object, render_view
from orster_cli.geometry.orbit import clip_times, orbit_azimuths, orbit_cameras
from orster_cli.gltf.load import load_gltf
from tools.clip_lists import Row
from tools.rest_data import kept_of, loaded_here

FRAMES, OWN = 16, 6
SIDES, SHOWN = FRAMES + OWN, 1 + OWN  # S and M


@dataclass(frozen=True)
class Frames:
    """Of N clips: `still` [N,S,C,h,w] of the object where each begins; `moving` [N,T,M,C,h,w] at each
    moment, from its `sides` [T,M] of `azimuths` [N,S] in degrees; `times` [T]; `clips` [N]: the numbers of
    their rows."""

    still: Tensor
    moving: Tensor
    azimuths: Tensor
    times: Tensor
    sides: Tensor


def azimuths_of(file: str) -> Tensor:
    """Those [S] of the sides of an object, in degrees: not at all where others have theirs, so that what
    is learned of one angle holds for those between."""
    first = derive_seed("course", file) / 2**63 * 360 / OWN
    return torch.cat([orbit_azimuths(FRAMES), orbit_azimuths(OWN, start=first)]).float()


def sides_of() -> Tensor:
    """The numbers [T,M] of the sides of each moment."""
    own = torch.arange(FRAMES, SIDES).expand(FRAMES, -1)
    return torch.cat([torch.arange(FRAMES)[:, None], own], dim=1)


@torch.no_grad()
def encode(path: Path, rows: Sequence[Row], model: Path, out: Path) -> None:
    """Into the file `out`, if it is not there: `still` [K,S,C,h,w] and `moving` [K,T,M,C,h,w] of the clips
    of one object, and their numbers, `clips`."""
    clips = [int(row["clip"]) for row in rows]
    if out.is_file() and torch.load(out, weights_only=True, mmap=True)["clips"] == clips:
        return
    cfg, bundle = PrepareConfig(), loaded_here(model)
    side = bundle.facts.resolution
    cameras = orbit_cameras(azimuths_of(path.name), width=side, height=side)
    sides = sides_of()
    seen = torch.cat([torch.arange(SIDES), sides[1:].flatten()])
    times = torch.cat([torch.zeros(SIDES), clip_times(FRAMES).float()[1:].repeat_interleave(SHOWN)])
    scene = load_gltf(path)
    still, moving = [], []
    for clip in clips:
        placed = normalize_object(scene, clip, cfg)
        frames = render_view(placed, cameras[seen], times, cfg, None).over()
        latents = bundle.vae.encode(frames).half()
        still.append(latents[:SIDES])
        later = latents[SIDES:].unflatten(0, (FRAMES - 1, SHOWN))
        moving.append(torch.cat([latents[sides[0]][None], later]))
    draft = out.with_suffix(".tmp")
    torch.save({"still": torch.stack(still), "moving": torch.stack(moving), "clips": clips}, draft)
    draft.replace(out)


def made_of(
    clips: dict[str, list[Row]], folders: Sequence[Path], model: Path, out: Path, jobs: int
) -> Frames:
    """The frames of all `clips`, rendered and encoded by `jobs` processes into the folder `out`."""
    made = kept_of(encode, clips, folders, model, out, jobs)
    return Frames(
        still=torch.cat([one["still"] for one in made]),
        moving=torch.cat([one["moving"] for one in made]),
        azimuths=torch.stack([azimuths_of(file) for file, some in clips.items() for _ in some]),
        times=clip_times(FRAMES).float(),
        sides=sides_of(),
    )
