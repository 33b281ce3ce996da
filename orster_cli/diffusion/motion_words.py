"""How strongly things move of which a text speaks: what the words of the training captions say of it.

A model is asked for a strength of motion (Diffusion4D's motion magnitude), and follows it more readily than
a text. So where a text is given and no strength, its words choose one: "falling over" moves more than
"waving".
Ridge regression of the logarithm of a clip's strength on the words of its captions; N clips, W words.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from orster_cli.core.errors import InputError
from orster_cli.diffusion.known_texts import MOST_WORDS, words_of

RIDGE = (
    3.0  # clips that an unseen word counts for; of 0.3 to 10 the best for objects never trained on
)
FEWEST = 3  # clips of which a word must speak
LEAST, MOST = 1e-4, 1.0  # strengths of motion


@dataclass(frozen=True, kw_only=True)
class MotionWords:
    """`base`: the logarithm of the median strength; `words`: what each word adds to it."""

    base: float
    words: Mapping[str, float]

    @classmethod
    def of(cls, clips: Iterable[tuple[list[str], float]]) -> MotionWords | None:
        """Of the captions of each clip and its strength; None where no clip has both."""
        kept = [(texts, strength) for texts, strength in clips if texts and strength > 0]
        if not kept:
            return None
        said = [
            Counter(word for text in texts for word in set(words_of(text))) for texts, _ in kept
        ]
        clips_of = Counter(word for words in said for word in words)
        known = sorted(word for word, count in clips_of.items() if count >= FEWEST)[:MOST_WORDS]
        place = {word: i for i, word in enumerate(known)}
        shares = np.zeros((len(kept), len(known)))  # [N,W]: of a clip's captions that have the word
        for row, (words, (texts, _)) in enumerate(zip(said, kept, strict=True)):
            for word in words.keys() & place.keys():
                shares[row, place[word]] = words[word] / len(texts)
        logs = np.log([min(max(strength, LEAST), MOST) for _, strength in kept])
        base = float(np.median(logs))
        normal = shares.T @ shares + RIDGE * np.eye(len(known))
        added = np.linalg.solve(normal, shares.T @ (logs - base))
        parts = {word: round(float(a), 3) for word, a in zip(known, added, strict=True)}
        return cls(base=round(base, 3), words=parts)

    def strength(self, text: str) -> float | None:
        """The strength that clips with the words of `text` have; None: it has no known word."""
        known = self.words.keys() & set(words_of(text))
        if not known:
            return None
        log = self.base + sum(self.words[word] for word in sorted(known))
        return min(max(math.exp(log), LEAST), MOST)

    def merged(self, other: MotionWords) -> MotionWords:
        """That of a model that was trained on `other` later: its words count, and the others stay."""
        words = {**self.words, **other.words}
        return MotionWords(base=other.base, words=dict(list(words.items())[-MOST_WORDS:]))

    def to_json(self) -> dict[str, Any]:
        return {"base": self.base, "words": dict(self.words)}

    @classmethod
    def from_json(cls, value: Any, where: str) -> MotionWords:
        """What `to_json` gave. InputError: anything else."""
        numbers: list[Any] = []
        if isinstance(value, dict) and isinstance(value.get("words"), dict):
            numbers = [value.get("base"), *value["words"].values()]
        right = all(type(one) in (int, float) and abs(one) < 100 for one in numbers)
        if not numbers or not right or len(numbers) > MOST_WORDS + 1:
            raise InputError(f"{where}: motion: expected a base and words with numbers")
        return cls(base=float(value["base"]), words=value["words"])
