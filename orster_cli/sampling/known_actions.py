"""The action that a model knows which a given object is to do: what the text says, by the object that looks
most like it of those that were seen doing that. T frames, C latent channels, h w latent pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from orster_cli.core.frames import at_resolution, evenly_spaced
from orster_cli.core.types import OrbitClip
from orster_cli.diffusion.bundle import WholeBundle
from orster_cli.diffusion.known_texts import words_of
from orster_cli.diffusion.rest_regressor import RestConfig
from orster_cli.diffusion.starts import Begun, start_of
from orster_cli.geometry.orbit import orbit_of
from orster_cli.sampling.rest_orbits import LEVEL

SIDES = 4  # of an object that are compared
FARTHEST = 0.5  # mean squared difference of latents beyond which nothing looks alike
PER_DIFFERENCE, MOST = 5.0, 3.0  # of `Begun.unlike`, chosen by eye


@dataclass(frozen=True)
class KnownAction:
    """How it is `begun`; `like`: the fullest phrase of the object that was seen doing it; `apart`: mean
    squared difference of the latents of the two where it begins."""

    begun: Begun
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
    (subject, begun), difference = seen[best], float(apart[best])
    if difference > FARTHEST:
        return None
    # what it has not seen the network draws worse, and the diffusion has more to mend
    begun = replace(begun, unlike=min(1 + PER_DIFFERENCE * difference, MOST))
    return KnownAction(begun, bundle.rest.config.subjects[subject][0], difference)


def _seen_doing(text: str, config: RestConfig) -> list[tuple[int, Begun]]:
    """The numbers of subjects that were seen doing what `text` says, and how each begins it."""
    words, found = words_of(text), []
    for rig in sorted(set(config.rigs)):
        start = start_of(words, config.starts, rig)
        if start is None:
            continue
        for subject, own in enumerate(config.rigs):
            begun = config.begun(subject, start) if own == rig else None
            if begun is not None and begun.pose == start:
                found.append((subject, begun))
    return found


def _looks_of(bundle: WholeBundle, seen: list[tuple[int, Begun]], azimuths: Tensor) -> Tensor:
    """Latents [N,T,C,h,w] of the N subjects where they begin, from these azimuths [T]."""
    assert bundle.rest is not None
    device = next(bundle.rest.parameters()).device
    texts = bundle.encoder.text([bundle.rest.config.subjects[subject][0] for subject, _ in seen])
    sides = azimuths.float()[None].expand(len(seen), -1).to(device)
    starts = torch.tensor([begun.start for _, begun in seen], device=device)
    return bundle.rest(sides, texts, starts).transpose(1, 2).float().cpu()
