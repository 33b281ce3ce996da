"""kill -9 at every change of the file system, and at random times: whole or not there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orster_cli.artifacts import folders
from orster_cli.artifacts.store import begin, open_artifact
from tests.helpers.artifacts import damage, make, write
from tests.helpers.dying import killed_after, killed_at, random_moments, run
from tests.helpers.marks import slow

FEW = {"frames/0000.png": b"0" * 1000, "cameras.json": b"{}"}
MANY = {f"frames/{k:04}.png": bytes([k]) * 50_000 for k in range(8)}


def build(out: Path, seed: int = 0, *, force: bool = False, files: dict[str, bytes] = FEW) -> None:
    """A run that writes a checkpoint, then its files, then commits."""
    draft = begin(out, kind="clip", command="construct", config={"seed": seed}, force=force)
    if draft is None:
        return
    with draft:
        checkpoint = draft.scratch / "step-1.json"
        if not checkpoint.exists():
            building = checkpoint.with_suffix(".tmp")
            building.write_text(json.dumps({"step": 1}))
            building.rename(checkpoint)
        write(draft.dir, files)
        draft.commit({"frames": len(files)})


def checkpoints(folder: Path) -> list[Path]:
    return list(folder.glob(".*.draft-*/scratch/step-1.json"))


def test_a_first_run_killed_at_every_change(tmp_path: Path) -> None:
    reference = make_reference(tmp_path / "reference")
    change, alive, resumed = 1, False, 0
    while not alive:
        place = tmp_path / f"{change:03}"
        place.mkdir()
        out = place / "clip"
        alive = not killed_at(lambda out=out: build(out), change)
        if out.exists():
            assert damage(open_artifact(out)) == [], f"half an artifact after change {change}"
        for checkpoint in checkpoints(place):
            assert json.loads(checkpoint.read_text()) == {"step": 1}
            resumed += not out.exists()
        build(out)
        assert open_artifact(out).id == reference
        assert damage(open_artifact(out)) == []
        assert [p.name for p in place.iterdir()] == ["clip"], f"leftovers of change {change}"
        change += 1
    assert change > 25
    assert resumed >= 10  # the checkpoint was there for many of them


def make_reference(place: Path) -> str:
    build(place / "clip")
    return open_artifact(place / "clip").id


@pytest.mark.parametrize("exchange", [True, slow(False)])
def test_a_replacing_run_killed_at_every_change(
    tmp_path: Path, exchange: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not exchange:
        monkeypatch.setattr(folders, "_exchange", lambda one, other: False)
    new = make_reference(tmp_path / "reference")
    change, alive, seen = 1, False, set()
    while not alive:
        place = tmp_path / f"{change:03}"
        out = place / "clip"
        old = make(out, files=FEW, config={"seed": 1}).id
        alive = not killed_at(lambda out=out: build(out, force=True, seed=0), change)
        if not exchange and not out.exists():  # the one moment that the next writer mends
            with pytest.raises(RuntimeError, match="enough"):
                begin_and_stop(out)
        artifact = open_artifact(out)
        assert damage(artifact) == [], f"after change {change}"
        assert artifact.id in (old, new)
        seen.add(artifact.id)
        build(out, force=True)
        assert open_artifact(out).id == new
        assert [p.name for p in place.iterdir()] == ["clip"]
        change += 1
    assert change > 25
    assert len(seen) == 2


def begin_and_stop(out: Path) -> None:
    draft = begin(out, kind="clip", command="construct", config={"seed": 9}, force=True)
    assert draft is not None
    with draft:
        raise RuntimeError("enough")


@pytest.mark.slow
@pytest.mark.parametrize("kills", [3, 40])
def test_killed_at_random_times(kills: int, tmp_path: Path) -> None:
    old = make(tmp_path / "clip").id
    out = tmp_path / "clip"
    moments = random_moments(lambda: build(tmp_path / "other/clip", files=MANY), 20 * kills, seed=0)
    killed = 0
    for number, moment in enumerate(moments, start=1):
        if killed == kills:  # how many tries that takes is for the machine's load to say
            break
        killed += killed_after(lambda n=number: build(out, seed=n, force=True, files=MANY), moment)
        artifact = open_artifact(out)
        assert damage(artifact) == []
    assert killed == kills
    assert run(lambda: build(out, seed=99, force=True))
    assert open_artifact(out).id != old


def test_a_kill_is_noticed_where_files_are_written_in_place(tmp_path: Path) -> None:
    """The tests above can fail: a writer without a draft leaves half an artifact."""
    whole = make(tmp_path / "source")
    listed = {p.relative_to(whole.path).as_posix(): p.read_bytes() for p in files(whole.path)}

    def in_place(out: Path) -> None:
        write(out, dict(sorted(listed.items(), reverse=True)))  # the manifest first

    broken, change = 0, 1
    while killed_at(lambda c=change: in_place(tmp_path / f"out{c}"), change):
        out = tmp_path / f"out{change}"
        if (out / "manifest.json").exists():
            try:
                open_artifact(out)
            except Exception:  # noqa: BLE001 - any complaint will do
                broken += 1
        change += 1
    assert broken >= 3


def files(folder: Path) -> list[Path]:
    return [p for p in folder.rglob("*") if p.is_file()]
