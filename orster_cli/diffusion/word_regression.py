"""What the words of captions say of numbers that belong to their clips.

Ridge regression of the numbers on the words; N clips, W words, V numbers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from orster_cli.core.errors import InputError
from orster_cli.diffusion.known_texts import MOST_WORDS, words_of

RIDGE = (
    3.0  # clips that an unseen word counts for; of 0.3 to 10 the best for objects never trained on
)
FEWEST = 3  # clips of which a word must speak


@dataclass(frozen=True, kw_only=True)
class WordRegression:
    """`base` [V]: the medians; `words`: the V numbers that each word adds to them."""

    base: tuple[float, ...]
    words: Mapping[str, tuple[float, ...]]

    @classmethod
    def of(cls, texts: Sequence[Sequence[str]], numbers: np.ndarray) -> WordRegression:
        """Of the captions of each clip, one or several, and its `numbers` [N,V]."""
        said = [Counter(word for text in some for word in set(words_of(text))) for some in texts]
        clips_of = Counter(word for words in said for word in words)
        known = sorted(word for word, count in clips_of.items() if count >= FEWEST)[:MOST_WORDS]
        place = {word: i for i, word in enumerate(known)}
        shares = np.zeros((len(said), len(known)))  # [N,W]: of a clip's captions that have the word
        for row, (words, some) in enumerate(zip(said, texts, strict=True)):
            for word in words.keys() & place.keys():
                shares[row, place[word]] = words[word] / len(some)
        base = np.median(numbers, axis=0)
        normal = shares.T @ shares + RIDGE * np.eye(len(known))
        added = np.linalg.solve(normal, shares.T @ (numbers - base))
        rounded = {
            word: tuple(np.round(row, 3).tolist()) for word, row in zip(known, added, strict=True)
        }
        return cls(base=tuple(np.round(base, 3).tolist()), words=rounded)

    def numbers(self, text: str) -> np.ndarray | None:
        """[V] of clips with the words of `text`; None: it has no known word."""
        known = self.words.keys() & set(words_of(text))
        if not known:
            return None
        total = np.array(self.base)
        for word in sorted(known):
            total = total + np.array(self.words[word])
        return total

    def merged(self, other: WordRegression) -> WordRegression:
        """That of a model that was trained on `other` later: its words count, and the others stay."""
        words = {**self.words, **other.words}
        return WordRegression(base=other.base, words=dict(list(words.items())[-MOST_WORDS:]))


def read_numbers(value: Any, count: int, what: str) -> tuple[Any, dict[str, Any]]:
    """The base and the words of what a model's file has, each with `count` numbers, or one number alone for
    a `count` of 0. InputError: anything else; `what` names it."""
    base, words = (
        (value.get("base"), value.get("words")) if isinstance(value, dict) else (None, None)
    )

    def right(one: Any) -> bool:
        if count == 0:
            return type(one) in (int, float) and abs(one) < 100
        return (
            isinstance(one, list)
            and len(one) == count
            and all(type(number) in (int, float) and abs(number) < 100 for number in one)
        )

    if (
        not isinstance(words, dict)
        or len(words) > MOST_WORDS
        or not all(map(right, [base, *words.values()]))
    ):
        raise InputError(f"{what}: expected a base and words with numbers")
    return base, words
