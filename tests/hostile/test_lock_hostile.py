"""What somebody else may have put where the lock and the draft of an output go."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orster_cli.artifacts.lock import WriterLock, lock_path
from orster_cli.artifacts.store import Draft, begin, open_artifact
from orster_cli.core.errors import ConflictError
from orster_cli.ui.errors import exit_code
from tests.helpers.artifacts import FILES, damage, make, write

WORDS = "years of work"


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    path = tmp_path / "home" / "thesis.tex"
    path.parent.mkdir()
    path.write_text(WORDS)
    return path


def draft_of(out: Path) -> Draft:
    draft = begin(out, kind="clip", command="construct", config={"seed": 0})
    assert draft is not None
    return draft


def refused(out: Path) -> ConflictError:
    with pytest.raises(ConflictError) as caught, draft_of(out):
        pass
    assert exit_code(caught.value) == 6
    assert caught.value.hint is not None
    return caught.value


def drafts_and_locks(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("."))


def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path, victim: Path) -> None:
    out = tmp_path / "clip"
    lock_path(out).symlink_to(victim)
    assert str(lock_path(out)) in str(refused(out))
    assert victim.read_text() == WORDS
    assert lock_path(out).is_symlink()
    lock_path(out).unlink()
    make(out)


def test_a_lock_that_is_a_link_to_nothing_makes_no_file(tmp_path: Path) -> None:
    out = tmp_path / "clip"
    lock_path(out).symlink_to(tmp_path / "nowhere")
    refused(out)
    assert not (tmp_path / "nowhere").exists()


def test_a_lock_with_a_second_name_is_not_written(tmp_path: Path, victim: Path) -> None:
    out = tmp_path / "clip"
    os.link(victim, lock_path(out))
    refused(out)
    assert victim.read_text() == WORDS


def test_a_lock_that_is_no_regular_file(tmp_path: Path) -> None:
    out = tmp_path / "clip"
    lock_path(out).mkdir()
    refused(out)
    lock_path(out).rmdir()
    os.mkfifo(lock_path(out))  # opening one may wait for ever
    refused(out)
    assert lock_path(out).is_fifo()


def test_a_lock_of_another_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "clip"
    lock_path(out).write_text(WORDS)
    user = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: user + 1)
    refused(out)
    assert lock_path(out).read_text() == WORDS


def test_a_lock_that_a_dead_run_left_is_taken(tmp_path: Path) -> None:
    out = tmp_path / "clip"
    lock_path(out).write_text("4194304 and more than the next pid")
    lock = WriterLock(out)
    assert lock_path(out).read_text() == str(os.getpid())
    lock.release()
    make(out)
    assert drafts_and_locks(tmp_path) == []


def test_the_file_of_a_held_lock_is_not_written_by_who_comes_second(tmp_path: Path) -> None:
    out = tmp_path / "clip"
    lock = WriterLock(out)
    lock_path(out).write_text("\x1b[2Jnot a pid")
    with pytest.raises(ConflictError, match="pid unknown"):
        WriterLock(out)
    assert lock_path(out).read_text() == "\x1b[2Jnot a pid"
    lock.release()


@pytest.mark.parametrize("inner", ["", "artifact", "scratch"])
def test_a_draft_that_is_a_link_is_refused(tmp_path: Path, victim: Path, inner: str) -> None:
    out = tmp_path / "clip"
    place = draft_of(out).dir.parent / inner
    place.parent.mkdir(exist_ok=True)
    place.symlink_to(victim.parent)
    assert "link" in str(refused(out))
    assert [path.name for path in victim.parent.iterdir()] == [victim.name]
    assert victim.read_text() == WORDS
    assert not lock_path(out).exists()
    place.unlink()
    made = make(out)
    assert damage(open_artifact(out)) == []
    assert made.path == out


def test_a_draft_that_is_a_file_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "clip"
    root = draft_of(out).dir.parent
    root.write_text(WORDS)
    refused(out)
    assert root.read_text() == WORDS


def test_drafts_of_other_requests_that_are_links_are_left_alone(
    tmp_path: Path, victim: Path
) -> None:
    out = tmp_path / "clip"
    write(victim.parent, {"replaced/manifest.json": b"{}"})
    old = tmp_path / ".clip.draft-0123456789abcdef"
    old.symlink_to(victim.parent)
    with draft_of(out) as draft:
        assert not out.exists()  # `replaced` is not taken for an older artifact
        write(draft.dir, FILES)
        draft.commit({})
    assert old.is_symlink()
    assert (victim.parent / "replaced/manifest.json").read_bytes() == b"{}"
    assert victim.read_text() == WORDS
