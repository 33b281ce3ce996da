"""The pose and the place in which an action begins, as a model knows them for the objects of a rig. Without
torch.

Objects of one rig share their animations: somebody who falls over begins to in one pose, with as much room
beside him, whoever it is. A start is one action of one rig.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orster_cli.core.errors import InputError
from orster_cli.diffusion.known_texts import content_words, stem, words_of

MOST = 1 << 14  # starts of a model
NUMBERS = 4  # of a framing


@dataclass(frozen=True)
class Start:
    """`rig`: its number; `phrases` of the action, the fullest first; `framing`: the logarithm of the factor
    on the cameras' distance, and the point [3] that they look at, on average over its clips."""

    rig: int
    phrases: tuple[str, ...]
    framing: tuple[float, ...]


def start_of(doing: str, starts: Sequence[Start], rig: int) -> int | None:
    """The number of the one of `starts` of a `rig` that begins what `doing` says, the part of a text that
    says what its subject does (`subjects.doing_of`); None: there is none.

    The verb of one of its phrases must be there, in any form; then most words in common decide, then how
    little else the phrase says."""
    asked = {stem(word) for word in content_words(doing)}
    best: tuple[tuple[int, int], int] | None = None
    for number, start in enumerate(starts):
        if start.rig != rig:
            continue
        for phrase in start.phrases:
            verb = stem(words_of(phrase)[0])
            words = {stem(word) for word in content_words(phrase)}
            score = (-len(words & asked), len(words - asked))
            if verb in asked and (best is None or score < best[0]):
                best = score, number
    return None if best is None else best[1]


@dataclass(frozen=True)
class Begun:
    """As of `rest_regressor.RestConfig`."""

    rigs: tuple[int, ...] = ()
    starts: tuple[Start, ...] = ()
    poses: tuple[tuple[int, ...], ...] = ()


def begun_in(value: Mapping[str, Any], path: Path, subjects: int) -> Begun:
    """Of the settings `value` in the file `path`, of so many `subjects`. InputError: others."""
    rigs, starts, poses = (value.get(name) for name in ("rigs", "starts", "poses"))
    wrong = InputError(f"{path}: expected the rigs of its subjects, starts, and poses of each")
    lists = (rigs, starts, poses)
    if not all(isinstance(one, list) and len(one) <= MOST for one in lists):
        raise wrong
    assert isinstance(rigs, list)
    assert isinstance(starts, list)
    assert isinstance(poses, list)
    if not (all(map(_is_number, rigs)) and all(map(_is_start, starts))):
        raise wrong
    if not len(rigs) == len(poses) == (subjects if starts else len(rigs)):
        raise wrong
    counts = Counter(one["rig"] for one in starts)
    for rig, some in zip(rigs, poses, strict=True):
        if not isinstance(some, list) or len(some) != counts[rig]:
            raise wrong
        if not all(type(one) is int and -1 <= one < len(starts) for one in some):
            raise wrong
    found = (Start(one["rig"], tuple(one["phrases"]), tuple(one["framing"])) for one in starts)
    return Begun(tuple(rigs), tuple(found), tuple(map(tuple, poses)))


def _is_start(one: Any) -> bool:
    if not isinstance(one, dict) or set(one) != {"rig", "phrases", "framing"}:
        return False
    phrases, framing = one["phrases"], one["framing"]
    return (
        _is_number(one["rig"])
        and isinstance(phrases, list)
        and bool(phrases)
        and all(type(phrase) is str and words_of(phrase) for phrase in phrases)
        and isinstance(framing, list)
        and len(framing) == NUMBERS
        and all(type(n) in (int, float) and math.isfinite(n) and abs(n) < 100 for n in framing)
    )


def _is_number(one: Any) -> bool:
    return type(one) is int and 0 <= one < MOST
