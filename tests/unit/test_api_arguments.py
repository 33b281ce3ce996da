"""Wrong arguments of the Python interface are errors of orster that name them, never tracebacks."""

from __future__ import annotations

import gc
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import orster_cli as orster
from orster_cli.api.calls import Folder, Messages, make
from orster_cli.artifacts.store import Draft, open_artifact
from orster_cli.construction.asset import save_asset
from tests.helpers.artifacts import make as make_artifact
from tests.helpers.constructing import tiny_fit

NAN = float("nan")
FIELDS: dict[str, Any] = {
    "kind": "clip",
    "command": "test",
    "config": {},
    "parents": [],
    "inputs": [],
    "messages": Messages(None),
}
WRONG: list[tuple[str, Callable[[], Any]]] = [
    ("path: expected a path, got None", lambda: orster.load_asset(None)),  # type: ignore[arg-type]
    ("path: expected a path, got b'x'", lambda: orster.open_dataset(b"x")),  # type: ignore[arg-type]
    ("model: expected a path, got 5", lambda: orster.load_model(5)),  # type: ignore[arg-type]
    ("elevation: expected a number, got 'x'", lambda: orster.open_clip("c", elevation="x")),  # type: ignore[arg-type]
    ("turns: expected a number, got nan", lambda: orster.open_clip("c", turns=NAN)),
    ("clips: expected a list, got None", lambda: orster.construct(None)),  # type: ignore[arg-type]
    ("no clips", lambda: orster.construct([])),
    ("no preset '5'", lambda: orster.construct("c", preset=5)),  # type: ignore[arg-type]
    ("objects: expected a list, got 5", lambda: orster.prepare(5, "o")),  # type: ignore[arg-type]
    ("objects: expected a path, got None", lambda: orster.prepare([None], "o")),  # type: ignore[list-item]
    ("no objects", lambda: orster.prepare([], "o")),
    ("no template 'smal' (did you", lambda: orster.prepare("x", "o", template="smal")),
    ("template: expected a path, got 3", lambda: orster.prepare("x", "o", template=3)),  # type: ignore[arg-type]
    ("workers: expected at least 1, got 0", lambda: orster.prepare("x", "o", workers=0)),
    ("metrics: expected a list, got 5", lambda: orster.evaluate("a", metrics=5)),  # type: ignore[arg-type]
    (
        "no protocol 'orstr' (did you mean 'orster'?)",
        lambda: orster.evaluate("a", protocol="orstr"),
    ),
    ("reporter: expected an object with step", lambda: orster.evaluate("a", reporter=5)),  # type: ignore[arg-type]
    ("seed: expected a whole number, got 1.5", lambda: orster.sample(text="a", seed=1.5)),  # type: ignore[arg-type]
    ("seed: expected at most 9223372036854775807", lambda: orster.sample(text="a", seed=10**30)),
    ("text: expected a text, got 5", lambda: orster.sample(text=5)),  # type: ignore[arg-type]
    ("image: expected a path, got 5", lambda: orster.sample(image=5)),  # type: ignore[arg-type]
    ("azimuths: expected at most 10000, got 1000000000", lambda: orster.orbit_cameras(10**9)),
    ("azimuths: expected a number or several, got None", lambda: orster.orbit_cameras(None)),  # type: ignore[arg-type]
    ("azimuths: expected 1 to 10000 finite numbers, got []", lambda: orster.orbit_cameras([])),
    ("azimuths: expected 1 to 10000 finite", lambda: orster.orbit_cameras([0.0, NAN])),
    ("width: expected a whole number, got 3.5", lambda: orster.orbit_cameras(4, width=3.5)),  # type: ignore[arg-type]
    ("height: expected at least 1, got 0", lambda: orster.orbit_cameras(4, height=0)),
    ("radius: expected a number, got None", lambda: orster.orbit_cameras(4, radius=None)),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("says", "call"), WRONG, ids=[says for says, _ in WRONG])
def test_a_wrong_argument_is_named(says: str, call: Callable[[], Any]) -> None:
    with pytest.raises(orster.ConfigError) as caught:
        call()
    assert says in str(caught.value)


