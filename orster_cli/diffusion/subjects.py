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
from orster_cli.diffusion.known_texts import content_words, stem, words_of

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

    What decides is the noun, then the words that a phrase and the text have in common, rare ones more than
    frequent ones, then how little else the phrase says: "a frog" is the frog and not the mech that a frog
    pilots. Without the noun every word must be known: "a red teapot" is no red crab."""
    words = [[_stems(phrase) for phrase in phrases] for phrases in subjects]
    nouns = {_noun(phrase) for phrases in subjects for phrase in phrases}
    asked = _stems(_divided(text, nouns | set(_NARROWER))[0])
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


def doing_of(text: str, subjects: Subjects) -> str:
    """What the subject of `text` does, or all of it where no word in "-ing" says where that begins."""
    nouns = {_noun(phrase) for phrases in subjects for phrase in phrases}
    return _divided(text, nouns | set(_NARROWER))[1] or text


def _divided(text: str, nouns: Container[str]) -> tuple[str, str]:
    """The words of `text` up to the word in "-ing" that follows the first of the `nouns`, and those from
    there on, which are what the subject does. Where there is no such word: all of them, and none."""
    words = words_of(text)
    named = [k for k, word in enumerate(words) if stem(word) in nouns]
    ends = [k for k, word in enumerate(words) if named and k > named[0] and _is_doing(word)]
    end = ends[0] if ends else len(words)
    return " ".join(words[:end]), " ".join(words[end:])


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
