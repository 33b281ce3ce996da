"""Why clips were dropped, in few words with counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

_KINDS = (  # what a reason begins with
    *("no motion", "broken motion", "empty", "cut off", "in the Consistent4D test set"),
    *("no row in the captions file", "use = 0 in the captions file"),
    "the animation moves nothing",
)
NO_ANIMATION, UNREADABLE = "no animation", "cannot be read"


def cause(reason: str) -> str:
    """The kind of a reason: "no motion" of "no motion: SSIM over the object 1.000 and 1.000"."""
    for kind in _KINDS:
        if reason.startswith(kind):
            return kind
    return NO_ANIMATION if reason.endswith(f": {NO_ANIMATION}") else UNREADABLE


def count_causes(reasons: Iterable[str]) -> str:
    """ "2 no motion, 1 cut off", the most frequent first."""
    counts = Counter(map(cause, reasons))
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{count} {kind}" for kind, count in ordered)
