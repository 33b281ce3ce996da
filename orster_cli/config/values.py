"""The value of one setting: read from text, and checked by pydantic against its type and bounds."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from types import UnionType
from typing import Annotated, Any, Literal, get_args, get_origin
from unicodedata import category

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from orster_cli.core.errors import ConfigError
from orster_cli.core.limits import TOML_MAX_LINE
from orster_cli.core.names import did_you_mean, printable

LARGEST = 2**63
NO_RULE: Mapping[str, Any] = {}


class Text(str):
    """A value as typed after --set or in the environment: its setting's type says how to read it."""

    __slots__ = ()


def setting_value(value: Any, kind: Any, rule: Mapping[str, Any], where: str) -> Any:
    """`value` as type `kind`, within `rule` (choices, minimum, maximum, of each item of a tuple).

    Ints count as floats; "a,b" and a single number as a tuple. ConfigError, which begins with
    `where`."""
    value = _prepared(value, kind)
    try:
        return _adapter(
            kind, *(rule.get(n) for n in ("choices", "minimum", "maximum"))
        ).validate_python(value)
    except ValidationError as error:
        raise ConfigError(f"{where}: {_message(error.errors()[0], kind, rule)}") from None


@cache
def _adapter(
    kind: Any, choices: tuple[str, ...] | None, minimum: float | None, maximum: float | None
) -> TypeAdapter[Any]:
    def constrained(option: Any) -> Any:
        if get_origin(option) is tuple:
            return tuple[constrained(get_args(option)[0]), ...]  # type: ignore[misc]
        if choices and option is str:
            return Literal[choices]
        if option is str:
            return Annotated[str, AfterValidator(_plain)]
        if option in (int, float):
            field = Field(ge=minimum, le=maximum, gt=-LARGEST, lt=LARGEST)
            return Annotated[option, field]
        return option

    made: Any = None
    for option in _options(kind):
        made = constrained(option) if made is None else made | constrained(option)
    return TypeAdapter(made, config=ConfigDict(strict=True, allow_inf_nan=False))


def _plain(text: str) -> str:
    if any(category(c) in ("Cc", "Cs") for c in text):
        raise PydanticCustomError("control", "holds control characters")
    return text


def _options(kind: Any) -> tuple[Any, ...]:
    """The types of a union, or `kind` itself."""
    return get_args(kind) if isinstance(kind, UnionType) else (kind,)


def _prepared(value: Any, kind: Any) -> Any:
    """`value` in Python's form: text read, "none" and tuples made."""
    options = _options(kind)
    if value == "none" and type(None) in options:
        return None
    if isinstance(value, Text):
        read = _literal(value)
        value = str(value) if str in options and type(read) not in options else read
    for option in options:
        if get_origin(option) is tuple:
            if isinstance(value, str):
                value = [Text(entry.strip()) for entry in value.split(",")]
            elif isinstance(value, (int, float)):
                value = [value]
            if isinstance(value, (list, tuple)):
                return tuple(_prepared(entry, get_args(option)[0]) for entry in value)
    return value


def _literal(text: str) -> Any:
    """`text` as the TOML value that it is; else the text itself."""
    try:
        values = tomllib.loads(f"v = {text}") if len(text) <= TOML_MAX_LINE else {}
    except (ValueError, RecursionError):
        return str(text)
    return values["v"] if len(values) == 1 else str(text)


def _message(error: ErrorDetails, kind: Any, rule: Mapping[str, Any]) -> str:
    """pydantic's first error in our words."""
    inside = error["loc"] and isinstance(error["loc"][0], int)  # an item of a tuple
    options = get_args(kind)[:1] if inside else _options(kind)
    got = error["input"]
    shown = printable(str(got))[:80]
    if choices := list(rule.get("choices") or ()):
        meant = did_you_mean(got, choices) if isinstance(got, str) else ""
        shown = repr(shown) if isinstance(got, str) else shown
        return f"expected one of {', '.join(choices)}, got {shown}{meant}"
    match error["type"]:
        case "control":
            return f"holds control characters: {shown!r}"
        case "greater_than_equal" if abs(got) < LARGEST:
            return f"expected at least {rule['minimum']}, got {shown}"
        case "less_than_equal" if abs(got) < LARGEST:
            return f"expected at most {rule['maximum']}, got {shown}"
        case "finite_number":
            return "expected a finite number of 64 bits"
        case "greater_than_equal" | "less_than_equal" | "greater_than" | "less_than":
            if float not in options or type(got) is float:
                return "expected a finite number of 64 bits"
    want = " or ".join(getattr(option, "__name__", str(option)) for option in options)
    return f"expected {want}, got {printable(repr(got))[:80]}"
