"""The catalog finds artifacts and drafts, says what they are made from, and follows what changes."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orster_cli.artifacts.manifest import MANIFEST
from orster_cli.artifacts.store import Draft, begin
from orster_cli.commands.view import describe
from orster_cli.core.live import LATEST, PROGRESS, LiveReporter
from orster_cli.core.reporting import Silent
from orster_cli.gallery import catalog as catalog_module
from orster_cli.gallery.catalog import Catalog
from orster_cli.gallery.feed import Feed
from orster_cli.gallery.ranges import byte_range
from orster_cli.gallery.summary import by_id, sources, summary
from tests.helpers.artifacts import make
from tests.helpers.cli import orster
from tests.helpers.gallery import entries, fill


@pytest.fixture
def root(tmp_path: Path) -> Path:
    fill(tmp_path / "runs")
    return tmp_path / "runs"


def drafted(out: Path) -> Draft:
    draft = begin(out, kind="asset", command="construct", config={"seed": 5})
    assert draft is not None
    return draft


def age(folder: Path) -> None:
    """As if nothing had changed in `folder` for a minute."""
    for path in [folder, *folder.rglob("*")]:
        past = path.lstat().st_mtime - 60
        os.utime(path, (past, past), follow_symlinks=False)


def test_environments_of_python_are_not_searched(root: Path) -> None:
    """Whoever makes one in the folder where they work does not find the models of its packages."""
    shutil.copytree(root / "frog", root / "env/lib/python3/site-packages/models")
    assert "env/lib/python3/site-packages/models/clip" in entries(root)
    (root / "env/pyvenv.cfg").write_text("home = /usr/bin\n")
    assert set(entries(root)) == {"frog/clip", "frog/asset", "report"}
    (root / "pyvenv.cfg").touch()  # the folder that is asked for is always searched
    assert set(entries(root)) == {"frog/clip", "frog/asset", "report"}


def test_artifacts_and_what_they_are_made_from(root: Path) -> None:
    found = entries(root)
    assert {name: one.kind for name, one in found.items()} == {
        "frog/clip": "clip",
        "frog/asset": "asset",
        "report": "report",
    }
    known = by_id(list(found.values()))
    assert sources(found["frog/clip"], known) == ['"a frog jumping"']
    assert sources(found["frog/asset"], known) == ["frog/clip"]
    assert sources(found["report"], known) == ["frog/asset"]
    asset = summary(found["frog/asset"], known, describe)
    assert asset["parents"][0]["key"] == found["frog/clip"].key
    assert asset["shows"] == {"page": "viewer.html"}
    assert "frog" not in asset["headline"]
    assert "5 Gaussians" in asset["headline"]
    alone = entries(root / "frog" / "asset")["asset"]  # an artifact itself, its parent elsewhere
    assert sources(alone, by_id([alone])) == ["clip"]


def test_damaged_manifests_are_shown_and_foreign_ones_are_not(root: Path) -> None:
    path = root / "frog" / "clip" / MANIFEST
    path.write_text(path.read_text().replace("a frog jumping", "a frog sitting"))
    (root / "web" / "inner").mkdir(parents=True)
    (root / "web" / MANIFEST).write_text('{"name": "an app"}')
    make(root / "web" / "inner" / "clip")
    found = entries(root)
    assert found["frog/clip"].state == "damaged"
    assert "edited or damaged" in found["frog/clip"].error
    assert found["web/inner/clip"].state == "complete"
    assert "web" not in found


def test_links_and_hidden_folders_are_not_followed(root: Path, tmp_path: Path) -> None:
    make(tmp_path / "elsewhere" / "clip")
    os.symlink(tmp_path / "elsewhere", root / "link")
    os.symlink(root, root / "frog" / "circle")
    make(root / ".hidden" / "clip")
    (root / "bait").mkdir()
    os.symlink(root / "report" / MANIFEST, root / "bait" / MANIFEST)
    assert set(entries(root)) == {"frog/clip", "frog/asset", "report"}


def test_drafts_say_how_far_they_are_and_whether_they_live(root: Path) -> None:
    draft = drafted(root / "new" / "asset")
    with draft:
        LiveReporter(draft.scratch, Silent(), kind="asset", curve="psnr").step(
            "fit", 3, 9, psnr=20.0
        )
        (draft.scratch / LATEST).write_bytes(b"png")
        (draft.scratch / "step-00000003.safetensors").write_bytes(b"work")
        entry = entries(root)["new/asset"]
        assert (entry.state, entry.kind) == ("being made", "asset")
        progress = entry.progress
        assert progress is not None
        assert (progress.done, progress.total, progress.points) == (3, 9, ((3, 20.0),))
        assert progress.picture > 0
        kept = shutil.copytree(draft.scratch, root / "kept")
    values = json.loads((kept / PROGRESS).read_text())
    dead = root / "new" / draft.scratch.parent.name / "scratch"
    shutil.copytree(kept, dead)  # as a killed run leaves it: no lock, and silent for a minute
    (dead / PROGRESS).write_text(json.dumps(values | {"updated": time.time() - 60}))
    assert entries(root)["new/asset"].state == "stopped"
    lock = root / "new" / ".asset.lock"
    lock.write_text(str(os.getpid()))
    (dead.parent / "artifact").mkdir()
    os.utime(dead.parent / "artifact", (1e9, 1e9))
    assert entries(root)["new/asset"].state == "stopped", "another run has the lock"
    os.utime(dead.parent / "artifact")
    assert entries(root)["new/asset"].state == "being made"
    lock.write_text("4194305")  # more than any process has
    os.utime(dead.parent / "artifact")
    assert entries(root)["new/asset"].state == "stopped"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"done": 1e999}',
        '{"a":' * 100 + "1" + "}" * 100,
        '{"curve": [1], "done": "x"}',
    ],
)
def test_odd_progress_files_do_no_harm(root: Path, text: str) -> None:
    with drafted(root / "asset") as draft:
        (draft.scratch / PROGRESS).write_text(text)
        entry = entries(root)["asset"]
        assert entry.progress is None or entry.progress.done == 0
        (draft.scratch / PROGRESS).unlink()
        os.mkfifo(draft.scratch / PROGRESS)  # reading it would wait for ever
        assert entries(root)["asset"].progress is None


def test_unchanged_folders_are_not_listed_again_and_changes_are_seen(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    age(root)
    catalog = Catalog(root)
    scandir = os.scandir

    def scan() -> tuple[dict[str, str], list[str]]:
        """The prompts by name, and the folders that were listed."""
        listed: list[str] = []

        def counting(folder: Path) -> Iterator[os.DirEntry[str]]:
            listed.append(folder.name)
            return scandir(folder)

        with monkeypatch.context() as patched:
            patched.setattr(catalog_module.os, "scandir", counting)
            found = {entry.name: entry.prompt for entry in catalog.scan()}
        return found, sorted(listed)

    first, listed = scan()
    assert listed == ["asset", "clip", "frog", "report", "runs"]
    assert scan() == (first, [])
    make(root / "frog" / "other", config={"seed": 9})
    found, listed = scan()
    assert set(found) == {*first, "frog/other"}
    assert listed == ["frog", "other"]
    shutil.rmtree(root / "report")
    assert "report" not in scan()[0]
    make(root / "frog" / "clip", content={"prompt": "a fox"}, config={"seed": 7}, force=True)
    assert scan()[0]["frog/clip"] == "a fox"


def test_big_trees_are_cut_and_it_is_said(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog_module, "MAX_ARTIFACTS", 2)
    catalog = Catalog(root)
    assert len(catalog.scan()) == 2
    assert "3 artifacts" in catalog.left_out
    monkeypatch.setattr(catalog_module, "MAX_FOLDERS", 2)
    catalog.scan()
    assert "more than 2 folders" in catalog.left_out


def test_a_listener_hears_of_what_is_made(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orster_cli.gallery.feed.INTERVAL", 0.02)
    monkeypatch.setattr("orster_cli.gallery.feed.SCAN_INTERVAL", 0.05)
    feed = Feed(Catalog(root), describe)
    feed.start()
    try:
        assert feed.wait(1, 0.2) is None, "nobody listens, nobody looks"
        feed.listen()
        with drafted(root / "asset") as draft:
            found = feed.wait(1, 5)
            assert found is not None
            version, news = found
            assert [one["name"] for one in news["drafts"]] == ["asset"]
            assert news["cards"] == 1, "no other card has changed"
            LiveReporter(draft.scratch, Silent(), kind="asset", curve="psnr").step("fit", 1, 4)
            found = feed.wait(version, 5)
            assert found is not None
            version, news = found
            assert news["drafts"][0]["progress"]["total"] == 4
            (draft.dir / "viewer.html").write_bytes(b"x")
            draft.commit({"gaussians": 3})
        while (found := feed.wait(version, 5)) is not None:
            version, news = found
            if not news["drafts"]:
                break
        assert news["cards"] > 1
        assert "asset" in {one["name"] for one in feed.artifacts()["artifacts"]}
        waiting = threading.Timer(0.1, feed.stop)
        waiting.start()
        begun = time.monotonic()
        assert feed.wait(version, 30) is None
        assert time.monotonic() - begun < 10, "stopped, not waited out"
        waiting.join()
    finally:
        feed.stop()


@pytest.mark.parametrize(
    ("header", "part"),
    [
        (None, None),
        ("bytes=0-0", (0, 0)),
        ("bytes=2-", (2, 9)),
        ("bytes=2-99", (2, 9)),
        ("bytes=-3", (7, 9)),
        ("bytes=-99", (0, 9)),
        ("bytes=5-2", None),
        ("bytes=0-1,3-4", None),
        ("lines=0-1", None),
        ("bytes=-", None),
        ("bytes=x-", None),
        ("bytes=10-", ValueError),
        ("bytes=-0", ValueError),
    ],
)
def test_byte_ranges(header: str | None, part: tuple[int, int] | type[ValueError] | None) -> None:
    if part is ValueError:
        with pytest.raises(ValueError, match="bytes"):
            byte_range(header, 10)
    else:
        assert byte_range(header, 10) == part


def test_the_list_as_a_table_and_as_json(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with drafted(root / "new") as draft:
        LiveReporter(draft.scratch, Silent(), kind="asset", curve="psnr").step("fit", 1, 4)
        said = orster(capsys, "list", root)
        rows = {line.split()[0]: line for line in said.out.splitlines()}
        assert set(rows) >= {"artifact", "new", "frog/clip", "frog/asset", "report"}
        assert "being made, 25 %" in rows["new"]
        assert '"a frog jumping"' in rows["frog/clip"]
        assert rows["frog/asset"].split()[1:3] == ["asset", "frog/clip"]
        values = {
            one["name"]: one for one in orster(capsys, "list", root, "--json").data["artifacts"]
        }
    assert values["new"]["progress"] == {"stage": "fit", "done": 1, "total": 4}
    assert values["frog/asset"]["from"] == ["frog/clip"]
    assert values["frog/asset"]["path"] == str(root / "frog" / "asset")
    (root / "frog" / "clip" / MANIFEST).write_text('{"schema_version": 2, ')
    said = orster(capsys, "list", root)
    assert "warning: 1 artifact damaged" in said.err
    (tmp_path / "empty").mkdir()
    assert orster(capsys, "list", tmp_path / "empty").out == f"{tmp_path / 'empty'}: no artifacts\n"
    assert orster(capsys, "list", tmp_path / "none").code == 3
