"""Crash reports hold the command line: the oldest go, and nothing of anybody else's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orster_cli import app


def test_the_newest_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for k in range(20):
        path = tmp_path / f"orster-crash-{k:02}.txt"
        path.write_text("old")
        os.utime(path, (k, k))
    precious = tmp_path / "orster-crash-notes.md"
    precious.write_text("mine")
    (tmp_path / "orster-crash-folder.txt").mkdir()
    (tmp_path / "orster-crash-link.txt").symlink_to(precious)
    saved = app._save_crash(ZeroDivisionError("x"), ["show"])
    assert saved is not None
    left = sorted(p.name for p in tmp_path.glob("orster-crash-??.txt"))
    assert left == [f"orster-crash-{k:02}.txt" for k in range(20 - app.CRASHES_KEPT + 1, 20)]
    assert "ZeroDivisionError" in Path(saved).read_text()
    assert precious.read_text() == "mine"
    assert (tmp_path / "orster-crash-link.txt").is_symlink()
    assert (tmp_path / "orster-crash-folder.txt").is_dir()


def test_those_of_another_user_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for k in range(20):
        (tmp_path / f"orster-crash-{k:02}.txt").write_text("old")
    user = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: user + 1)
    app._save_crash(ZeroDivisionError("x"), ["show"])
    assert len(list(tmp_path.glob("orster-crash-??.txt"))) == 20
