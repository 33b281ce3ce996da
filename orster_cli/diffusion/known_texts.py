"""The words of a model's training texts, and how a prompt's words compare with them. Without torch."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from orster_cli.core.errors import InputError
from orster_cli.core.strict_json import read_object

KNOWN = "known.json"  # in a model's folder
MOST_WORDS = 4096  # kept of a model; the rarest are left out
MOST_PHRASES = 256  # subjects and actions kept
ALIKE = 0.7  # similarity of the spelling of words (`difflib`), 0 to 1
# words that say neither who moves nor what it does
FUNCTION_WORDS = frozenset(
    (
        *("a", "an", "the", "this", "that", "some", "one", "its", "it", "his", "her", "their"),
        *(
            "of",
            "with",
            "without",
            "in",
            "on",
            "at",
            "to",
            "from",
            "into",
            "onto",
            "out",
            "for",
            "by",
        ),
        *("as", "and", "or", "while", "is", "are", "be", "being", "very"),
        *("do", "does", "did", "will", "can", "not", "never", "cannot"),
    )
)
PLURALS = {
    "children": "child", "dwarves": "dwarf", "elves": "elf", "feet": "foot", "geese": "goose",
    "hooves": "hoof", "knives": "knife", "men": "man", "mice": "mouse", "oxen": "ox",
    "policemen": "policeman", "snowmen": "snowman", "thieves": "thief", "wolves": "wolf",
    "women": "woman",
}  # fmt: skip
IRREGULAR = {
    form: verb
    for verb, forms in {
        "biting": "bit bitten", "digging": "dug", "driving": "drove driven", "dying": "die dies died dead",
        "eating": "ate eaten", "falling": "fell fallen", "fighting": "fought", "flying": "flew flown",
        "kneeling": "knelt", "leaping": "leapt", "lying": "lie lies lay", "running": "ran",
        "shaking": "shook shaken", "shooting": "shot", "sitting": "sat", "sleeping": "slept",
        "spinning": "spun", "standing": "stood", "swimming": "swam swum", "swinging": "swung",
        "throwing": "threw thrown",
    }.items()
    for form in forms.split()
}  # fmt: skip
_VOWELS = "aeiouy"


@dataclass(frozen=True, kw_only=True)
class KnownTexts:
    """`words`: how many clips each word of the captions describes; `subjects` and `actions`: short
    phrases of the captions, the most frequent first; `left_out`: words beyond `MOST_WORDS`."""

    words: Mapping[str, int]
    subjects: tuple[str, ...] = ()
    actions: tuple[str, ...] = ()
    left_out: int = 0

    @classmethod
    def of(
        cls, clips: Iterable[tuple[list[str], tuple[list[str], list[str]] | None]]
    ) -> KnownTexts:
        """Of the captions of each clip and, where they are known, the alternatives of its factors (who,
        what). Else the factors are told apart by the first word in "-ing", for the lists alone."""
        words: Counter[str] = Counter()
        subjects: Counter[str] = Counter()
        actions: Counter[str] = Counter()
        for texts, factors in clips:
            words.update({word for text in texts for word in words_of(text)})
            who, what = factors or _told_apart(texts)
            named = [text for text in what if _is_ing(text.split()[0])] or what
            subjects.update(_shortest(who))
            actions.update(_shortest(named))
        kept = words.most_common(MOST_WORDS)
        return cls(
            words=dict(sorted(kept)),
            subjects=tuple(text for text, _ in subjects.most_common(MOST_PHRASES)),
            actions=tuple(text for text, _ in actions.most_common(MOST_PHRASES)),
            left_out=len(words) - len(kept),
        )

    def merged(self, other: KnownTexts) -> KnownTexts:
        """The texts of both, as those of a model that was trained on one after the other."""
        names = {*self.words, *other.words}
        counts = {n: max(self.words.get(n, 0), other.words.get(n, 0)) for n in names}
        kept = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:MOST_WORDS]
        both = tuple(
            tuple(dict.fromkeys((*one, *two)))[:MOST_PHRASES]
            for one, two in ((self.subjects, other.subjects), (self.actions, other.actions))
        )
        left_out = max(self.left_out, other.left_out) + len(counts) - len(kept)
        return KnownTexts(
            words=dict(sorted(kept)), subjects=both[0], actions=both[1], left_out=left_out
        )

    def unknown(self, text: str) -> list[str]:
        """The content words of `text` that no caption has in any form, each once."""
        stems = {stem(word) for word in self.words}
        return [
            word for word in content_words(text) if len(word) > 1 and verb_stem(word) not in stems
        ]

    def has_action(self, text: str) -> bool:
        """Whether a word of `text` is one of the known actions, in any form."""
        stems = {stem(word) for action in self.actions for word in content_words(action)}
        return any(verb_stem(word) in stems for word in content_words(text))

    def spelled_alike(self, word: str, most: int = 2) -> list[str]:
        """Known content words that are spelled nearly as `word`, the nearest first."""
        return get_close_matches(word, self.content, n=most, cutoff=ALIKE)

    @property
    def content(self) -> list[str]:
        """The known content words."""
        return [word for word in self.words if word not in FUNCTION_WORDS]

    def summary(self, most: int = 12) -> str:
        """What the model knows, in one line: "a fox, a frog; walking, jumping"."""
        parts = [listed(phrases, most) for phrases in (self.subjects, self.actions) if phrases]
        return "; ".join(parts) or listed(self.content, 2 * most)

    def to_json(self) -> dict[str, Any]:
        return {
            "words": dict(self.words),
            "subjects": list(self.subjects),
            "actions": list(self.actions),
            "left_out": self.left_out,
        }

    @classmethod
    def from_json(cls, value: Any, where: str) -> KnownTexts:
        """What `to_json` gave. InputError: anything else."""
        wrong = InputError(f"{where}: expected words with counts, subjects and actions")
        if not isinstance(value, dict) or set(value) != {
            "words",
            "subjects",
            "actions",
            "left_out",
        }:
            raise wrong
        words, left_out = value["words"], value["left_out"]
        lists = (value["subjects"], value["actions"])
        if not isinstance(words, dict) or len(words) > MOST_WORDS or type(left_out) is not int:
            raise wrong
        if not all(type(count) is int for count in words.values()):
            raise wrong
        for phrases in lists:
            if not isinstance(phrases, list) or len(phrases) > MOST_PHRASES:
                raise wrong
            if not all(type(text) is str for text in phrases):
                raise wrong
        return cls(
            words=words, subjects=tuple(lists[0]), actions=tuple(lists[1]), left_out=left_out
        )


def read_known(folder: Path) -> dict[str, Any] | None:
    """The content of `KNOWN` in a model's `folder`; None where there is none. InputError."""
    path = folder / KNOWN
    if not path.is_file():
        return None
    value = read_object(path)
    if value.get("format") != "orster-known" or value.get("version") != 1:
        raise InputError(f"{path}: expected orster-known version 1")
    return value


