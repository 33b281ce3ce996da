"""Errors of the operating system and of memory that a user can do something about, as our own."""

from __future__ import annotations

import errno
import shlex
from pathlib import Path

from orster_cli.core.errors import MissingResourceError

SYSTEM, MEMORY = "E-SYSTEM", "E-MEMORY"

# errors of the operating system -> what to do about them
_REFUSALS = {
    errno.ENOSPC: "free some disk space, then run the same command again",
    errno.EDQUOT: "free some of your quota, then run the same command again",
    errno.EFBIG: "raise the file size limit (ulimit -f), then run the same command again",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EROFS: "choose an output on a disk that can be written",
    errno.EACCES: "check its permissions (chmod); of an output: choose another -o",
    errno.EPERM: "check its permissions (chmod); of an output: choose another -o",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENOMEM: "free some memory, or ask for less",
    errno.EIO: "check the disk",
}
_MEMORY_HINT = (
    "ask for less: a smaller resolution, fewer Gaussians, fewer workers; for training, the same command "
    "with --dry-run says what it needs and what would make it less"
)
_NO_MEMORY = ("can't allocate memory", "not enough memory")  # torch's RuntimeErrors on a CPU


def system_failure(error: BaseException) -> MissingResourceError | None:
    """What `error` of the system, of Python or of torch says is missing; None: it is something else."""
    if isinstance(error, OSError) and error.errno in _REFUSALS:
        place = f"{error.filename}: " if error.filename else ""
        hint = _REFUSALS[error.errno]
        return MissingResourceError(f"{place}{error.strerror}", hint=hint, code=SYSTEM)
    if _is_out_of_memory(error):
        text = str(error).split("\n")[0] or "not enough memory"
        return MissingResourceError(text, hint=_MEMORY_HINT, code=MEMORY)
    return None


def no_permission(path: Path) -> MissingResourceError:
    """The error of a file that may not be read."""
    named = shlex.quote(str(path))
    return MissingResourceError(
        f"{path}: no permission to read it", hint=f"chmod u+r {named}", code=SYSTEM
    )


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _NO_MEMORY)
