"""Prompts that a model can follow, refused before anything is loaded where no word means anything; lists of
prompts and of seeds.
"""

from __future__ import annotations

import shlex
from pathlib import Path

from orster_cli.core.errors import ConfigError, InputError
from orster_cli.core.marks import split_mark
from orster_cli.core.names import as_text, printable, slug
from orster_cli.core.seeding import MOST_SEED
from orster_cli.diffusion.known_texts import content_words, listed, read_known_texts, words_of
from orster_cli.diffusion.subjects import read_subjects, subject_of
from orster_cli.inputs.models import name_of_model

CODE = "E-PROMPT"
MOST_SUBJECTS = 24  # that are listed
TEXTS_MAX_BYTES = 1 << 26  # a million prompts


def check_prompt(
    text: str,
    model: Path,
    *,
    anyway: bool = False,
    with_picture: bool = False,
    with_start: bool = False,
) -> None:
    """InputError: `text` is not UTF-8, has no words or, unless `anyway` or an image or object is given with
    it (`with_picture`), none that the model in the folder `model` knows, or names none of the subjects of
    which that makes objects at rest. `with_start`: something else says what the object is."""
    if any(0xD800 <= ord(c) <= 0xDFFF for c in text):  # bytes of the command line that are no text
        raise InputError(
            f"the text is not UTF-8: {as_text(text)[:80]!r}",
            hint="type it in a terminal of UTF-8, or give a file with --texts",
            code=CODE,
        )
    if not words_of(text):
        shown = f"expected words, got {printable(text)[:80]!r}" if text.strip() else "it is empty"
        hint = (
            "leave the text out to go by the image or object alone"
            if with_picture
            else 'say what moves and how, as "a frog jumping"'
        )
        raise InputError(f"the text says nothing: {shown}", hint=hint, code=CODE)
    known = read_known_texts(model)
    if known is None or known.left_out or anyway or with_picture:
        return
    words = content_words(text)
    if len(known.unknown(text)) < len(words):
        if not with_start:
            _check_subject(text, model)
        return
    alike = dict.fromkeys(one for word in words for one in known.spelled_alike(word, 1))
    near = f" (did you mean {', '.join(map(repr, alike))}?)" if alike else ""
    raise InputError(
        f"the model {model.name} knows no word of {printable(text)[:200]!r}{near}",
        hint=f"it knows {known.summary()}; to sample nevertheless: --anyway",
        code=CODE,
    )


def _check_subject(text: str, model: Path) -> None:
    """InputError: the model in the folder `model` makes objects at rest of texts, and `text` names none."""
    subjects = read_subjects(model)
    if subjects is None or subject_of(text, subjects) is not None:
        return
    shortest = dict.fromkeys(min(phrases, key=len) for phrases in subjects)
    raise InputError(
        f"the model {model.name} cannot make {printable(text)[:200]!r}: it names no object that the model "
        "was trained on",
        hint=f"it knows {listed(shortest, MOST_SUBJECTS)} (orster show "
        f"{shlex.quote(name_of_model(model))} --captions); anything else moves if it is given (--object "
        "FILE.glb, --image FILE.png); to sample nevertheless: --anyway",
        code=CODE,
    )


def read_texts(path: Path) -> list[str]:
    """The lines of `path` that are not blank and do not begin with #, each once. InputError: no such file,
    or no text in it."""
    try:
        if path.stat().st_size > TEXTS_MAX_BYTES:
            raise InputError(f"{path}: more than {TEXTS_MAX_BYTES:,} bytes")
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a text file in UTF-8") from None
    stripped = (line.strip() for line in lines)
    texts = list(dict.fromkeys(line for line in stripped if line and not line.startswith("#")))
    if not texts:
        raise InputError(f"{path}: no text in it", hint="write a text in each line")
    return texts


def folder_of(text: str | None, image: Path | None, static_object: str | None) -> str:
    """A folder's name from the text, the image or the object (a path, or ``dataset#key``)."""
    name = text or (image.stem if image else "")
    if not name and static_object:
        path, _, key = split_mark(static_object)
        name = key or Path(path).stem
    return slug(name, maximum=60).lower()


def folders_of(texts: list[str]) -> list[str]:
    """A folder name for each text; equal names get a number."""
    names: list[str] = []
    for text in texts:
        name = folder_of(text, None, None)
        count = sum(one == name or one.startswith(f"{name}--") for one in names)
        names.append(f"{name}--{count + 1}" if count else name)
    return names


def parse_seeds(text: str) -> list[int]:
    """ "0-7" or "1,5,9", or both: at most 10,000, all with fewer digits than `MOST_SEED`. ConfigError."""
    found: list[int] = []
    for part in text.split(","):
        low, dash, high = part.strip().partition("-")
        high = high if dash else low
        digits = len(str(MOST_SEED))
        fits = all(one.isdecimal() and len(one) < digits for one in (low, high))
        if not fits or int(high) - int(low) not in range(10_000):
            raise ConfigError(f"--seeds: expected 0-7 or 1,5,9, got {text[:40]!r}")
        found += range(int(low), int(high) + 1)
    return list(dict.fromkeys(found))
