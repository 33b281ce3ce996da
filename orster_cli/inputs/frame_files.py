"""The images of a folder as frames: in the order of their numbers, with what was left out said."""

from __future__ import annotations

import itertools
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from orster_cli.core.errors import InputError
from orster_cli.core.file_kinds import IMAGES, OBJECTS
from orster_cli.core.names import counted, frame_numbers, natural_key, own_name, printable
from orster_cli.core.reporting import Reporter
from orster_cli.io.images import read_image

MOST_MISSING = 0.5  # of the frames that are there; with more numbers missing, numbers are no steps
SHOWN = 3  # names in a message
EVEN = 0.1  # of a step: numbers so near to even steps are rounded ones
_NUMBER = re.compile(
    r"(?:(?<![0-9A-Za-z)])-)?[0-9]{1,300}(?:\.[0-9]+)?"
)  # signed after "_", "=" or alone


@dataclass(frozen=True, kw_only=True)
class FrameFiles:
    """`paths` of T frames in order and the `progress` [T] float64 of each from 0 (first frame) to 1 (where
    the frame after the last one would be)."""

    paths: list[Path]
    progress: Tensor


def find_frames(folder: Path, reporter: Reporter) -> FrameFiles:
    """The images in `folder` in natural order of their names; other and hidden files are counted aloud.

    A frame whose number is missing leaves a gap. InputError: there are no images, or two are the same
    frame."""
    where = own_name(folder)
    entries = [path for path in folder.iterdir() if not path.is_dir()]
    hidden = [path for path in entries if path.name.startswith(".")]
    shown = [path for path in entries if not path.name.startswith(".")]
    paths = [path for path in shown if path.suffix.lower() in IMAGES]
    if not paths:
        raise _no_images(folder, sorted(path.name for path in folder.iterdir()))
    if hidden:
        reporter.warn(f"{where}: {counted(len(hidden), 'hidden file')} skipped: {_some(hidden)}")
    others = [path for path in shown if path not in set(paths)]
    if others:
        reporter.note(f"{where}: {counted(len(others), 'other file')} not used: {_some(others)}")
    paths = in_order(paths)
    _check_twice(folder, paths)
    _check_pairs(folder, paths)
    if paths != sorted(paths):
        reporter.warn(
            f"{where}: frames are taken in the order of their numbers, {paths[0].name} to "
            f"{paths[-1].name}; the order of the letters would be another one"
        )
    return FrameFiles(paths=paths, progress=progress_of(paths, where, reporter))


def in_order(paths: list[Path]) -> list[Path]:
    """`paths` in natural order of their names. Where the names differ in one number, it counts with its
    sign if some have one, and as a decimal if the decimals differ in length ("0.25" before "0.5")."""
    named = sorted(paths, key=lambda path: natural_key(path.name))
    found = [list(_NUMBER.finditer(path.stem)) for path in named]
    if not all(found):
        return named
    last = [matches[-1] for matches in found]
    if len({(m.string[: m.start()], m.string[m.end() :]) for m in last}) > 1:
        return named
    texts = [m[0] for m in last]
    signed = {text.startswith("-") for text in texts}
    decimals = [text.partition(".")[2] for text in texts if "." in text]
    lengths = {len(decimal) for decimal in decimals}
    # "1.9" and "1.10" are counted; "0.0" and "1.0" stand among fractions too
    padded = any(len(decimal) > 1 and decimal.endswith("0") for decimal in decimals)
    if len(signed) < 2 and (len(lengths) < 2 or padded):
        return named
    order = sorted(range(len(named)), key=lambda i: float(texts[i]))
    return [named[i] for i in order]


def progress_of(paths: list[Path], where: str, reporter: Reporter) -> Tensor:
    """`FrameFiles.progress` of `paths` in order: by their numbers where few are missing."""
    count = len(paths)
    even = torch.arange(count, dtype=torch.float64) / count
    numbers = frame_numbers([path.stem for path in paths])
    if numbers is None or numbers != sorted(numbers):
        return even
    steps = torch.tensor([b - a for a, b in itertools.pairwise(numbers)])
    step = int(steps.median())
    if bool((steps == step).all()):
        return even
    places = (torch.tensor([n - numbers[0] for n in numbers], dtype=torch.float64)) / step
    missing = float(places[-1]) + 1 - count
    if float((places - torch.arange(count)).abs().max()) < EVEN:
        return even
    if missing > MOST_MISSING * count:
        reporter.warn(
            f"{where}: its numbers go from {numbers[0]} to {numbers[-1]} for {count} frames: too many are "
            "missing to place the frames by them, so they are taken as evenly spaced"
        )
        return even
    left_out = f"leave out {round(missing)} between" if round(missing) > 0 else "are uneven between"
    reporter.warn(
        f"{where}: {count} frames, but their numbers {left_out} {numbers[0]} and {numbers[-1]}: each "
        "frame is placed by its number"
    )
    return places / (float(places[-1]) + 1)


