"""Where an artifact may be written. Every command's own refusals: tests/e2e/test_outputs.py."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path
from typing import get_args

import pytest

from orster_cli.artifacts.manifest import MANIFEST, Kind
from orster_cli.artifacts.outputs import (
    artifact_kind,
    check_collection,
    check_output,
    what_for,
    with_article,
)
from orster_cli.artifacts.store import begin
from orster_cli.core.errors import ConfigError, ConflictError
from tests.helpers.artifacts import make


def refused(out: Path, *reads: str | Path | None, kind: str = "clip") -> ConflictError:
    with pytest.raises(ConflictError) as caught:
        check_output(out, kind=kind, reads=reads)  # type: ignore[arg-type]
    assert caught.value.code == "E-OUTPUT"
    assert "--force" not in f"{caught.value} {caught.value.hint}"
    return caught.value


def test_an_output_that_is_an_input_by_any_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path / "clip")
    (tmp_path / "link").symlink_to("clip")
    (tmp_path / "again").symlink_to("link")
    (tmp_path / "above").symlink_to(tmp_path)
    monkeypatch.chdir(tmp_path)
    names = [tmp_path / "clip", Path("clip"), Path("link"), Path("again"), Path("above/clip")]
    for out in (*names, Path("clip/frames/../../clip")):
        for given in names:
            error = refused(out, given, kind="clip")
            assert f"{out}: expected a folder that is not an input, got the input" in str(error)
    refused(Path("clip"), "clip#frog-00:static")
    refused(Path("clip"), None, "", "nowhere", "clip/#2")
    assert "such as clip-asset" in str(refused(Path("clip"), "clip", kind="asset").hint)


def test_an_output_that_holds_an_input(tmp_path: Path) -> None:
    make(tmp_path / "outer")
    inner = tmp_path / "outer" / "deep" / "clip"
    make(inner)
    (tmp_path / "picture").symlink_to(inner / "frames" / "0000.png")
    make(tmp_path / "far")
    (tmp_path / "outer" / "door").symlink_to(tmp_path / "far")
    for given in (inner, f"{inner}#a", inner / "cameras.json", tmp_path / "picture"):
        assert "got one that holds the input" in str(refused(tmp_path / "outer", given))
    refused(tmp_path / "outer", tmp_path / "outer" / "door")  # the name would be gone
    check_output(tmp_path / "outer" / "deep" / "other", kind="clip", reads=[inner])


def test_an_output_inside_an_input_that_is_an_artifact(tmp_path: Path) -> None:
    make(tmp_path / "clip")
    (tmp_path / "link").symlink_to("clip")
    for out in (tmp_path / "clip" / "new", tmp_path / "link" / "frames" / "new"):
        assert "got one inside the input" in str(refused(out, tmp_path / "clip"))
    # a folder of artifacts, or of objects, may hold what is made from it
    make(tmp_path / "runs" / "one")
    check_output(tmp_path / "runs" / "report", kind="report", reads=[tmp_path / "runs"])


def test_a_name_with_a_hash_is_a_name_first(tmp_path: Path) -> None:
    make(tmp_path / "a#b")
    make(tmp_path / "a")
    refused(tmp_path / "a#b", tmp_path / "a#b")
    check_output(tmp_path / "a", kind="clip", reads=[tmp_path / "a#b"])


def test_siblings_missing_inputs_and_new_folders_are_fine(tmp_path: Path) -> None:
    make(tmp_path / "clip")
    make(tmp_path / "old", config={"seed": 3})
    for out in ("new", "old", "clip2", "deep/er"):
        check_output(
            tmp_path / out, kind="clip", reads=[tmp_path / "clip", "nowhere", None, "\0", "#"]
        )
    for out in (Path("."), Path(".."), Path("/")):
        with pytest.raises(ConfigError, match="name of a folder"):
            check_output(out, kind="clip", reads=[out])


@pytest.mark.parametrize("force", [False, True])
def test_another_kind_of_artifact_is_not_replaced_even_damaged(tmp_path: Path, force: bool) -> None:
    out = tmp_path / "clip"
    make(out)
    for damage in (None, out / "cameras.json"):
        if damage is not None:
            damage.unlink()
        assert artifact_kind(out) == "clip"
        with pytest.raises(ConflictError) as caught:
            begin(out, kind="asset", command="construct", config={}, force=force)
        assert str(caught.value) == f"{out}: expected nothing or an asset there, found a clip"
        assert "--force" not in str(caught.value.hint)
    assert (out / "frames/0001.png").read_bytes() == b"\x00" * 100
    with pytest.raises(ConflictError, match="for several, found a clip"):
        check_collection(out, "several")


def test_what_tells_no_kind_is_no_kind(tmp_path: Path) -> None:
    for text in ("", "[]", "{}", '{"kind": 3}', '{"kind": "app"}', '{"kind": "clip"'):
        (tmp_path / MANIFEST).write_text(text)
        assert artifact_kind(tmp_path) is None, text
    shutil.rmtree(tmp_path)
    assert artifact_kind(tmp_path) is None


def test_articles() -> None:
    kinds = ("dataset", "model", "clip", "asset", "report")
    assert [with_article(k) for k in kinds] == [
        "a dataset",
        "a model",
        "a clip",
        "an asset",
        "a report",
    ]


def test_the_same_kind_with_other_settings_still_points_to_force(tmp_path: Path) -> None:
    draft = begin(tmp_path / "asset", kind="asset", command="construct", config={"seed": 0})
    assert draft is not None
    with draft:
        draft.commit({})
    with pytest.raises(ConflictError, match="holds an asset that was made from other") as caught:
        begin(tmp_path / "asset", kind="asset", command="construct", config={"seed": 1})
    assert "replace it with --force" in str(caught.value.hint)


@pytest.mark.parametrize("kind", get_args(Kind))
def test_what_is_advised_can_be_typed_where_a_name_has_spaces(kind: Kind, tmp_path: Path) -> None:
    path = tmp_path / "it's mine"
    make(path, kind=kind)
    for wanted in ("", "report"):
        words = shlex.split(what_for(path, kind, wanted).replace(":", " "))
        assert any(word.startswith(str(path)) for word in words)
    inside = refused(path / "out", path, kind="clip").hint or ""
    assert shlex.split(inside)[-1] == "it's mine-clip"
    if kind != "clip":
        assert shlex.split(refused(path).hint or "")[-1] == f"{path}-clip"
