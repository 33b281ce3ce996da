"""Prompts that a model can follow: refused before anything is loaded where no word means anything."""

from __future__ import annotations

from pathlib import Path

from orster_cli.core.errors import InputError
from orster_cli.core.names import printable
from orster_cli.diffusion.known_texts import content_words, read_known_texts, words_of

CODE = "E-PROMPT"


def check_prompt(
    text: str, model: Path, *, anyway: bool = False, with_picture: bool = False
) -> None:
    """InputError: `text` has no words or, unless `anyway` or an image or object is given with it
    (`with_picture`), none that the model in the folder `model` knows."""
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
        return
    alike = dict.fromkeys(one for word in words for one in known.spelled_alike(word, 1))
    near = f" (did you mean {', '.join(map(repr, alike))}?)" if alike else ""
    raise InputError(
        f"the model {model.name} knows no word of {printable(text)[:200]!r}{near}",
        hint=f"it knows {known.summary()}; to sample nevertheless: --anyway",
        code=CODE,
    )