def read_frames(paths: list[Path], where: str, used: int) -> Tensor:
    """[T,3 or 4,H,W] of images of one size; an alpha of 255 everywhere beside images without one is none.

    InputError names the first image that differs, LimitError: too many pixels."""
    from orster_cli.io.clip_files import check_size

    images: list[Tensor] = []
    for path in paths:
        image = read_image(path)
        if not images:
            check_size(used, image.shape[2], image.shape[1], where)
        elif image.shape[1:] != images[0].shape[1:]:
            raise InputError(
                f"{path}: the images differ in size: expected {_size(images[0])} as in {paths[0].name}, "
                f"got {_size(image)}",
                hint="keep frames of one size in the folder, and masks or previews elsewhere",
            )
        images.append(image)
    with_alpha = [len(image) == 4 for image in images]
    if any(with_alpha) and not all(with_alpha):
        for i, image in enumerate(images):
            if with_alpha[i] and bool((image[3] == 1).all()):
                images[i] = image[:3]
        left = [i for i, image in enumerate(images) if len(image) == 4]
        if left:
            odd = min(i for i, image in enumerate(images) if len(image) != len(images[0]))
            has, lacks = ("alpha", "none") if len(images[0]) == 4 else ("no alpha", "some")
            raise InputError(
                f"{paths[odd]}: the images differ in size or alpha: only {len(left)} of {len(images)} "
                f"have alpha, expected all or none; {paths[0].name} has {has}, {paths[odd].name} {lacks}",
                hint="give all frames as RGBA PNG, or all without alpha",
            )
    return torch.stack(images)


def _size(image: Tensor) -> str:
    return f"{image.shape[2]}x{image.shape[1]} pixels"


def _check_twice(folder: Path, paths: list[Path]) -> None:
    """InputError: two files are the same frame, by name without ending."""
    seen: dict[str, Path] = {}
    for path in paths:
        first = seen.setdefault(path.stem, path)
        if first is not path:
            raise InputError(
                f"{folder}: {printable(first.name)} and {printable(path.name)} are the same frame by their "
                "names, expected one file a frame",
                hint="move one of the two sets of images into a folder of its own",
            )


def _check_pairs(folder: Path, paths: list[Path]) -> None:
    """InputError: several frames are there twice under the same number, such as a picture and its mask."""
    seen: dict[tuple[str, ...], Path] = {}
    twice: list[tuple[Path, Path]] = []
    for path in paths:
        numbers = tuple(_NUMBER.findall(path.stem))
        first = seen.setdefault(numbers, path)
        if numbers and first is not path:
            twice.append((first, path))
    if len(twice) > 1:
        first, second = twice[0]
        raise InputError(
            f"{folder}: {len(twice)} of {len(paths)} images have the numbers of others, as "
            f"{printable(first.name)} and {printable(second.name)}: expected one image a frame",
            hint="move masks, depth or other passes into a folder of their own (masks belong in the alpha "
            "of the frames), or number all frames in one row",
        )


def _no_images(folder: Path, found: list[str]) -> InputError:
    shown = (
        f"only {', '.join(map(printable, found[:SHOWN]))}{', ...' if len(found) > SHOWN else ''}"
    )
    below = [
        folder / name
        for name in found
        if not name.startswith(".")
        and (folder / name).is_dir()
        and any(path.suffix.lower() in IMAGES for path in (folder / name).iterdir())
    ]
    hint = f"images end in {', '.join(IMAGES)}"
    if any(name.lower().endswith(OBJECTS) for name in found):
        named = shlex.quote(str(folder))
        hint = (
            f"give one object of it; or all: orster prepare-data {named} -o dataset/ renders their own "
            f'animations, orster run generate --over {named} -o OUT -- --text "..." animates each'
        )
    if below:
        hint = f"the images of {below[0]} are read by that path"
    return InputError(
        f"{folder}: expected a clip, a dataset, transforms.json or images, found "
        f"{shown if found else 'an empty folder'}",
        hint=hint,
    )


def _some(paths: list[Path]) -> str:
    names = sorted(printable(path.name) for path in paths)
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
