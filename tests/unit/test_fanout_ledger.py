"""A finished item is skipped as long as nothing that it was made from has changed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from orster_cli.artifacts.store import open_artifact
from orster_cli.core.reporting import Silent
from orster_cli.core.stopping import StopFlag
from orster_cli.fanout.collection import Collection, Outcome, run_collection
from orster_cli.fanout.failures import FAILURES
from orster_cli.fanout.items import find_items
from orster_cli.fanout.ledger import FOLDER, LEDGER, Fingerprints, Ledger
from orster_cli.fanout.tasks import Result, Task
from tests.unit.test_fanout_items import artifact


class Here:
    """Performs each task in this process: an artifact in the folder after -o, or a failure."""

    def __init__(self, fail: tuple[str, ...] = (), stop_after: int = 10**6) -> None:
        self.fail, self.stop_after = fail, stop_after
        self.ran: list[str] = []

    def run(self, tasks: list[Task], stop: StopFlag) -> Iterator[Result]:
        for task in tasks:
            if len(self.ran) == self.stop_after:
                stop.request()
                yield Result(id=task.id, code=75)
                return
            self.ran.append(task.id)
            if task.id in self.fail:
                yield Result(id=task.id, code=3, error="no good", attempts=1)
                continue
            folder = Path(task.arguments[task.arguments.index("-o") + 1])
            made = not folder.exists()
            if made:
                artifact(folder, "asset")
            status = "made" if made else "up to date"
            yield Result(id=task.id, code=0, values={"status": status}, usage={"seconds": 2.0})


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    for name in ("a", "b", "c"):
        (tmp_path / "clips").mkdir(exist_ok=True)
        (tmp_path / "clips" / f"{name}.mp4").write_text(name)
    return tmp_path / "clips"


def go(
    clips: Path,
    runner: Here,
    options: tuple[str, ...] = (),
    environ: dict[str, str] | None = None,
    recheck: bool = False,
) -> Outcome:
    collection = Collection(
        command="construct",
        items=find_items(clips, "construct")[0],
        out=clips.parent / "out",
        options=list(options),
        environ=environ or {},
        entry="none",
        recheck=recheck,
    )
    return run_collection(collection, runner, Silent(), StopFlag())  # type: ignore[arg-type]


def test_the_second_run_starts_nothing(clips: Path) -> None:
    first = go(clips, Here())
    assert (first.made, first.up_to_date) == (3, 0)
    again = Here()
    second = go(clips, again)
    assert (second.made, second.up_to_date, again.ran) == (0, 3, [])
    forced = Here()
    third = go(clips, forced, recheck=True)
    assert (third.made, third.up_to_date, len(forced.ran)) == (0, 3, 3)


@pytest.mark.parametrize(
    "form",
    [("--static-orbit", "{}"), ("--static-orbit={}",), ("--static-orbit", "{}#walk")],
    ids=str,
)
def test_what_changed_runs_again(clips: Path, tmp_path: Path, form: tuple[str, ...]) -> None:
    settings = tmp_path / "x.toml"
    settings.write_text("a = 1")
    still = f"{tmp_path}/still/{{id}}.mp4"
    options = ("-c", str(settings), *(item.format(still) for item in form))
    (tmp_path / "still").mkdir()
    for name in ("a", "b", "c"):
        (tmp_path / "still" / f"{name}.mp4").write_text("s")

    def ran(environ: dict[str, str] | None = None, options: tuple[str, ...] = options) -> list[str]:
        runner = Here()
        go(clips, runner, options, environ)
        return runner.ran

    assert ran() == ["a", "b", "c"]
    assert ran() == []
    (clips / "b.mp4").write_text("another")
    assert ran() == ["b"]
    (tmp_path / "still" / "c.mp4").write_text("another")
    assert ran() == ["c"]
    settings.write_text("a = 22")
    assert ran() == ["a", "b", "c"]
    assert ran({"ORSTER_CONSTRUCT__SEED": "1"}) == ["a", "b", "c"]
    assert ran({"ORSTER_DEBUG": "1", "HOME": "/x"}) == ["a", "b", "c"]
    assert ran() == []
    assert ran(options=(*options, "--seed", "1")) == ["a", "b", "c"]
    assert ran(options=(*options, "--text", "walking " * 99)) == ["a", "b", "c"]


def test_a_gltf_changes_with_the_files_that_it_names(tmp_path: Path) -> None:
    mesh, shape = tmp_path / "a.gltf", tmp_path / "a.bin"
    mesh.write_text('{"asset": {"version": "2.0"}, "buffers": [{"uri": "a.bin"}]}')
    shape.write_bytes(b"x")

    def now() -> str:
        return Fingerprints("generate", ["--text", "walking"], {}).of(str(mesh), mesh)

    before = now()
    (tmp_path / "other.bin").write_bytes(b"x")
    assert now() == before
    shape.write_bytes(b"other")
    assert now() != before
    shape.unlink()
    assert now() != before
    mesh.write_text("no gltf")
    assert now() == now()


def test_an_option_may_name_a_part_of_what_has_a_hash_in_its_name(tmp_path: Path) -> None:
    still = tmp_path / "take #2" / "set.mp4"
    still.parent.mkdir()
    still.write_text("a")
    options = [f"--static-orbit={still}#walk"]
    before = Fingerprints("construct", options, {}).of("x", None)
    still.write_text("other")
    assert Fingerprints("construct", options, {}).of("x", None) != before


def test_the_cost_is_that_of_items_made_with_the_same_settings(clips: Path) -> None:
    go(clips, Here())
    ledger = Ledger(clips.parent / "out")
    now = {id: entry["fingerprint"] for id, entry in ledger._entries.items()}
    assert ledger.usage(now) == [{"seconds": 2.0}] * 3
    assert len(ledger.usage({**now, "b": "other settings"})) == 2
    assert ledger.usage({}) == []


@pytest.mark.parametrize("how", ["removed", "file", "other"])
def test_an_artifact_that_is_gone_or_damaged_is_made_again(clips: Path, how: str) -> None:
    import shutil

    go(clips, Here())
    out = clips.parent / "out"
    if how == "file":
        (out / "a" / "work").unlink()
    else:
        shutil.rmtree(out / "a")
    if how == "other":
        artifact(out / "a", "asset", {"x": "other"})
    again = Here()
    go(clips, again)
    assert again.ran == ["a"]


def test_failures_are_listed_and_tried_again(clips: Path) -> None:
    out = clips.parent / "out"
    outcome = go(clips, Here(fail=("c", "a")))
    assert [one.id for one in outcome.failed] == ["a", "c"]
    text = (out / FAILURES).read_text()
    assert '"error": "no good"' in text
    assert f"orster construct -o {out}/a --json -- {clips}/a.mp4" in text
    again = Here()
    outcome = go(clips, again)
    assert again.ran == ["a", "c"]
    assert (outcome.made, outcome.up_to_date, outcome.failed) == (2, 1, [])
    assert not (out / FAILURES).exists()


def test_a_stopped_run_goes_on(clips: Path) -> None:
    outcome = go(clips, Here(stop_after=1))
    assert (outcome.made, outcome.stopped) == (1, 2)
    again = Here()
    go(clips, again)
    assert again.ran == ["b", "c"]


def test_half_a_line_of_a_killed_run_is_passed_over(clips: Path) -> None:
    go(clips, Here())
    ledger = clips.parent / "out" / FOLDER / LEDGER
    data = ledger.read_bytes()
    ledger.write_bytes(data[: len(data) - 20])
    again = Here()
    go(clips, again)
    assert len(again.ran) == 1
    third = Here()
    go(clips, third)
    assert third.ran == []


def test_two_runs_do_not_write_one_output(clips: Path) -> None:
    from orster_cli.core.errors import ConflictError

    class Nested(Here):
        def run(self, tasks: list[Task], stop: StopFlag) -> Iterator[Result]:
            with pytest.raises(ConflictError, match=f"pid {os.getpid()}"):
                go(clips, Here())
            return super().run(tasks, stop)

    assert go(clips, Nested()).made == 3


@pytest.mark.parametrize("name", ["run", "ledger", "failures"])
def test_an_item_may_have_any_name(clips: Path, name: str) -> None:
    (clips / f"{name}.mp4").write_text(name)
    assert go(clips, Here()).made == 4
    assert open_artifact(clips.parent / "out" / name, kind="asset")
    assert sorted(path.name for path in (clips.parent / "out" / FOLDER).iterdir()) == [LEDGER]
