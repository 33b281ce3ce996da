"""A file is replaced whole or not at all, whenever the writer dies."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from orster_cli.core.atomic import ENDING, replacing, write_bytes
from tests.helpers.dying import countdown
from tests.helpers.marks import slow
from tests.helpers.starts import ended, start

OLD, NEW = b"old", b"new" * 100_000


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_new_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(OLD)
    with replacing(path) as temporary:
        temporary.write_bytes(NEW)
        assert path.read_bytes() == OLD
    assert path.read_bytes() == NEW
    assert names(tmp_path) == ["a.bin"]


def test_an_error_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(OLD)

    def stop_half_way() -> None:
        with replacing(path) as temporary:
            temporary.write_bytes(NEW)
            raise KeyboardInterrupt  # not an Exception

    with pytest.raises(KeyboardInterrupt):
        stop_half_way()
    assert path.read_bytes() == OLD
    assert names(tmp_path) == ["a.bin"]
    with pytest.raises(FileNotFoundError), replacing(path):
        pass  # nothing was written
    assert path.read_bytes() == OLD


def test_a_link_at_the_temporary_name_is_removed_not_followed(tmp_path: Path) -> None:
    path, victim = tmp_path / "a.bin", tmp_path / "victim"
    victim.write_bytes(OLD)
    (tmp_path / f"a.bin{ENDING}").symlink_to(victim)
    write_bytes(path, NEW)
    assert (path.read_bytes(), victim.read_bytes()) == (NEW, OLD)
    assert not path.is_symlink()
    assert names(tmp_path) == ["a.bin", "victim"]


def test_a_folder_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(OSError, match="a"):
        write_bytes(tmp_path / "a", NEW)
    assert names(tmp_path) == ["a"]


def test_processes_that_share_a_file_write_to_different_names(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    with replacing(path) as temporary, replacing(path, shared=True) as own:
        assert temporary != own
        assert str(os.getpid()) in own.name
        assert {temporary.suffix, own.suffix} == {ENDING}
        temporary.write_bytes(NEW)
        own.write_bytes(NEW)


def _die(path: Path, at: int, shared: bool) -> None:
    """Replace `path`, and die at the `at`-th step on the way."""
    counted = countdown(at)
    os.fsync = counted(os.fsync)
    os.replace = counted(os.replace)
    Path.replace = counted(Path.replace)  # type: ignore[method-assign]
    with replacing(path, shared=shared) as temporary, temporary.open("wb") as file:
        for start in range(0, len(NEW), 1 << 16):
            counted(file.write)(NEW[start : start + (1 << 16)])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("shared", [slow(False), True])
def test_a_kill_at_every_step(shared: bool, tmp_path: Path) -> None:
    folder, talk = tmp_path / "folder", tmp_path / "talk.txt"
    folder.mkdir()
    path, killed, at = folder / "a.bin", 0, 0
    while True:
        at += 1
        path.write_bytes(OLD)
        code = ended(start(talk, _die, path, at, shared), talk)
        if code == 0:
            break
        assert code == -signal.SIGKILL, talk.read_text()
        assert path.read_bytes() == OLD, f"killed at step {at}"
        killed += 1
    assert killed >= 7  # five writes, the sync and the rename
    assert path.read_bytes() == NEW
    left = [name for name in names(folder) if name != "a.bin"]
    assert bool(left) == shared  # a fixed name was overwritten and renamed by the last run
    assert all(name.endswith(ENDING) for name in left)
