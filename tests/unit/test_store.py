"""The artifact store: drafts, locks, replacing, leftovers (kills and races: tests/fault)."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import pytest

from orster_cli.artifacts import folders
from orster_cli.artifacts.leftovers import LEFTOVER_AGE, WORK_AGE, sweep
from orster_cli.artifacts.lock import WriterLock
from orster_cli.artifacts.store import Draft, begin, open_artifact
from orster_cli.core.errors import (
    ConfigError,
    ConflictError,
    InputError,
    IntegrityError,
    MissingResourceError,
)
from tests.helpers.artifacts import FILES, damage, make, write
from tests.helpers.recording import Recorder


def started(out: Path, seed: int = 0, *, force: bool = False) -> Draft:
    draft = begin(out, kind="clip", command="construct", config={"seed": seed}, force=force)
    assert draft is not None
    return draft


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def stop(draft: Draft, *, scratch: str | None = "step-1") -> None:
    """A run that ends with an error after writing to its scratch folder."""

    def work() -> None:
        with draft:
            write(draft.dir, {"half.bin": b"half"})
            if scratch is not None:
                (draft.scratch / scratch).write_text("state")
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        work()


def test_made_opened_and_nothing_left_beside_it(tmp_path: Path) -> None:
    made = make(tmp_path / "clip")
    opened = open_artifact(tmp_path / "clip", kind="clip")
    assert (opened.id, opened.kind, opened.content) == (made.id, "clip", {"frames": 2})
    assert damage(opened) == []
    assert names(tmp_path) == ["clip"]
    for name, data in FILES.items():
        assert (tmp_path / "clip" / name).read_bytes() == data
    assert opened.parent().model_dump() == {"kind": "clip", "id": made.id, "name": "clip"}


def test_the_same_request_is_up_to_date_another_is_a_conflict(tmp_path: Path) -> None:
    out = tmp_path / "clip"
    made = make(out)
    assert begin(out, kind="clip", command="construct", config={"seed": 0}) is None
    with pytest.raises(ConflictError, match="other inputs or settings"):
        started(out, seed=1)
    with pytest.raises(InputError, match="expected an artifact of kind asset, got clip"):
        open_artifact(out, kind="asset")
    again = make(out, config={"seed": 1}, force=True)
    assert again.id != made.id
    assert open_artifact(out).id == again.id
    assert names(tmp_path) == ["clip"]


def test_an_empty_folder_is_filled_and_parents_are_made(tmp_path: Path) -> None:
    (tmp_path / "clip").mkdir()
    make(tmp_path / "clip")
    make(tmp_path / "deep/er/clip")
    assert open_artifact(tmp_path / "deep/er/clip").id == open_artifact(tmp_path / "clip").id


@pytest.mark.parametrize("force", [False, True])
def test_a_folder_that_is_no_artifact_is_never_replaced(tmp_path: Path, force: bool) -> None:
    home = tmp_path / "home"
    write(home, {"thesis.tex": b"years of work"})
    with pytest.raises(ConflictError, match="not an artifact"):
        started(home, force=force)
    assert (home / "thesis.tex").read_bytes() == b"years of work"


def test_a_damaged_artifact_is_replaced_with_force_only(tmp_path: Path) -> None:
    out = tmp_path / "clip"
    make(out)
    (out / "cameras.json").unlink()
    with pytest.raises(ConflictError, match="damaged"):
        started(out)
    make(out, force=True)
    assert damage(open_artifact(out)) == []


def test_places_where_no_folder_can_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for out in (tmp_path / "file", tmp_path / "link", tmp_path / "file" / "clip"):
        with pytest.raises(ConflictError):
            started(out, force=True)
    for out in (Path("."), Path(".."), Path("/"), tmp_path / ".."):
        with pytest.raises(ConfigError, match="name of a folder"):
            started(out)


def test_a_stopped_run_is_resumed_with_its_scratch_and_without_its_files(tmp_path: Path) -> None:
    out = tmp_path / "clip"
    stop(started(out))
    assert not out.exists()
    with started(out) as draft:
        assert draft.resumed
        assert (draft.scratch / "step-1").read_text() == "state"
        assert list(draft.dir.iterdir()) == []  # half-written files do not come back
        write(draft.dir, FILES)
        draft.commit({})
    assert names(tmp_path) == ["clip"]
    assert damage(open_artifact(out)) == []


def test_a_stopped_run_without_scratch_leaves_nothing(tmp_path: Path) -> None:
    stop(started(tmp_path / "clip"), scratch=None)
    assert names(tmp_path) == []


def test_another_request_does_not_resume_it_and_keeps_it_while_it_is_young(tmp_path: Path) -> None:
    out = tmp_path / "clip"
    stop(started(out, seed=1))
    with started(out, seed=2) as draft:
        assert not draft.resumed
        write(draft.dir, FILES)
        draft.commit({})
    assert len([n for n in names(tmp_path) if ".draft-" in n]) == 1
    with started(out, seed=1, force=True) as draft:
        assert draft.resumed


def aged(draft: Draft, seconds: float) -> None:
    """The draft and what it holds were last changed so long ago."""
    past = time.time() - seconds
    for path in (*draft.scratch.iterdir(), draft.scratch, draft.scratch.parent):
        os.utime(path, (past, past))


def test_saved_work_of_other_settings_is_kept_for_weeks_and_named(tmp_path: Path) -> None:
    out = tmp_path / "clip"
    drafts = [started(out, seed=seed) for seed in (1, 2)]
    for draft in drafts:
        stop(draft)
        aged(draft, 86400)
    said = Recorder()
    third = begin(out, kind="clip", command="construct", config={"seed": 3}, reporter=said)
    assert third is not None
    with third:
        third.commit({})
    kept = sorted(draft.scratch.parent.name for draft in drafts)
    assert all((draft.scratch / "step-1").is_file() for draft in drafts)
    assert len(said.notes) == 1
    assert said.notes[0].endswith(": " + ", ".join(kept))
    aged(drafts[0], 2 * WORK_AGE)
    sweep(out, keep=third.dir.parent, reporter=said)
    assert not drafts[0].scratch.exists()
    assert drafts[1].scratch.is_dir()
    assert said.notes[1].endswith("removed; its run stopped 56 days ago")


def test_old_drafts_of_other_requests_are_swept_by_what_last_changed(tmp_path: Path) -> None:
    out = tmp_path / "clip"
    long_run, dead, empty = (started(out, seed=seed) for seed in (1, 2, 3))
    stop(long_run)
    stop(dead)
    stop(started(tmp_path / "clip2"))  # of another output: not ours to sweep
    for draft in (long_run, dead):
        aged(draft, 2 * WORK_AGE)
    old = (long_run.scratch.stat().st_mtime,) * 2
    (long_run.scratch / "step-2").write_text("written just now")
    os.utime(long_run.scratch, old)
    empty.scratch.mkdir(parents=True)  # of a kill
    (empty.scratch / "progress.json").write_text("{}")
    aged(empty, 2 * LEFTOVER_AGE)
    make(out)
    assert long_run.scratch.is_dir()
    assert not dead.scratch.parent.exists()
    assert not empty.scratch.parent.exists()
    assert len([n for n in names(tmp_path) if n.startswith(".clip2.draft-")]) == 1


def test_names_with_glob_characters_sweep_only_their_own(tmp_path: Path) -> None:
    other = started(tmp_path / "clip1", seed=1)
    stop(other)
    aged(other, 2 * WORK_AGE)
    make(tmp_path / "clip?")
    make(tmp_path / "clip[1]")
    assert other.scratch.is_dir()


def test_a_leftover_of_a_finished_run_goes_when_it_is_found_up_to_date(tmp_path: Path) -> None:
    out = tmp_path / "clip"
    draft = started(out)
    make(out)
    write(draft.scratch, {"shard-000.tar": b"left by a kill just after the rename"})
    assert begin(out, kind="clip", command="construct", config={"seed": 0}) is None
    assert names(tmp_path) == ["clip"]


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    out = tmp_path / "clip"
    with started(out), pytest.raises(ConflictError, match=f"pid {os.getpid()}"):
        started(out, seed=1).__enter__()
    WriterLock(out).release()
    assert names(tmp_path) == []


def test_a_writer_that_comes_second_does_not_overwrite(tmp_path: Path) -> None:
    out = tmp_path / "clip"
    late, same = started(out, seed=1), started(out, seed=0)  # both found the place free
    made = make(out)
    with pytest.raises(ConflictError, match="other inputs or settings"), late:
        pass
    with pytest.raises(ConflictError, match="in the meantime"), same:
        pass
    assert open_artifact(out).id == made.id
    assert names(tmp_path) == ["clip"]  # no lock stays


def test_replacing_without_the_systems_exchange(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "_exchange", lambda one, other: False)
    out = tmp_path / "clip"
    make(out)
    new = make(out, config={"seed": 1}, force=True)
    assert open_artifact(out).id == new.id
    assert names(tmp_path) == ["clip"]


def test_what_stood_aside_comes_back_before_anything_else(tmp_path: Path) -> None:
    out = tmp_path / "clip"
    made = make(out)
    draft = started(out, seed=1, force=True)
    draft.dir.parent.mkdir()
    out.rename(draft.dir.parent / "replaced")  # killed between two renames
    with pytest.raises(ConflictError), started(out, seed=2):
        pass
    assert open_artifact(out).id == made.id


def test_exchange_swaps_two_folders_or_says_that_it_cannot(tmp_path: Path) -> None:
    write(tmp_path / "one", {"a": b"1"})
    write(tmp_path / "two", {"b": b"2"})
    if not folders._exchange(tmp_path / "one", tmp_path / "two"):
        pytest.skip("no exchange on this system")
    assert (tmp_path / "one/b").read_bytes() == b"2"
    assert (tmp_path / "two/a").read_bytes() == b"1"
    with pytest.raises(FileNotFoundError):
        folders._exchange(tmp_path / "one", tmp_path / "absent")


def test_everything_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    sync, rename = os.fsync, Path.rename

    def recorded_sync(descriptor: int) -> None:
        sync(descriptor)
        done.append(os.readlink(f"/proc/self/fd/{descriptor}"))

    def recorded_rename(path: Path, target: Path) -> Path:
        done.append(f"rename to {target}")
        return rename(path, target)

    if not Path("/proc/self/fd").exists():
        pytest.skip("needs /proc to tell which file was synced")
    monkeypatch.setattr(os, "fsync", recorded_sync)
    monkeypatch.setattr(Path, "rename", recorded_rename)
    make(tmp_path / "clip")
    place = done.index(f"rename to {tmp_path / 'clip'}")
    inside = [entry.split("/artifact")[1].removeprefix("/") for entry in done[:place]]
    files = sorted(FILES)
    assert inside == [*files, "manifest.json", "frames", ""]  # then the folders, the outer last
    assert done[place + 1 :] == [str(tmp_path)]


@pytest.mark.parametrize("name", ["cameras.json", "manifest.json"])
def test_a_disk_that_does_not_take_a_file_is_not_ignored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    sync = folders.sync_file

    def failing(path: Path) -> None:
        if path.name == name:
            raise OSError(errno.EIO, "Input/output error", str(path))
        sync(path)

    old = make(tmp_path / "clip")
    monkeypatch.setattr("orster_cli.artifacts.store.sync_file", failing)
    with pytest.raises(MissingResourceError, match="Input/output error"):
        make(tmp_path / "clip", config={"seed": 1}, force=True)
    assert open_artifact(tmp_path / "clip").id == old.id


def test_links_are_seen_and_refused(tmp_path: Path) -> None:
    write(tmp_path / "outside", {"secret": b"s"})
    for target in ("outside/secret", "outside"):
        with started(tmp_path / "clip") as draft:
            (draft.dir / "link").symlink_to(tmp_path / target)
            with pytest.raises(InputError, match="link"):
                draft.commit({})
    assert not (tmp_path / "clip").exists()


def test_open_finds_what_is_missing_or_short_verify_names_each(tmp_path: Path) -> None:
    out = tmp_path / "clip"
    made = make(out)
    (out / "frames/0001.png").write_bytes(b"\x00" * 99)
    with pytest.raises(IntegrityError, match=r"0001\.png: expected 100 bytes, found 99"):
        open_artifact(out)
    (out / "cameras.json").unlink()
    (out / "extra").write_text("")
    (out / "elsewhere").symlink_to(tmp_path)
    assert [line.removeprefix(f"{out}/") for line in damage(made)] == [
        "cameras.json: missing",
        "frames/0001.png: the bytes differ from the manifest's",
        "elsewhere: not in the manifest",
        "extra: not in the manifest",
    ]
    with pytest.raises(InputError, match=r"found no manifest\.json"):
        open_artifact(tmp_path)


def test_a_parent_may_pass_on_fewer_licences_than_it_has(tmp_path: Path) -> None:
    dataset = make(tmp_path / "dataset")
    everything, nothing = dataset.parent(), dataset.parent([])
    assert (everything.licences, nothing.licences) == (("CC0 1.0",), ())
    assert everything == nothing.under(["CC0 1.0"])
    assert nothing.licences == ()  # `under` gives a copy
    assert make(tmp_path / "clip", parents=[nothing]).manifest.parents == [nothing]


def test_licences_pass_from_parents_to_their_descendants_once(tmp_path: Path) -> None:
    first = make(tmp_path / "first")
    draft = begin(
        tmp_path / "second",
        kind="model",
        command="distill",
        config={},
        parents=[first.parent()] * 2,
    )
    assert draft is not None
    with draft:
        second = draft.commit({}, licences=["MIT", "CC0 1.0"])
    assert second.manifest.licences == ["MIT", "CC0 1.0"]
    opened = open_artifact(tmp_path / "second")
    draft = begin(
        tmp_path / "third",
        kind="clip",
        command="sample-video",
        config={},
        parents=[opened.parent()],
    )
    assert draft is not None
    with draft:
        third = draft.commit({})
    assert third.manifest.licences == ["MIT", "CC0 1.0"]
    assert set(third.manifest.model_dump()["parents"][0]) == {"kind", "id", "name"}
