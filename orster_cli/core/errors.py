"""Typed errors of the library. One table (`ui/errors.py`) maps them to exit codes.

A message says what went wrong, where, what was expected, what was found; `hint` is the next step.
"""

from __future__ import annotations


class OrsterError(Exception):
    """Base of every error that a user can cause or cure.

    `code` is a stable identifier such as ``E-PLY-COUNT``; `hint` names the next command or action.
    """

    code = "E-ORSTER"

    def __init__(self, message: str, *, hint: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint
        if code is not None:
            self.code = code


class ConfigError(OrsterError):
    """Unknown key, wrong type or impossible combination of settings (exit 2)."""

    code = "E-CONFIG"


class InputError(OrsterError):
    """A file or artifact is malformed, hostile, over a limit or damaged (exit 3)."""

    code = "E-INPUT"


class IntegrityError(InputError):
    """Bytes on disk differ from what the manifest says (exit 3)."""

    code = "E-INTEGRITY"


class LimitError(InputError):
    """Input exceeds a limit of `core.limits` (exit 3)."""

    code = "E-LIMIT"


class MissingResourceError(OrsterError):
    """Weights, GPU, compiler, extra package or disk space is not at hand (exit 4)."""

    code = "E-MISSING"


class NumericalError(OrsterError):
    """NaN or divergence that a rollback did not cure (exit 5)."""

    code = "E-NUMERICAL"


class ConflictError(OrsterError):
    """The output exists with other inputs, or a live process holds it (exit 6)."""

    code = "E-CONFLICT"


class GateError(OrsterError):
    """A threshold that the user asked for was not met (exit 7)."""

    code = "E-GATE"


class Preempted(OrsterError):
    """A signal stopped the work after a checkpoint was committed (exit 75)."""

    code = "E-PREEMPTED"
