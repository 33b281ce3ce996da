"""Which clips were dropped, and why: listed in the manifest, or in a file of their own where they are many.

`content["dropped"]` of a dataset is that list. Beyond `MOST` it is empty, and `content["dropped_file"]`
names the file with all of them, one JSON object in each line: a manifest is read whole, and often.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import Any

from orster_cli.artifacts.folders import is_plain_file
from orster_cli.core.atomic import replacing
from orster_cli.core.errors import InputError
from orster_cli.core.strict_json import parse_json

MOST = 10_000  # in the manifest
FILE = "dropped.jsonl"
DROPPED, DROPPED_FILE = "dropped", "dropped_file"
CURATED = ("no motion", "broken motion", "cut off")  # what `prepare.curate` drops
_KINDS = (  # a reason, or what it begins with before a colon
    *(*CURATED, "empty", "in the Consistent4D test set"),
    *("no row in the captions file", "use = 0 in the captions file"),
    "the animation moves nothing",
)
NO_ANIMATION, UNREADABLE = "no animation", "cannot be read"
_LONGEST_LINE = 1 << 20


def write_dropped(out: Path, drops: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The entries of a dataset's content for the dropped clips (key, source, reason); writes the file into
    `out` where they are more than `MOST`."""
    each = iter(drops)
    first = [dict(one) for one in islice(each, MOST + 1)]
    if len(first) <= MOST:
        return {DROPPED: first}
    with replacing(out / FILE) as part, part.open("w", encoding="utf-8") as file:
        for one in chain(first, each):
            file.write(json.dumps(one, ensure_ascii=False, separators=(",", ":")) + "\n")
    return {DROPPED: [], DROPPED_FILE: FILE}


def read_dropped(root: Path, content: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The dropped clips of the dataset in `root`. InputError: its list is damaged or missing."""
    yield from content.get(DROPPED) or ()
    if content.get(DROPPED_FILE) is None:
        return
    path = root / FILE
    if content[DROPPED_FILE] != FILE or not is_plain_file(root, FILE):
        raise InputError(f"{path}: no such file of the dataset")
    with path.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(_LONGEST_LINE), b""), start=1):
            where = f"{path}, line {number}"
            value = parse_json(line.decode("utf-8", "replace"), where=where)
            if not isinstance(value, dict) or type(value.get("reason")) is not str:
                raise InputError(f"{where}: expected a clip with its reason")
            yield value


def cause(reason: str) -> str:
    """The kind of a reason: "no motion" of "no motion: SSIM over the object 1.000 and 1.000"."""
    for kind in _KINDS:
        if reason == kind or reason.startswith(f"{kind}: "):
            return kind
    return NO_ANIMATION if reason.endswith(f": {NO_ANIMATION}") else UNREADABLE


def count_causes(reasons: Iterable[str]) -> str:
    """ "2 no motion, 1 cut off", the most frequent first."""
    counts = Counter(map(cause, reasons))
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{count} {kind}" for kind, count in ordered)
