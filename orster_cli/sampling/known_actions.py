"""The action that a model knows which an object is to do: what the text says, as the object of most like
shape was seen to do it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from orster_cli.core.errors import InputError
from orster_cli.core.reporting import Reporter
from orster_cli.diffusion.bundle import WholeBundle
from orster_cli.diffusion.known_texts import words_of
from orster_cli.diffusion.rest_regressor import RestConfig
from orster_cli.diffusion.starts import start_of
from orster_cli.geometry.mesh import Mesh
from orster_cli.sampling.moving import Moving, moving, on_device, surface_of
from orster_cli.sampling.shown import Shown

NEARLY = 0.03  # of an object that is given: it stands where the action begins, but for the network's error


@dataclass(frozen=True)
class KnownAction:
    """Its number among the `starts` of the model; `like`: the fullest phrase of the object that was seen
    doing it; `apart`: how unlike that is (`CourseRegressor.unlike`)."""

    start: int
    like: str
    apart: float


@torch.no_grad()
def known_action(bundle: WholeBundle, text: str | None, mesh: Mesh) -> KnownAction | None:
    """What the object of a `mesh` is to do that a `text` says; None: the model knows no such action."""
    if text is None or bundle.rest is None or bundle.course is None:
        return None
    config = bundle.rest.config
    starts = _starts_of(text, config)
    shapes = [
        (subject, start, places)
        for subject, known in enumerate(_places_of(config))
        for start, places in known.items()
        if start in starts
    ]
    if not shapes:
        return None
    unlike = bundle.course.unlike(on_device(surface_of(mesh), bundle.course)).cpu()
    apart = [float(unlike[places].min()) for *_, places in shapes]
    best = min(range(len(shapes)), key=apart.__getitem__)
    subject, start, _ = shapes[best]
    return KnownAction(start, config.subjects[subject][0], apart[best])


def moving_as_said(
    bundle: WholeBundle,
    text: str,
    shown: Shown,
    reporter: Reporter,
    start: int | None = None,
    *,
    nearly: float = NEARLY,
) -> Moving | None:
    """The object that is `shown` on its way through the action of the number `start`, or through its
    `known_action`, which is said; None: it has none, or no surface. `nearly`: as for `moving`."""
    try:
        mesh = shown.mesh()
    except InputError:  # of pictures that a model made, or that show one side
        reporter.info("no surface is seen in its pictures: its motion is sampled from noise")
        return None
    if start is None:
        found = known_action(bundle, text, mesh)
        if found is None:
            return None
        assert bundle.rest is not None
        start = found.start
        doing = bundle.rest.config.starts[start].phrases[0]
        reporter.info(f"it begins to move as {found.like} {doing} (sample.course)")
    assert bundle.course is not None
    return moving(bundle.course, mesh, start, nearly=nearly)


def _starts_of(text: str, config: RestConfig) -> set[int]:
    """The numbers of what `text` says, one of each rig that does it."""
    words = words_of(text)
    found = (start_of(words, config.starts, rig) for rig in set(config.rigs))
    return {start for start in found if start is not None}


def _places_of(config: RestConfig) -> list[dict[int, list[int]]]:
    """Of each subject, for each start that it was seen doing, its shapes among the known ones: in its bind
    pose, and as it begins that."""
    found, place = [], 0
    for done in config.done:
        found.append({start: [place, place + 1 + k] for k, start in enumerate(done)})
        place += 1 + len(done)
    return found
