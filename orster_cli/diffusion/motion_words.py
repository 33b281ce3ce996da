"""How strongly things move of which a text speaks, and where they stand: what the words of the training
captions say of it.

A model is asked for a strength of motion (Diffusion4D's motion magnitude), and follows it more readily than
a text. So where a text is given and no strength, its words choose one: "falling over" moves more than
"waving". And a clip of somebody who falls over has room where he will lie: where an object stands in the
picture tells the model what it will do, so that an object which is given is shown as the clips with the
text's words show theirs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from orster_cli.diffusion.word_regression import WordRegression, read_numbers
from orster_cli.geometry.similarity import Similarity

LEAST, MOST = 1e-4, 1.0  # strengths of motion
NEAREST, FARTHEST = 0.4, 2.5  # factors on the cameras' distance
MOST_OFF = 1.0  # of the object's longest side


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
        logs = np.log([[min(max(strength, LEAST), MOST)] for _, strength in kept])
        found = WordRegression.of([texts for texts, _ in kept], logs)
        return cls._of(found)

    def strength(self, text: str) -> float | None:
        """The strength that clips with the words of `text` have; None: it has no known word."""
        found = self._regression().numbers(text)
        return None if found is None else min(max(math.exp(float(found[0])), LEAST), MOST)

    def merged(self, other: MotionWords) -> MotionWords:
        """That of a model that was trained on `other` later: its words count, and the others stay."""
        return self._of(self._regression().merged(other._regression()))

    def to_json(self) -> dict[str, Any]:
        return {"base": self.base, "words": dict(self.words)}

    @classmethod
    def from_json(cls, value: Any, where: str) -> MotionWords:
        """What `to_json` gave. InputError: anything else."""
        base, words = read_numbers(value, 0, f"{where}: motion")
        return cls(base=float(base), words=words)

    @classmethod
    def _of(cls, found: WordRegression) -> MotionWords:
        words = {word: added[0] for word, added in found.words.items()}
        return cls(base=found.base[0], words=words)

    def _regression(self) -> WordRegression:
        words = {word: (added,) for word, added in self.words.items()}
        return WordRegression(base=(self.base,), words=words)


def framing_by(numbers: Sequence[float]) -> Similarity:
    """What brings the usual cameras to where four `numbers` have them: the logarithm of the factor on their
    distance, and the point that they look at."""
    log_far, *point = numbers
    far = min(max(math.exp(log_far), NEAREST), FARTHEST)
    x, y, z = (-min(max(one, -MOST_OFF), MOST_OFF) / far for one in point)
    return Similarity(scale=far, center=(x, y, z))


@dataclass(frozen=True, kw_only=True)
class FramingWords:
    """Where the cameras of clips with some words are, in the world of an object that is centred and has a
    longest side of 1 at the clip's start: the logarithm of the factor on their distance, and the point
    [3] that they look at."""

    found: WordRegression

    @classmethod
    def of(cls, clips: Iterable[tuple[list[str], Sequence[float] | None]]) -> FramingWords | None:
        """Of the captions of each clip and its framing (`dataset.views.framing_of`); None where no clip
        has both."""
        kept = [(texts, framing) for texts, framing in clips if texts and framing]
        if not kept:
            return None
        numbers = np.array([[math.log(far), *point] for _, (far, *point) in kept])
        return cls(found=WordRegression.of([texts for texts, _ in kept], numbers))

    def framing(self, text: str) -> Similarity | None:
        """What brings the usual cameras to where clips with the words of `text` have them; None: it has no
        known word."""
        numbers = self.found.numbers(text)
        return None if numbers is None else framing_by(numbers.tolist())

    def merged(self, other: FramingWords) -> FramingWords:
        """As `MotionWords.merged`."""
        return FramingWords(found=self.found.merged(other.found))

    def to_json(self) -> dict[str, Any]:
        words = {word: list(added) for word, added in self.found.words.items()}
        return {"base": list(self.found.base), "words": words}

    @classmethod
    def from_json(cls, value: Any, where: str) -> FramingWords:
        """What `to_json` gave. InputError: anything else."""
        base, words = read_numbers(value, 4, f"{where}: framing")
        added = {word: tuple(numbers) for word, numbers in words.items()}
        return cls(found=WordRegression(base=tuple(base), words=added))
