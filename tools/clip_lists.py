"""The clips that the mini family is trained, tested and validated on, and their captions.

python -m tools.clip_lists list GLB... --out templates/weights-mini2.csv
    the list, from objects.csv and clips.csv of each folder GLB
python -m tools.clip_lists lay-out GLB... --list templates/weights-mini2.csv --split train --out PROJECT
    links to the objects and captions of one split, for `orster prepare-data`. --most 4 takes four clips
    of each object, spread over the actions; --after 4 takes all but those four

A row is one animation. `split` is train; pair (held out: object and action are each known from other
clips); or val (an object that is never trained on). `use` is 1 for train only. `who` and `what` are
words for the object and the action, best first, separated by `|`. Each combination of the two is a
caption.
"""

from __future__ import annotations

import argparse
import csv
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from orster_cli.core.seeding import derive_seed

LICENCE = "CC0-1.0"
COLUMNS = ("file", "clip", "use", "split", "who", "what")
HELD_OUT = 0.04  # share of the pairs of each pack
KNOWN_FROM = 2  # other objects of the pack that show a held-out pair's action in training
LEFT_TO_TRAIN = 3  # actions of an object with a held-out pair
PROMPTED = {("critter_frog.glb", "jumping")}  # a prompt of the documentation: always trained on
# plainer words for an action, used where the object has no other action of that name
PLAINER = {
    "eating from the ground": ("eating", "grazing"),
    "falling backwards": ("falling over",),
    "falling out of the air": ("falling",),
    "falling over": ("dying",),
    "flopping out of water": ("flopping",),
    "flying fast": ("flying",),
    "galloping": ("running",),
    "jumping and landing": ("jumping",),
    "leaping while galloping": ("leaping", "jumping"),
    "lunging and biting": ("biting",),
    "moving along": ("moving",),
    "nodding yes": ("nodding",),
    "punching with the right fist": ("punching",),
    "kicking with the right leg": ("kicking",),
    "rolling forward": ("rolling",),
    "running tall": ("running",),
    "shaking its head no": ("shaking its head",),
    "slashing with a sword": ("slashing", "swinging a sword"),
    "standing still and breathing": ("standing still", "breathing"),
    "swimming fast": ("swimming",),
    "waddling along": ("waddling", "walking"),
    "walking tall": ("walking",),
    "waving hello": ("waving",),
}
_DETAILS = re.compile(r" (?:with|in|holding|piloted by|walking on|made of|carrying) ")
_NOUNS = {"rex": "tyrannosaurus", "head": ""}  # last words that do not name the object
_DOUBLED = ("bb", "dd", "gg", "mm", "nn", "pp", "tt")  # running, nodding, swimming: one is dropped
_PRESENT = {
    "biting": "bites", "bouncing": "bounces", "breathing": "breathes", "closing": "closes",
    "dancing": "dances", "dodging": "dodges", "doing": "does", "driving": "drives", "dying": "dies",
    "firing": "fires",
    "flying": "flies", "headbutting": "headbutts", "lunging": "lunges", "lying": "lies",
    "moving": "moves", "poking": "pokes", "preparing": "prepares", "pulsing": "pulses",
    "raising": "raises", "shaking": "shakes", "waddling": "waddles", "waving": "waves",
    "wriggling": "wriggles",
}  # fmt: skip
Row = dict[str, str]


def rows_of(path: Path) -> list[Row]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def file_of(folders: Sequence[Path], name: str) -> Path:
    """The first file `name` in one of `folders`. Exits if there is none."""
    for folder in folders:
        if (path := folder / name).is_file():
            return path
    sys.exit(f"{name}: in none of {', '.join(map(str, folders))}")


def make_list(folders: Sequence[Path]) -> list[Row]:
    """All usable clips of the training and validation objects. Exits if an object is not CC0."""
    objects = {row["file"]: row for glb in folders for row in rows_of(glb / "objects.csv")}
    rows = []
    for clip in (row for glb in folders for row in rows_of(glb / "clips.csv")):
        about = objects[clip["file"]]
        if (
            clip["use"] == "1"
            and about["split"] in ("train", "val")
            and about["licence"] == LICENCE
        ):
            rows.append({**clip, "split": about["split"], "who": about["subject"]})
    held_out = _held_out([row for row in rows if row["split"] == "train"])
    actions = defaultdict(set)
    for row in rows:
        actions[row["file"]].add(row["action"])
    return [_entry(row, (row["file"], row["action"]) in held_out, actions) for row in rows]


