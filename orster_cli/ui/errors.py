"""Exit codes: one a class of error (docs/exit-codes.md). A subclass stands before its base."""

from __future__ import annotations

from orster_cli.core import errors

OK = 0
BUG = 1
INTERRUPTED = 130
BROKEN_PIPE = 141

EXIT_CODES: tuple[tuple[type[Exception], int, str], ...] = (
    (errors.ConfigError, 2, "usage or configuration: unknown key, wrong type, out of bounds"),
    (errors.InputError, 3, "bad input: malformed, hostile, over a limit, or damaged"),
    (errors.MissingResourceError, 4, "missing resource: weights, GPU, compiler, extra, disk"),
    (errors.NumericalError, 5, "numerical failure: not finite after rollback"),
    (errors.ConflictError, 6, "output exists with other inputs, or another process writes it"),
    (errors.GateError, 7, "a gate was not met (`evaluate --fail-under`)"),
    (errors.Preempted, 75, "stopped by a signal after a checkpoint: run the same command again"),
    (errors.OrsterError, 1, "any other error of orster"),
)


def exit_code(error: BaseException) -> int:
    """The exit code of `error`; 1 for what is not ours: a bug."""
    for kind, code, _ in EXIT_CODES:
        if isinstance(error, kind):
            return code
    return BUG
