"""The action that a model knows which a given object is to do: what the text says, by the object that looks
most like it of those that were seen doing that. T frames, C latent channels, h w latent pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from orster_cli.core.frames import at_resolution, evenly_spaced
from orster_cli.core.types import OrbitClip
from orster_cli.diffusion.bundle import WholeBundle
from orster_cli.diffusion.known_texts import words_of
from orster_cli.diffusion.rest_regressor import RestConfig
from orster_cli.diffusion.starts import start_of
from orster_cli.geometry.orbit import orbit_of

SIDES = 4  # of an object that are compared
LEVEL = 0.5  # degrees of elevation that make no difference
FARTHEST = 0.5  # mean squared difference of latents beyond which nothing looks alike


@dataclass(frozen=True)
class KnownAction:
    """`start`: its number in the regressor of objects at rest; `like`: the fullest phrase of the object
    that was seen doing it; `apart`: mean squared difference of the latents of the two where it begins."""

    start: int
    like: str
    apart: float


@torch.no_grad()
def known_action(bundle: WholeBundle, text: str | None, orbit: OrbitClip) -> KnownAction | None:
    """What the object of `orbit` is to do that a `text` says; None: the model knows no such action, or of
    no object that looks like it, or the views are not level, as its own are."""
    if text is None or bundle.rest is None or bundle.course is None:
        return None
    elevation, _, _ = orbit_of(orbit.cameras)
    seen = _seen_doing(text, bundle.rest.config)
    if not seen or abs(elevation - bundle.facts.elevation) > LEVEL:
        return None
    sides = evenly_spaced(len(orbit), min(SIDES, len(orbit)), where="object")
    frames = at_resolution(orbit, bundle.facts.resolution)[sides]
    given = bundle.vae.encode(frames.to(next(bundle.vae.parameters()).device)).float().cpu()
    looks = _looks_of(bundle, seen, orbit.cameras.azimuths[sides])
    apart = (looks - given).square().flatten(1).mean(dim=1)
    best = int(apart.argmin())
    (subject, start), difference = seen[best], float(apart[best])
    if difference > FARTHEST:
        return None
    return KnownAction(start, bundle.rest.config.subjects[subject][0], difference)


def _seen_doing(text: str, config: RestConfig) -> list[tuple[int, int]]:
    """The numbers of subjects that were seen doing what `text` says, each with that of the start."""
    words, found = words_of(text), []
    for rig in sorted(set(config.rigs)):
        start = start_of(words, config.starts, rig)
        if start is None:
            continue
        of_rig = [number for number, one in enumerate(config.starts) if one.rig == rig]
        place = of_rig.index(start)
        for subject, own in enumerate(config.rigs):
            if own == rig and config.poses[subject][place] == start:
                found.append((subject, start))
    return found


def _looks_of(bundle: WholeBundle, seen: list[tuple[int, int]], azimuths: Tensor) -> Tensor:
    """Latents [N,T,C,h,w] of the N subjects where they begin, from these azimuths [T]."""
    assert bundle.rest is not None
    device = next(bundle.rest.parameters()).device
    texts = bundle.encoder.text([bundle.rest.config.subjects[subject][0] for subject, _ in seen])
    sides = azimuths.float()[None].expand(len(seen), -1).to(device)
    starts = torch.tensor([start for _, start in seen], device=device)
    return bundle.rest(sides, texts, starts).transpose(1, 2).float().cpu()
