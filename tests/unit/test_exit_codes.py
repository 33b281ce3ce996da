"""One table from errors to exit codes, and what is said about each."""

from __future__ import annotations

import errno
import re
from pathlib import Path

import pytest

from orster_cli.core import errors
from orster_cli.ui.errors import EXIT_CODES, exit_code, explain

DOCS = Path(__file__).resolve().parents[2] / "docs" / "exit-codes.md"


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.OrsterError, 1),
        (errors.ConfigError, 2),
        (errors.InputError, 3),
        (errors.IntegrityError, 3),
        (errors.LimitError, 3),
        (errors.MissingResourceError, 4),
        (errors.NumericalError, 5),
        (errors.ConflictError, 6),
        (errors.GateError, 7),
        (errors.ItemsError, 8),
        (errors.Preempted, 75),
    ],
)
def test_our_errors(kind: type[errors.OrsterError], code: int) -> None:
    failure = explain(kind("what", hint="do this"))
    assert (failure.exit, failure.message, failure.hint) == (code, "what", "do this")
    assert failure.code == kind.code
    assert not failure.bug


def test_every_error_class_is_in_the_table_and_the_base_stands_last() -> None:
    ours = {c for c in vars(errors).values() if isinstance(c, type)}
    assert all(
        any(issubclass(c, row[0]) for row in EXIT_CODES[:-1]) for c in ours - {errors.OrsterError}
    )
    kinds = [row[0] for row in EXIT_CODES]
    for index, kind in enumerate(kinds):
        assert not any(issubclass(later, kind) for later in kinds[index + 1 :])
    assert len({c.code for c in ours}) == len(ours)


def test_out_of_memory_points_to_the_plan() -> None:
    error = type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory.\nTried")
    failure = explain(error)
    assert failure.message == "CUDA out of memory."
    assert failure.hint is not None
    assert "--dry-run" in failure.hint


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "shard.tar"), 4),
        (PermissionError(errno.EACCES, "Permission denied", "out"), 4),
        (OSError(errno.EROFS, "Read-only file system"), 4),
        (OSError(errno.EFBIG, "File too large"), 4),
        (OSError(errno.ENAMETOOLONG, "File name too long"), 4),
        (MemoryError(), 4),
        (type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory.\nTried"), 4),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you"), 4),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), 1),
        (FileNotFoundError(errno.ENOENT, "No such file", "x"), 1),
        (AssertionError("shape"), 1),
        (KeyError("k"), 1),
    ],
)
def test_what_the_machine_refuses_and_what_is_a_bug(error: BaseException, code: int) -> None:
    failure = explain(error)
    assert failure.exit == exit_code(error) == code
    assert failure.bug == (code == 1)
    assert failure.message
    assert "\n" not in failure.message
    if code == 4:
        assert failure.hint
    if getattr(error, "filename", None):
        assert str(error.filename) in failure.message  # type: ignore[attr-defined]


def test_the_documentation_lists_the_same_codes() -> None:
    text = DOCS.read_text()
    listed = {int(n) for row in re.findall(r"^\| ([\d, ]+) \|", text, re.M) for n in row.split(",")}
    assert listed == {0, 1, 130, 141, 143} | {code for _, code, _ in EXIT_CODES}
    for _, code, meaning in EXIT_CODES:
        if code != 1:
            assert f"| {code} | {meaning} |" in text
