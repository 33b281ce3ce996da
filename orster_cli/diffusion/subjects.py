"""Which of the subjects that a model was trained on a text speaks of. Without torch."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orster_cli.core.errors import InputError
from orster_cli.core.strict_json import read_object
from orster_cli.diffusion.known_texts import (
    FUNCTION_WORDS,
    content_words,
    stem,
    verb_stem,
    words_of,
)
from orster_cli.diffusion.starts import ARTICLES, DENIALS, MANNER

REST = "rest/config.json"  # in a model's folder
Subjects = Sequence[Sequence[str]]  # of each subject its phrases, the fullest first
# what a word may mean where no subject is called so
_NARROWER = {
    "person": {"man", "woman"},
    "human": {"man", "woman"},
    "animal": {"dog", "horse", "fox"},
}
# from these on a phrase says what its subject has or wears, no longer what it is
_ADDITIONS = frozenset(("with", "without", "in", "on", "of", "at", "holding", "wearing", "piloted"))


@dataclass(frozen=True)
class Found:
    """`phrase`: the fullest of the subject's; `others`: the fullest phrases of those that the text may mean
    as well."""

    phrase: str
    others: tuple[str, ...] = ()


def read_subjects(model: Path) -> Subjects | None:
    """The subjects of which the model in a folder makes objects at rest; None: of none. InputError."""
    path = model / REST
    return subjects_in(read_object(path), path) if path.is_file() else None


def subjects_in(value: Mapping[str, Any], path: Path) -> tuple[tuple[str, ...], ...]:
    """The subjects of the settings `value` in the file `path`. InputError: other than lists of phrases."""
    subjects = value.get("subjects")
    good = isinstance(subjects, list) and all(
        isinstance(one, list) and one and all(type(phrase) is str for phrase in one)
        for one in subjects
    )
    if not good:
        raise InputError(f"{path}: expected subjects, each a list of phrases")
    assert isinstance(subjects, list)
    return tuple(map(tuple, subjects))


def subject_of(text: str, subjects: Subjects) -> Found | None:
    """The one of `subjects` that `text` names most exactly; None: it names none.

    A subject's fullest phrase decides, the longest of several. Else the noun does, then the words that a
    phrase and the text have in common, rare ones more than frequent ones, then how little else the phrase
    says: "a frog" is the frog and not the mech that a frog pilots. Without the noun every word must be
    known: "a red teapot" is no red crab."""
    said = words_of(text)
    whole = [
        phrases[0] for phrases in subjects if _place_of(words_of(phrases[0]), said) is not None
    ]
    if whole:
        return Found(max(whole, key=len))
    words = [[_stems(phrase) for phrase in phrases] for phrases in subjects]
    nouns = {_noun(phrase) for phrases in subjects for phrase in phrases}
    asked = _asked(text, nouns | set(_NARROWER))
    for word, narrower in _NARROWER.items():
        if word in asked and word not in nouns:
            asked = asked - {word} | narrower
    counts = Counter(word for phrases in words for word in set().union(*phrases))
    every_word_is_known = not asked - set(counts)

    def score(phrase: str, has: set[str]) -> tuple[bool, float, int]:
        other = _noun(phrase) not in asked
        named = has & asked if every_word_is_known or not other else set()
        if other and not named & _stems(_name(phrase)):
            return True, 0.0, 0
        common = sum(math.log(1 + len(subjects) / counts[word]) for word in named)
        return other, -common, len(has - asked)

    scored = [
        min(score(phrase, has) for phrase, has in zip(phrases, stems, strict=True))
        for phrases, stems in zip(subjects, words, strict=True)
    ]
    best = min(scored, default=(True, 0.0, 0))
    if not best[1]:
        return None
    found = dict.fromkeys(
        phrases[0] for phrases, one in zip(subjects, scored, strict=True) if one == best
    )
    first, *others = found
    return Found(first, tuple(others))


def named_alike(text: str, subjects: Subjects) -> list[float]:
    """Of each of `subjects`, which share of what `text` says of its own one is said of this one too, in
    [0,1]: rare words count more than frequent ones, words that no subject has do not, nor what it does:
    a sheep that is walking is not called as "a robot walking on two legs" is."""
    words = [set().union(*map(_stems, phrases)) for phrases in subjects]
    counts = Counter(word for one in words for word in one)
    nouns = {_noun(phrase) for phrases in subjects for phrase in phrases}
    said = [word for word in words_of(text) if not word.endswith("ing")]
    weights = {
        word: math.log(1 + len(subjects) / counts[word])
        for word in sorted(_asked(" ".join(said), nouns))
        if word in counts
    }
    whole = sum(weights.values())
    return [
        sum(weight for word, weight in weights.items() if word in one) / whole if whole else 0.0
        for one in words
    ]


def doing_of(text: str, phrases: Sequence[str]) -> list[str]:
    """The words of `text`, in their order, that may say what the subject does which these `phrases` name:
    those after its noun but for what a phrase says of it there ("with a hammer"), and words in "-ing"
    before it that are in no phrase. All words, where there is no noun of its."""
    words = _without_tails(words_of(text), phrases)
    nouns = {_noun(phrase) for phrase in phrases}
    at = next((k for k, word in enumerate(words) if stem(word) in nouns), None)
    if at is None:
        return words
    own = {stem(word) for phrase in phrases for word in words_of(phrase)}
    ahead = [word for word in words[:at] if _is_doing(word) and stem(word) not in own]
    return [*ahead, *words[at + 1 :]]


def left_out_of(text: str, phrases: Sequence[str], actions: Sequence[str]) -> list[str]:
    """The content words of `text`, each once, that are not said of the subject which these `phrases` name,
    nor by one of the phrases of its action; without these of verbs nothing is left out. Among them is what
    the text denies and the subject has: "without a cape"."""
    words, own = words_of(text), set().union(*map(_stems, phrases))
    done = {stem(word) for phrase in actions for word in words_of(phrase)} | MANNER
    said = _asked(text, {_noun(phrase) for phrase in phrases})
    found = []
    for first, before, word in zip(["", "", *words], ["", *words], words, strict=False):
        root, named = verb_stem(word), before in ARTICLES
        denied = before in DENIALS or (named and first in DENIALS)
        asked = bool(actions) or named or (root in said and not _is_doing(word))
        told = word in FUNCTION_WORDS or word in DENIALS or word.endswith("ly")
        if (root in own and denied) or (asked and not told and root not in own | done):
            found.append(word)
    return list(dict.fromkeys(found))


def _without_tails(words: list[str], phrases: Sequence[str]) -> list[str]:
    """`words` without what follows the name in one of the `phrases`, where all of that is there."""
    for phrase in sorted(phrases, key=len, reverse=True):
        whole = words_of(phrase)
        tail = whole[len(words_of(_name(phrase))) :]
        at = _place_of(tail, words) if len(tail) > 1 else None
        if at is not None:
            return words[:at] + words[at + len(tail) :]
    return words


def _place_of(some: Sequence[str], words: Sequence[str]) -> int | None:
    """Where `some` words stand in `words`, one after the other; None: nowhere."""
    places = range(len(words) - len(some) + 1)
    return next((k for k in places if list(words[k : k + len(some)]) == list(some)), None)


def _asked(text: str, nouns: Container[str]) -> set[str]:
    """The stems of `text` up to the word in "-ing" that follows the first of the `nouns`: what comes then
    is what the subject does. All of them where there is none."""
    words = words_of(text)
    named = [k for k, word in enumerate(words) if stem(word) in nouns]
    ends = [k for k, word in enumerate(words) if named and k > named[0] and _is_doing(word)]
    return _stems(" ".join(words[: ends[0]] if ends else words))


def _name(phrase: str) -> str:
    """What a phrase calls its subject, without what it has, wears or does: "a flying robot" of "a flying
    robot walking on two legs"."""
    words = words_of(phrase)
    first = next((k for k, word in enumerate(words) if k and word in _ADDITIONS), len(words))
    while first > 1 and _is_doing(words[first - 1]):
        first -= 1
    return " ".join(words[:first])


def _is_doing(word: str) -> bool:
    return len(word) > 5 and word.endswith("ing")


def _noun(phrase: str) -> str:
    """The stem of the last content word of a subject's name."""
    return stem((content_words(_name(phrase)) or [""])[-1])


def _stems(phrase: str) -> set[str]:
    return {stem(word) for word in content_words(phrase)}
