"""Command lines in the pages that teach (README, tutorial, how-to ...), and how they run at toy size."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
DOCS = REPOSITORY / "docs"
TEACHING = (
    REPOSITORY / "README.md", *(DOCS / f"{name}.md" for name in ("index", "install", "results")),
    DOCS / "tutorial.md", DOCS / "tips.md", *sorted((DOCS / "howto").glob("*.md")),
)  # fmt: skip

FIT = [
    *(f"construct.{stage}_steps=4" for stage in ("static", "coarse", "fine")),
    "construct.gaussians=200", "construct.max_gaussians=300", "construct.resolution=32",
]  # fmt: skip
# command -> settings that make it small; they stand last, so they win over those of the page
SMALL = {
    "sample-video": ["sample.steps=2"],
    "generate": ["sample.steps=2", *FIT],
    "construct": ["sample.steps=2", *FIT],
    "prepare-data": ["prepare.frames=4", "prepare.resolution=32", "prepare.supersample=1"],
}
TOO_LARGE = {"--resolution": "32", "--eval-views": "4", "--workers": "1", "--size": "64"}


@dataclass(frozen=True)
class Line:
    """A command line of a page: `text` as it stands there, without its comment."""

    text: str
    words: list[str] = field(repr=False)

    @property
    def is_orster(self) -> bool:
        return self.words[0] == "orster"


def lines(page: Path) -> list[Line]:
    """The lines of a page's indented blocks."""
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    found = []
    for line in re.findall(r"^ {4}(\S.*)$", text, re.MULTILINE):
        line = re.split(r"\s+# ", line)[0].strip()
        try:
            words = shlex.split(line)
        except ValueError:
            words = line.split()
        found.append(Line(line, words))
    return found


def small(words: list[str]) -> list[str]:
    """What orster is given in place of `words`, which are those after `orster`."""
    words = list(words)
    for index, word in enumerate(words[:-1]):
        if word in TOO_LARGE:
            words[index + 1] = TOO_LARGE[word]
    if (
        words[0] not in SMALL
        or "--help" in words
        or "--merge" in words
        or "--write-captions" in words
    ):
        return words
    return words + [part for setting in SMALL[words[0]] for part in ("--set", setting)]
