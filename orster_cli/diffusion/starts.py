"""The actions that a model knows of the objects of a rig, and which of them a text says. Without torch.

Objects of one rig share their animations. A start is one action of one rig.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from orster_cli.core.errors import InputError
from orster_cli.diffusion.known_texts import (
    FUNCTION_WORDS,
    IRREGULAR,
    content_words,
    stem,
    verb_stem,
    words_of,
)

MOST = 1 << 14  # starts of a model
DENIALS = frozenset(("not", "never", "without", "no", "cannot"))
ARTICLES = frozenset(("a", "an", "the", "its", "his", "her", "their", "my", "your"))
NEEDED = frozenset(("up", "off"))  # words without which a phrase means something else
MANNER = frozenset(("fast", "around", "about", "along", "again", "happily", "bit", "then", "slow"))
# what says nothing of an action that it would not do anyway
USUAL = frozenset(map(stem, ("forward", "forwards", "ahead", "straight", "normally")))
# what something does of which a text says nothing that is known: the first that its rig does
QUIET = (
    "standing", "breathing", "hovering", "swimming", "walking", "waddling", "flying", "driving", "moving",
    "wriggling",
)  # fmt: skip


@dataclass(frozen=True)
class Start:
    """`rig`: its number; `phrases` of the action, the fullest first."""

    rig: int
    phrases: tuple[str, ...]


def start_of(words: Sequence[str], starts: Sequence[Start], rig: int) -> int | None:
    """The number of the one of `starts` of a `rig` that is what the `words` of a text say of its subject
    (`subjects.doing_of`); None: there is none.

    What the text says first begins: of the phrases with its first verb that any has (as their first word,
    or else as another), the one with most other words in common, then the one that says least else.
    A phrase that says more and has none of it in common is taken where it is the only one and the text says
    no more either: "running" is "running and shooting" where nobody runs otherwise, and "casting a spell"
    is not "casting a fishing rod"."""
    said = _affirmed(words)
    phrases = [
        (number, phrase)
        for number, start in enumerate(starts)
        if start.rig == rig
        for phrase in start.phrases
    ]
    for verbs in (_first_verb, _other_verbs):
        for at, (word, may_be, is_form) in enumerate(said):
            having = [
                (number, {stem(other) for other in content_words(phrase)})
                for number, phrase in phrases
                if (is_form if verbs is _other_verbs else may_be) and word in verbs(phrase)
            ]
            after = [other for other, *_ in said[at + 1 :]]
            if having and (found := _best(having, word, after)) is not None:
                return found
    return None


def quiet_start(starts: Sequence[Start], rig: int, done: Sequence[int] = ()) -> int | None:
    """The number of the one of `starts` of a `rig` that is as quiet as any (`QUIET`), if possible one of
    those that the object was seen doing (`done`); None: there is no such one."""
    found = []
    for number, start in enumerate(starts):
        words = content_words(start.phrases[0])
        if start.rig == rig and words[0] in QUIET and not NEEDED & set(words):
            more = {stem(word) for word in words} - USUAL
            found.append((number not in done, QUIET.index(words[0]), len(more), number))
    return min(found)[-1] if found else None


def _first_verb(phrase: str) -> set[str]:
    return {stem(content_words(phrase)[0])}


def _other_verbs(phrase: str) -> set[str]:
    """Stems of words in "-ing" and of what follows "to"."""
    return {
        stem(word)
        for before, word in pairwise(words_of(phrase))
        if before == "to" or word.endswith("ing")
    }


def _best(having: Sequence[tuple[int, set[str]]], verb: str, after: Sequence[str]) -> int | None:
    """The number of the one of the phrases, each the stems of its words, that have the `verb` which fits
    the words `after` it best."""
    scored = []
    for number, stems in having:
        others = stems - {verb} - (USUAL - set(after))
        common, missing = others & set(after), others - set(after)
        says_other = bool(others) and not common
        scored.append((says_other, -len(common), len(missing), number))
    best = min(scored)
    if not best[0]:
        return best[-1]
    alone = {number for *_, number in scored}
    needed = any(stems & NEEDED - set(after) for _, stems in having)
    says_more = any(word not in MANNER and not word.endswith("ly") for word in after)
    return None if len(alone) > 1 or needed or says_more else best[-1]


def _affirmed(words: Sequence[str]) -> list[tuple[str, bool, bool]]:
    """The stems of the content words of a text, without words that are denied; which may be verbs: not what
    follows an article ("with a hammer"); and which of them look like one: "fishing", not "fish"."""
    found = []
    for before, word in pairwise(["", *words]):
        if before in DENIALS or word in DENIALS or word in FUNCTION_WORDS:
            continue
        may_be = before not in ARTICLES
        is_form = word in IRREGULAR or word.endswith(("ing", "s", "ed"))
        found.append((verb_stem(word), may_be, may_be and is_form))
    return found


def starts_in(value: Mapping[str, Any], path: Path, subjects: int) -> dict[str, Any]:
    """`rigs`, `starts` and `done` of a `rest_regressor.RestConfig` of so many `subjects`, of the settings
    `value` in the file `path`. InputError: others."""
    rigs, starts, done = (value.get(name) for name in ("rigs", "starts", "done"))
    wrong = InputError(f"{path}: expected the rigs of its subjects, starts, and those of each one")
    if not all(isinstance(one, list) and len(one) <= MOST for one in (rigs, starts, done)):
        raise wrong
    assert isinstance(rigs, list)
    assert isinstance(starts, list)
    assert isinstance(done, list)
    if not (all(map(_is_number, rigs)) and all(map(_is_start, starts))):
        raise wrong
    if not len(rigs) == len(done) == (subjects if starts else 0):
        raise wrong
    for rig, some in zip(rigs, done, strict=True):
        of_rig = {k for k, one in enumerate(starts) if one["rig"] == rig}
        if not isinstance(some, list) or not all(type(k) is int and k in of_rig for k in some):
            raise wrong
    return {
        "rigs": tuple(rigs),
        "starts": tuple(Start(one["rig"], tuple(one["phrases"])) for one in starts),
        "done": tuple(map(tuple, done)),
    }


def _is_start(one: Any) -> bool:
    if not isinstance(one, dict) or set(one) != {"rig", "phrases"}:
        return False
    phrases = one["phrases"]
    return (
        _is_number(one["rig"])
        and isinstance(phrases, list)
        and bool(phrases)
        and all(type(phrase) is str and content_words(phrase) for phrase in phrases)
    )


def _is_number(one: Any) -> bool:
    return type(one) is int and 0 <= one < MOST
