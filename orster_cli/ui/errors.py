"""Exit codes, one per class of error (docs/exit-codes.md), and the message of each error.

In the table a subclass comes before its base.
"""

from __future__ import annotations

from dataclasses import dataclass

from orster_cli.core import errors
from orster_cli.core.system_errors import system_failure

OK = 0
BUG = 1
USAGE = 2
MISSING = 4
INTERRUPTED = 130
BROKEN_PIPE = 141
TERMINATED = 143

EXIT_CODES: tuple[tuple[type[Exception], int, str], ...] = (
    (errors.ConfigError, USAGE, "usage or configuration: unknown key, wrong type, out of bounds"),
    (errors.InputError, 3, "bad input: malformed, hostile, over a limit, or damaged"),
    (
        errors.MissingResourceError,
        MISSING,
        "missing resource: weights, GPU, compiler, extra, disk, memory, permission, network",
    ),
    (errors.NumericalError, 5, "numerical failure: not finite after rollback"),
    (
        errors.ConflictError,
        6,
        "the output exists with other inputs, is an input, or another process writes it",
    ),
    (errors.GateError, 7, "a gate was not met"),
    (errors.ItemsError, 8, "some items of `orster run` failed; the others are done"),
    (errors.Preempted, 75, "stopped by a signal after a checkpoint: run the same command again"),
    (errors.OrsterError, BUG, "any other error of orster"),
)


@dataclass(frozen=True)
class Failure:
    """What is printed about an error. `bug`: the error is orster's own, and a crash report is saved."""

    exit: int
    code: str
    message: str
    hint: str | None
    bug: bool = False


def explain(error: BaseException) -> Failure:
    """The exit code, stable code, message and next step of any error."""
    for kind, number, _ in EXIT_CODES:
        if isinstance(error, kind):
            return Failure(number, error.code, str(error), error.hint)  # type: ignore[attr-defined]
    if (known := system_failure(error)) is not None:
        return Failure(MISSING, known.code, str(known), known.hint)
    return Failure(BUG, "E-BUG", f"{type(error).__name__}: {error}", None, bug=True)


def exit_code(error: BaseException) -> int:
    """The exit code of `error`; 1 for an unexpected one, which is a bug."""
    return explain(error).exit
