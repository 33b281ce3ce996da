"""The actions that a model knows which an object may do: what the text says, as the objects of most like
shape were seen to do it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch

from orster_cli.core.errors import InputError
from orster_cli.core.reporting import Reporter
from orster_cli.diffusion.bundle import WholeBundle
from orster_cli.diffusion.rest_regressor import RestConfig
from orster_cli.diffusion.subjects import named_alike
from orster_cli.geometry.mesh import Mesh
from orster_cli.sampling.moving import KnownShape, Moving, moving, on_device, surface_of
from orster_cli.sampling.shown import Shown

AS_LIKE = 1.25  # times as unlike as the most like: another way in which the object may do it
WORDS = 0.25  # of the logarithm of likeness: an object that is called the same counts as so much more like
LEAST = 0.01  # added to how unlike objects are: less makes no difference
# as unlike as an object may be whose shape is half a guess: its surface would be torn
UNLIKE = 0.15
NEARLY = 0.03  # of an object that is given: it stands where the action begins, but for the network's error


@dataclass(frozen=True)
class KnownAction:
    """Its number among the `starts` of the model; `like`: the fullest phrase of the object that was seen
    doing it; `apart`: how unlike that is (`CourseRegressor.unlike`)."""

    start: int
    like: str
    apart: float


@torch.no_grad()
def known_actions(bundle: WholeBundle, text: str | None, mesh: Mesh) -> list[KnownAction]:
    """What the object of a `mesh` is to do that a `text` says, or what is quiet where it says nothing that
    the model knows: the known ways, at most one of each rig, that of the most like object first, and
    those of objects nearly `AS_LIKE`: by their shapes, and by what the text calls it. []: there is none."""
    if text is None or bundle.rest is None or bundle.course is None:
        return []
    config = bundle.rest.config
    starts = config.said_in(text) or config.quiet()
    shapes = [
        (subject, start, places)
        for subject, known in enumerate(_places_of(config))
        for start, places in known.items()
        if start in starts
    ]
    if not shapes:
        return []
    unlike = bundle.course.unlike(on_device(surface_of(mesh), bundle.course)).cpu()
    named = named_alike(text, config.subjects)
    every: list[tuple[float, KnownAction]] = []
    for subject, start, places in shapes:
        apart = float(unlike[places].min())
        off = math.log(LEAST + apart) - WORDS * named[subject]
        every.append((off, KnownAction(start, config.subjects[subject][0], apart)))
    every.sort(key=lambda one: one[0])
    found: dict[int, KnownAction] = {}
    for off, action in every:
        if off <= every[0][0] + math.log(AS_LIKE):
            found.setdefault(action.start, action)
    return list(found.values())


def shape_of_subject(bundle: WholeBundle, phrase: str) -> KnownShape | None:
    """The bind pose of the subject whose fullest phrase is `phrase`; None: the model knows none that is
    called so."""
    if bundle.rest is None or bundle.course is None:
        return None
    numbers = bundle.rest.config.numbers_of(phrase)
    if not numbers:
        return None
    place = sum(1 + len(done) for done in bundle.rest.config.done[: numbers[0]])
    course = bundle.course
    return KnownShape(
        course.known_features[numbers[0]][None],
        course.known_shapes[place].unflatten(-1, (-1, 3)).cpu(),
    )


def moving_as_said(
    bundle: WholeBundle,
    text: str,
    shown: Shown,
    reporter: Reporter,
    start: int | None = None,
    *,
    seed: int = 0,
    nearly: float = NEARLY,
    known: KnownShape | None = None,
    most: float = math.inf,
) -> Moving | None:
    """The object that is `shown` on its way through the action of the number `start`, or through one of its
    `known_actions`, by the `seed`, which is said; None: it has none, or no surface, or the known object
    is more unlike than `most`. `nearly` and `known`: as for `moving`."""
    try:
        mesh = shown.mesh()
    except InputError as error:  # of pictures that a model made, or that show one side
        reporter.info(f"{error}: its motion is sampled from noise")
        return None
    count = 1
    if start is None:
        ways = known_actions(bundle, text, mesh)
        if not ways:
            return None
        assert bundle.rest is not None
        count = len(ways)
        found = ways[seed % count]
        start = found.start
        doing = bundle.rest.config.starts[start].phrases[0]
        if found.apart > most:
            reporter.note(
                f"{found.like} {doing} is what the model knows that is most like it, and that is too "
                "unlike: its motion is sampled from noise"
            )
            return None
        several = f", one of {count} known ways (--seed)" if count > 1 else ""
        reporter.info(f"it begins to move as {found.like} {doing}{several} (sample.course)")
    assert bundle.course is not None
    return replace(moving(bundle.course, mesh, start, nearly=nearly, known=known), ways=count)


def _places_of(config: RestConfig) -> list[dict[int, list[int]]]:
    """Of each subject, for each start that it was seen doing, its shapes among the known ones: in its bind
    pose, and as it begins that."""
    found, place = [], 0
    for done in config.done:
        found.append({start: [place, place + 1 + k] for k, start in enumerate(done)})
        place += 1 + len(done)
    return found
