"""The templates of this package (`templates/`), filled by Jinja2.

The template engine escapes whatever a user, a file name or a prompt brings, and replaces characters
that drive a terminal or reorder text.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from orster_cli.core.names import printable
from orster_cli.report.tabular import finite, format_interval, format_number, metric_label

TEMPLATES = Path(__file__).with_name("templates")


def render(template: str, **values: Any) -> str:
    """The file `template` filled with `values`. jinja2.UndefinedError: a value is missing."""
    return _environment().get_template(template).render(values)


def fragment(template: str, **values: Any) -> Markup:
    """As `render`; another template inserts it without escaping it again."""
    return Markup(render(template, **values))  # noqa: S704


def source_text(name: str) -> Markup:
    """A style sheet or script of this package, which a page holds as it is."""
    return Markup((TEMPLATES / name).read_text(encoding="utf-8").strip())  # noqa: S704


@cache
def _environment() -> Environment:
    env = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        finalize=_displayable,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.globals["metric_label"] = metric_label
    env.filters |= {
        "base64": lambda data: base64.b64encode(data).decode("ascii"),
        "condition": _condition,
        "finite": finite,
        "interval": format_interval,
        "number": format_number,
        "px": lambda length: f"{length:.1f}",
    }
    return env


def _displayable(value: Any) -> Any:
    """What a template prints: markup as it is, all else as text without control characters."""
    return value if isinstance(value, Markup) else printable(str(value))


def _condition(subject: Mapping[str, Any]) -> str:
    """What a subject of a report was generated from; "" where that is not known."""
    text, image = subject["condition"]["text"], subject["condition"]["image"]
    return ", ".join(part for part in (f"“{text}”" if text else "", image) if part)