def test_what_the_system_refuses_is_an_error_of_orster() -> None:
    for call in (orster.open_clip, orster.load_asset, orster.load_model, orster.open_dataset):
        with pytest.raises(orster.MissingResourceError) as caught:
            call("a" * 5000)
        assert (caught.value.code, caught.value.hint) == ("E-SYSTEM", "choose a shorter name")


def test_a_loop_over_cameras_ends() -> None:
    cameras = orster.orbit_cameras(3)
    assert len(list(cameras)) == 3
    assert torch.equal(cameras[-1].w2c, cameras[2].w2c)
    for index in (3, -4):
        with pytest.raises(IndexError):
            cameras[index]


def test_a_key_that_is_no_text(tiny_dataset: Path) -> None:
    dataset = orster.open_dataset(tiny_dataset)
    for key in (None, 5):
        with pytest.raises(orster.ConfigError, match="key: expected a text"):
            dataset.clip(key)  # type: ignore[arg-type]


def test_times_and_backgrounds_that_are_none(tmp_path: Path) -> None:
    def build(draft: Draft) -> Any:
        fit = tiny_fit()
        fit.model.start_motion(fit.views.timeline)
        save_asset(draft.dir, fit.model.result())
        return draft.commit({})

    fields: dict[str, Any] = {**FIELDS, "kind": "asset"}
    asset = orster.Asset(make(tmp_path / "asset", build, **fields))
    cameras = orster.orbit_cameras(2, width=16, height=16)
    for says, call in {
        "time: expected 0 to 1, got nan": lambda: asset.at(NAN),
        "time: expected a number, got [0.1]": lambda: asset.at([0.1]),
        "time: expected a number, got None": lambda: asset.at(None),
        "times: expected a number or several, got 'x'": lambda: asset.render(cameras, "x"),
        "background: expected a grey level": lambda: asset.render(cameras, 0.0, background=[1, 1]),
        "cameras: expected cameras, as from": lambda: asset.render([1], 0.0),
        "pixels are too many": lambda: asset.render(
            orster.orbit_cameras(1, width=8192, height=8192)
        ),
    }.items():
        with pytest.raises(orster.ConfigError) as caught:
            call()
        assert says in str(caught.value)
    assert asset.render(cameras, 0.5).shape == (2, 3, 16, 16)


def _saved(folder: Path) -> Folder:
    return Folder(open_artifact(folder))


def test_saving_what_is_gone_or_where_nothing_can_be_made(tmp_path: Path) -> None:
    make_artifact(tmp_path / "clip")
    held = _saved(tmp_path / "clip")
    with pytest.raises(orster.ConfigError, match="out: expected a path, got None"):
        held.save(None)  # type: ignore[arg-type]
    with pytest.raises(orster.MissingResourceError, match="no file can be made there"):
        held.save("/proc/x")
    shutil.rmtree(tmp_path / "clip")
    with pytest.raises(orster.InputError, match="is missing"):
        held.save(tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_saving_over_another_run_of_the_same_request_is_a_conflict(tmp_path: Path) -> None:
    held = Folder(make_artifact(tmp_path / "new", files={"a": b"new"}))
    make_artifact(tmp_path / "old", files={"a": b"old"})
    with pytest.raises(orster.ConflictError, match="another run") as caught:
        held.save(tmp_path / "old")
    assert "force=True" in (caught.value.hint or "")
    assert held.path == tmp_path / "new"
    assert (tmp_path / "old" / "a").read_bytes() == b"old"
    held.save(tmp_path / "old", force=True)
    assert (held.path / "a").read_bytes() == b"new"
    assert held.save(tmp_path / "old") == tmp_path / "old"  # the same bytes: nothing to do


@pytest.mark.filterwarnings("error")
def test_temporary_folders_go_without_a_warning(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)

    def build(draft: Draft) -> Any:
        (draft.dir / "file").write_text("x")
        return draft.commit({})

    def fail(draft: Draft) -> Any:
        raise orster.InputError("no")

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        folder = make(None, build, **FIELDS)
        assert (folder.path / "file").is_file()
        with pytest.raises(orster.InputError):
            make(None, fail, **FIELDS)
        assert len(list(tmp_path.iterdir())) == 1
        del folder
        gc.collect()
    assert list(tmp_path.iterdir()) == []
    assert [str(one.message) for one in caught] == []
