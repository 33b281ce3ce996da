"""The stable codes of error messages (`error[E-...]`), read from the syntax trees of the package."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from orster_cli.core import errors
from orster_cli.ui.errors import BUG, EXIT_CODES, USAGE
from tools.import_graph import sources

SHOWN = 110  # characters of a message


@dataclass(frozen=True)
class ErrorCode:
    """`name`: E-...; `exits`: exit codes of the classes that carry it; `message`: one of its messages."""

    name: str
    exits: tuple[int, ...]
    message: str


@cache
def error_codes() -> list[ErrorCode]:
    """Every code of the package, sorted. A class's own code has the class's docstring as its message."""
    exits: dict[str, set[int]] = {}
    messages: dict[str, str] = {}
    for kind in _classes().values():
        exits[kind.code] = {_exit(kind)}
        messages[kind.code] = _about(kind)
    for name, kind, message in _raised():
        exits.setdefault(name, set()).add(_exit(kind))
        if message == "...":  # what the system says
            message = _about(kind)
        messages.setdefault(name, message)
    exits |= {"E-USAGE": {USAGE}, "E-BUG": {BUG}}  # of `app.py` and `ui/errors.py`
    messages |= {"E-USAGE": "A command line that cannot be read", "E-BUG": "A bug of orster"}
    del exits["E-ORSTER"]  # the base class, which is never raised
    return [ErrorCode(name, tuple(sorted(exits[name])), messages[name]) for name in sorted(exits)]


def _classes() -> dict[str, type[errors.OrsterError]]:
    found = {k: v for k, v in vars(errors).items() if isinstance(v, type)}
    return {k: v for k, v in found.items() if issubclass(v, errors.OrsterError)}


def _about(kind: type[errors.OrsterError]) -> str:
    """The first line of a class's docstring, without the exit code."""
    return (kind.__doc__ or "").split("\n")[0].removesuffix(".").split(" (exit")[0]


def _exit(kind: type[errors.OrsterError]) -> int:
    return next(code for row, code, _ in EXIT_CODES if issubclass(kind, row))


def _raised() -> Iterator[tuple[str, type[errors.OrsterError], str]]:
    """(code, class, message) of every error that is made with a code of its own."""
    classes = _classes()
    for path in sources().values():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        constants = dict(_constants(tree))
        for node in ast.walk(tree):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
                continue
            given = next((word.value for word in node.keywords if word.arg == "code"), None)
            if given is None or node.func.id not in classes or not node.args:
                continue
            name = constants.get(given.id) if isinstance(given, ast.Name) else _text(given)
            if name is not None and name.startswith("E-"):
                yield name, classes[node.func.id], _shortened(_text(node.args[0]))


def _constants(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """The texts that a module gives names: `CODE = "E-OUTPUT"`, also several in one line."""
    for node in tree.body:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                pairs = (
                    zip(target.elts, node.value.elts, strict=True)
                    if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple)
                    else [(target, node.value)]
                )
                for name, value in pairs:
                    if isinstance(name, ast.Name) and isinstance(value, ast.Constant):
                        yield name.id, str(value.value)


def _text(node: ast.expr) -> str:
    """A text as it is printed, with ... for each value in it."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _text(node.left) + _text(node.right)
    return "..."


def _shortened(text: str) -> str:
    words = " ".join(text.replace("......", "...").split())
    return words if len(words) <= SHOWN else f"{words[:SHOWN].rsplit(' ', 1)[0]} ..."