def _held_out(rows: Sequence[Row]) -> set[tuple[str, str]]:
    """Pairs (file, action) to hold out, a share of each pack; their object and action stay in training."""
    pairs = {(row["file"], row["action"]) for row in rows} - PROMPTED
    left = Counter(file for file, _ in {(r["file"], r["action"]) for r in rows})
    shown = Counter((pack_of(r["file"]), r["action"]) for r in rows)
    chosen = set()
    for pack in sorted({pack_of(file) for file, _ in pairs}):
        mine = sorted(
            (pair for pair in pairs if pack_of(pair[0]) == pack),
            key=lambda pair: derive_seed("held out", *pair),
        )
        wanted = max(round(HELD_OUT * len(mine)), 1)
        for file, action in mine:
            known = shown[pack, action] > KNOWN_FROM and left[file] > LEFT_TO_TRAIN
            if wanted and known:
                chosen.add((file, action))
                wanted -= 1
                shown[pack, action] -= 1
                left[file] -= 1
    return chosen


def pack_of(file: str) -> str:
    """The pack of an object: one rig with one set of actions."""
    return file.partition("_")[0]


def _entry(row: Row, held_out: bool, actions: dict[str, set[str]]) -> Row:
    split = "pair" if held_out else row["split"]
    who, what = names_of(row["who"]), words_of(row["action"], actions[row["file"]])
    use = str(int(split == "train"))
    values = (row["file"], row["clip"], use, split, "|".join(who), "|".join(what))
    return dict(zip(COLUMNS, values, strict=True))


def captions_of(row: Row) -> list[str]:
    """All captions of an entry, best first."""
    return [f"{who} {what}" for who in row["who"].split("|") for what in row["what"].split("|")]


def names_of(subject: str) -> list[str]:
    """The description of an object, the same without details, and the noun alone."""
    short = _DETAILS.split(subject)[0]
    noun = short.split()[-1]
    noun = _NOUNS.get(noun, noun)
    plain = [f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"] if noun else []
    return list(dict.fromkeys([subject, short, *plain]))


def words_of(action: str, others: Iterable[str] = ()) -> list[str]:
    """The description of an action, in the present tense, and in plainer words that do not name any of
    `others`."""
    plainer = [word for word in PLAINER.get(action, ()) if word not in set(others)]
    return [word for text in (action, *plainer) for word in (text, present(text))]


def present(action: str) -> str:
    """ "walking backwards" -> "walks backwards"."""
    first, space, rest = action.partition(" ")
    stem = first.removesuffix("ing")
    stem = stem[:-1] if stem.endswith(_DOUBLED) else stem
    ending = "es" if stem.endswith(("s", "h", "x", "z")) else "s"
    return f"{_PRESENT.get(first, stem + ending)}{space}{rest}"


def spread(rows: Sequence[Row], most: int) -> list[Row]:
    """`most` clips of each object, first those whose actions were chosen least often."""
    seen: Counter[str] = Counter()
    chosen = set()
    for file in dict.fromkeys(row["file"] for row in rows):
        mine = [row for row in rows if row["file"] == file]
        for _ in range(min(most, len(mine))):
            row = min(mine, key=lambda row: (seen[row["what"]], derive_seed(file, row["clip"])))
            mine.remove(row)
            seen[row["what"]] += 1
            chosen.add((file, row["clip"]))
    return [row for row in rows if (row["file"], row["clip"]) in chosen]


def lay_out(folders: Sequence[Path], rows: Sequence[Row], out: Path) -> None:
    """Links to the objects of `rows`, and their captions file, with every row in use."""
    places = {path.name: path for glb in folders for path in glb.glob("*.glb")}
    (out / "objects").mkdir(parents=True, exist_ok=True)
    for name in dict.fromkeys(row["file"] for row in rows):
        link = out / "objects" / name
        if not link.exists():
            link.symlink_to(places[name].resolve())
    entries = []
    for row in rows:
        caption, *also = captions_of(row)
        entries.append({**row, "use": "1", "caption": caption, "also": "|".join(also)})
    write(out / "clips.csv", entries)


def write(path: Path, rows: Sequence[Row]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("list", "lay-out"))
    parser.add_argument("folders", type=Path, nargs="+", metavar="GLB")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--list", type=Path, dest="listed")
    parser.add_argument("--split", choices=("train", "pair", "val"), default="train")
    parser.add_argument("--most", type=int, default=0)
    parser.add_argument("--after", type=int, default=0)
    given = parser.parse_args()
    if given.what == "list":
        write(given.out, made := make_list(given.folders))
        print(f"{given.out}: {dict(Counter(row['split'] for row in made))}")
        return
    if given.listed is None:
        parser.error("lay-out needs --list")
    rows = [row for row in rows_of(given.listed) if row["split"] == given.split]
    if given.after:
        first = {(row["file"], row["clip"]) for row in spread(rows, given.after)}
        rows = [row for row in rows if (row["file"], row["clip"]) not in first]
    if given.most:
        rows = spread(rows, given.most)
    if not rows:
        sys.exit(f"{given.listed}: no clips of {given.split} are left")
    lay_out(given.folders, rows, given.out)
    print(f"{given.out}: {len(rows)} clips of {len({row['file'] for row in rows})} objects")


if __name__ == "__main__":
    main()
