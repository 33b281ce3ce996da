"""Typed errors of the library. One table (`ui/errors.py`) maps them to exit codes.

A message states the place, the expected and the actual value; `hint` is the next step.
"""

from __future__ import annotations


class OrsterError(Exception):
    """Base of all errors that a user can cause or fix.

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
    """Weights, GPU, compiler, optional package or disk space is missing (exit 4)."""

    code = "E-MISSING"


class NumericalError(OrsterError):
    """NaN or divergence that persists after a rollback (exit 5)."""

    code = "E-NUMERICAL"


class ConflictError(OrsterError):
    """The output exists with other inputs, or another process is writing it (exit 6)."""

    code = "E-CONFLICT"


class GateError(OrsterError):
    """A threshold given by the user is not met (exit 7)."""

    code = "E-GATE"


class ItemsError(OrsterError):
    """Some of the items of a fan-out failed; the others are finished (exit 8)."""

    code = "E-ITEMS"


class Preempted(OrsterError):
    """A signal stopped the run after its last checkpoint (exit 75)."""

    code = "E-PREEMPTED"