def read_known_texts(folder: Path) -> KnownTexts | None:
    """The texts that the model in `folder` knows; None where that is not recorded. InputError."""
    value = read_known(folder)
    texts = None if value is None else value.get("texts")
    return None if texts is None else KnownTexts.from_json(texts, str(folder / KNOWN))


def words_of(text: str) -> list[str]:
    """The words of a text in lower case; "don't" is "do not"."""
    told = (
        text.lower().replace("\u2019", "'").replace("can't", "cannot").replace("won't", "will not")
    )
    return re.findall(r"[^\W_]+", re.sub(r"n't\b", " not", told))


def content_words(text: str) -> list[str]:
    """The words of a text without function words, each once."""
    return [word for word in dict.fromkeys(words_of(text)) if word not in FUNCTION_WORDS]


def stem(word: str) -> str:
    """`word` without its English inflection: "jumps", "jumped" and "jumping" are one word. It is only
    compared: "biting" and "bites" become "bit", "zombie" and "zombies" "zombi"."""
    word = PLURALS.get(word, word)
    for ending, instead in (
        ("ies", "i"),
        ("ied", "i"),
        ("ing", ""),
        ("ed", ""),
        ("es", ""),
        ("s", ""),
    ):
        root = word.removesuffix(ending)
        if root != word and len(root) > 2 and any(letter in _VOWELS for letter in root):
            doubled = ending in ("ing", "ed") and root[-1] == root[-2] and root[-1] not in "ls"
            return _without_end(root[:-1] if doubled else root + instead)
    return _without_end(word) if len(word) > 3 else word


def verb_stem(word: str) -> str:
    """`stem`, of irregular forms of verbs too: "ran" is "run"."""
    return stem(IRREGULAR.get(word, word))


def _without_end(root: str) -> str:
    """`root` without a last e, and with i for y: "carry" as what is left of "carries"."""
    shorter = root.removesuffix("e")
    return shorter[:-1] + "i" if len(shorter) > 3 and shorter.endswith("y") else shorter


def _told_apart(texts: list[str]) -> tuple[list[str], list[str]]:
    """Subjects and actions of captions such as "a green frog jumping"."""
    who, what = [], []
    for text in texts:
        words = text.split()
        at = next((k for k, word in enumerate(words) if k and _is_ing(word)), None)
        if at is not None:
            who.append(" ".join(words[:at]))
            what.append(" ".join(words[at:]))
    return who, what


def _is_ing(word: str) -> bool:
    return len(word) > 5 and word.endswith("ing")


def _shortest(texts: Iterable[str]) -> list[str]:
    """The shortest of some alternatives, if there is any."""
    found = sorted(texts, key=len)
    return found[:1]


def listed(phrases: Iterable[str], most: int) -> str:
    """The first `most` of `phrases`, and how many more there are."""
    found = list(phrases)
    more = f" and {len(found) - most} more" if len(found) > most else ""
    return ", ".join(found[:most]) + more
