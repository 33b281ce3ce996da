"""Work in processes: in order, bounded, and with errors that come back."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from orster_cli.core.errors import InputError, MissingResourceError
from orster_cli.dataset.pool import for_each


def _touch(path: Path) -> None:
    if path.name == "bad":
        raise InputError("bad")
    if path.name == "deadly":
        os.kill(os.getpid(), signal.SIGKILL)
    path.write_text(str(os.getpid()))


def test_in_this_process(tmp_path: Path) -> None:
    items = [(tmp_path / str(i), i != 1) for i in range(3)]
    assert list(for_each(_touch, items, 1)) == [path for path, _ in items]
    assert (tmp_path / "0").read_text() == str(os.getpid())
    assert not (tmp_path / "1").exists()


def test_in_processes_in_order_with_errors(tmp_path: Path) -> None:
    items = [(tmp_path / name, True) for name in ("a", "b", "bad", "c")]
    results = for_each(_touch, items, 2)
    assert [next(results).name for _ in range(2)] == ["a", "b"]
    with pytest.raises(InputError, match="bad"):
        next(results)
    assert (tmp_path / "a").read_text() != str(os.getpid())


def test_a_killed_worker_is_told(tmp_path: Path) -> None:
    with pytest.raises(MissingResourceError, match="worker process was killed"):
        list(for_each(_touch, [(tmp_path / "deadly", True)], 2))
