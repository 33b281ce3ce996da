"""Datasets by URL: what is read of them, what is kept, and what is said where something is missing."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import fsspec
import pytest
import torch

from orster_cli.artifacts.store import begin, open_artifact
from orster_cli.core.errors import (
    InputError,
    IntegrityError,
    LimitError,
    MissingResourceError,
)
from orster_cli.dataset import remote
from orster_cli.dataset.places import open_dataset, url_of
from orster_cli.dataset.reader import Dataset
from orster_cli.dataset.remote import FOLDER
from tests.helpers.cli import orster

URL = "memory://bucket/some/dataset"


@pytest.fixture
def elsewhere(
    tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[fsspec.AbstractFileSystem]:
    """The tiny dataset in a file system in memory; the current folder is empty."""
    monkeypatch.chdir(tmp_path)
    system = fsspec.filesystem("memory")
    for path in tiny_dataset.rglob("*"):
        if path.is_file():
            name = f"/bucket/some/dataset/{path.relative_to(tiny_dataset).as_posix()}"
            system.pipe_file(name, path.read_bytes())
    yield system
    system.store.clear()


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("s3://bucket/a/b/", "s3://bucket/a/b"),
        ("https://example.org/data", "https://example.org/data"),
        ("memory://x", "memory://x"),
        ("file:///data/set", "file:///data/set"),
        ("data/set", None),
        ("/data/a:b/set", None),
        ("C:/data", None),
        ("a folder: of mine/set", None),
    ],
)
def test_urls_survive_being_paths(text: str, url: str | None) -> None:
    assert url_of(Path(text)) == url_of(text) == url


def test_a_dataset_by_url_gives_the_same_clips(
    elsewhere: fsspec.AbstractFileSystem, tiny_dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[tuple[str, int | None, int | None]] = []
    real = remote._fetch

    def counting(
        url: str, start: int | None = None, end: int | None = None, *, maximum: int | None = None
    ) -> bytes:
        fetched.append((url, start, end))
        return real(url, start, end, maximum=maximum)

    monkeypatch.setattr(remote, "_fetch", counting)
    here = Dataset.read(tiny_dataset)
    artifact, data = open_dataset(URL)
    assert artifact.id == open_artifact(tiny_dataset).id
    assert data.keys() == here.keys()
    assert data.texts() == here.texts()
    for key in here.keys():  # noqa: SIM118 - a method, not a dict
        for view in ("dynamic", "static", "front"):
            mine, theirs = data.clip(key, view), here.clip(key, view)
            assert torch.equal(mine.frames, theirs.frames)
            assert torch.equal(mine.cameras.w2c, theirs.cameras.w2c)
        assert torch.equal(
            data.frames(key, "front", [1]).frames, here.frames(key, "front", [1]).frames
        )
    # the manifest, the index, and the bytes of each sample once: no shard
    assert [url.rpartition("/")[2] for url, _, _ in fetched[:2]] == ["manifest.json", "index.json"]
    spans = [(here.info(key)["offset"], here.info(key)["size"]) for key in here.keys()]  # noqa: SIM118
    assert [(start, end) for _, start, end in fetched[2:]] == [(a, a + n) for a, n in spans]
    fetched.clear()
    open_dataset(URL)[1].clip(here.keys()[0])
    assert [url.rpartition("/")[2] for url, _, _ in fetched] == [
        "manifest.json"
    ]  # the rest is here
    assert not list(Path(FOLDER).rglob("*.tar"))


def test_what_is_kept_has_a_bound(
    elsewhere: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, data = open_dataset(URL)
    one, two = data.keys()
    monkeypatch.setattr(remote, "MOST_BYTES", data.info(one)["size"] + 1)
    for key in (one, two, one):
        data.clip(key)
        (kept,) = Path(FOLDER).rglob("*.part")
        assert kept.stat().st_size == data.info(key)["size"]
    kept.write_bytes(bytes(kept.stat().st_size))  # damaged here: fetched again
    assert len(data.clip(one)) == 4


def test_what_is_missing_is_said(
    elsewhere: fsspec.AbstractFileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=r"memory://bucket/nothing/manifest\.json: no such file"):
        open_dataset("memory://bucket/nothing")
    with pytest.raises(InputError, match="Protocol not known: nowhere"):
        open_dataset("nowhere://bucket/x")
    if find_spec("s3fs") is None:
        with pytest.raises(MissingResourceError, match="s3:// needs a package") as caught:
            open_dataset("s3://bucket/x")
        assert caught.value.hint == "pip install 'orster[remote]' s3fs"
    _, data = open_dataset(URL)
    shard = f"/bucket/some/dataset/{data.info(data.keys()[0])['shard']}"
    whole = elsewhere.cat_file(shard)
    elsewhere.pipe_file(shard, whole[:1000])
    with pytest.raises(IntegrityError, match="the file ends before byte"):
        data.clip(data.keys()[0])
    elsewhere.rm_file(shard)
    with pytest.raises(InputError, match=r"shards/000000\.tar: no such file"):
        data.clip(data.keys()[0])
    monkeypatch.setattr("orster_cli.core.limits.JSON_MAX_BYTES", 10)
    with pytest.raises(LimitError, match="more than 10 bytes"):
        open_dataset(URL)
    monkeypatch.undo()
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")  # where nothing was fetched yet
    elsewhere.pipe_file("/bucket/some/dataset/index.json", b'{"samples":[]}')
    with pytest.raises(IntegrityError, match=r"index\.json: the bytes differ"):
        open_dataset(URL)


def test_other_artifacts_are_not_read_by_url(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    draft = begin(tmp_path / "clip", kind="clip", command="x", config={})
    assert draft is not None
    with draft:
        draft.commit({})
    with pytest.raises(InputError, match="expected an artifact of kind dataset, got clip"):
        open_dataset(f"file://{tmp_path}/clip")


def test_a_training_names_the_url_that_it_cannot_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    said = orster(
        capsys, "pretrain", "memory://bucket/gone", "--role", "vae", "-o", "vae", "--json"
    )
    assert said.code == 3
    assert said.failure["error"] == "memory://bucket/gone/manifest.json: no such file"
