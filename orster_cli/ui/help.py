"""How a command's docstring becomes its --help."""

from __future__ import annotations

import inspect
import re

_EXAMPLES = re.compile(r"\bExamples?: ")


def laid_out(docstring: str | None) -> str | None:
    """`docstring` with each of its examples, "Examples: first ; second", on a line that is not wrapped, so
    that it can be copied."""
    if docstring is None:
        return None
    about, *examples = _EXAMPLES.split(inspect.cleandoc(docstring), maxsplit=1)
    if not examples:
        return about
    lines = " ".join(examples[0].split()).split(" ; ")
    title = "Example:" if len(lines) == 1 else "Examples:"
    # \b: typer keeps the line breaks of this paragraph
    return "\n".join([about.rstrip(), "", "\b", title, *(f"  {line}" for line in lines)])
