"""Manifests that somebody else wrote: refused with exit code 3, or harmless."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orster_cli.artifacts.manifest import MANIFEST
from orster_cli.artifacts.store import Artifact, open_artifact
from orster_cli.core.errors import InputError, IntegrityError
from orster_cli.ui.errors import exit_code
from tests.helpers.artifacts import FILES, damage, make, manifest_values, resign, write

Values = dict[str, Any]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    make(tmp_path / "clip")
    return tmp_path / "clip"


def refused(out: Path) -> InputError:
    with pytest.raises(InputError) as caught:
        open_artifact(out)
    assert exit_code(caught.value) == 3
    assert len(str(caught.value)) < 1000
    return caught.value


def test_resigning_alone_is_accepted(out: Path) -> None:
    """Without which the refusals below would prove nothing."""
    resign(out, manifest_values(out))
    assert damage(open_artifact(out)) == []


@pytest.mark.parametrize(
    "name",
    [
        "../outside",
        "frames/../../outside",
        "/etc/passwd",
        "//server/share",
        "C:/Windows/system.ini",
        "c:relative",
        "frames\\0000.png",
        "frames/0000.png\x00.txt",
        "frames//0000.png",
        "./cameras.json",
        "frames/",
        "",
        ".",
        "..",
        "cameras.json:stream",
        "CON",
        "frames/nul.png",
        "ends.with.dot.",
        "ends with space ",
        "bell\x07",
        "a" * 300,
        "/".join(["deep"] * 600),
    ],
)
def test_paths_that_are_not_plainly_inside(out: Path, name: str) -> None:
    values = manifest_values(out)
    values["files"][0]["path"] = name
    resign(out, values)
    error = refused(out)
    assert error.code == "E-MANIFEST"
    assert "files.0.path" in str(error)


def _add_key(values: Values) -> None:
    values["run_after_open"] = "rm -rf ~"


def _add_nested_key(values: Values) -> None:
    values["files"][0]["mode"] = 0o4755


def _newer(values: Values) -> None:
    values["schema_version"] = 3


def _much_newer(values: Values) -> None:
    values["schema_version"] = 10**30


def _version_as_text(values: Values) -> None:
    values["schema_version"] = "1"


def _run_in_version_1(values: Values) -> None:
    values["schema_version"] = 1


def _no_run_in_version_2(values: Values) -> None:
    del values["run"]


def _no_run_files_in_version_2(values: Values) -> None:
    del values["run_files"]


def _run_as_text(values: Values) -> None:
    values["run"] = "seconds"


def _run_file_that_is_no_file(values: Values) -> None:
    values["run_files"] = ["train.jsonl"]


def _older(values: Values) -> None:
    values["schema_version"] = 0


def _negative_size(values: Values) -> None:
    values["files"][0]["size"] = -1


def _size_as_text(values: Values) -> None:
    values["files"][0]["size"] = "16"


def _size_as_fraction(values: Values) -> None:
    values["files"][0]["size"] = 16.0


def _size_as_truth(values: Values) -> None:
    values["files"][0]["size"] = True


def _upper_case_digest(values: Values) -> None:
    values["files"][0]["sha256"] = values["files"][0]["sha256"].upper()


def _short_digest(values: Values) -> None:
    values["files"][0]["sha256"] = "abc"


def _same_file_twice(values: Values) -> None:
    values["files"].append(values["files"][0])


def _same_file_in_capitals(values: Values) -> None:
    values["files"].append({**values["files"][0], "path": values["files"][0]["path"].upper()})


def _unknown_kind(values: Values) -> None:
    values["kind"] = "script"


def _files_as_object(values: Values) -> None:
    values["files"] = {"path": "x"}


def _no_files(values: Values) -> None:
    del values["files"]


def _parents_of_text(values: Values) -> None:
    values["parents"] = ["clip"]


def _null_content(values: Values) -> None:
    values["content"] = None


def _deep(values: Values) -> None:
    inner: Any = 0
    for _ in range(300):
        inner = [inner]
    values["content"] = {"deep": inner}


@pytest.mark.parametrize(
    "change",
    [
        _add_key, _add_nested_key, _newer, _much_newer, _version_as_text, _older, _negative_size,
        _size_as_text, _size_as_fraction, _size_as_truth, _upper_case_digest, _short_digest,
        _same_file_twice, _same_file_in_capitals, _unknown_kind, _files_as_object, _no_files,
        _parents_of_text, _null_content, _deep, _run_in_version_1, _no_run_in_version_2,
        _no_run_files_in_version_2, _run_as_text, _run_file_that_is_no_file,
    ],
)  # fmt: skip
def test_forged_fields(out: Path, change: Callable[[Values], None]) -> None:
    values = manifest_values(out)
    change(values)
    path = out / MANIFEST
    try:
        resign(out, values)
    except (KeyError, TypeError):  # not even the shape of a manifest
        path.write_text(json.dumps(values))
    refused(out)


def test_a_newer_manifest_says_so(out: Path) -> None:
    values = manifest_values(out)
    values["schema_version"] = 3
    resign(out, values)
    error = refused(out)
    assert error.code == "E-SCHEMA"
    assert error.hint == "pip install --upgrade orster"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"kind": "clip", "kind": "asset"}', "appears twice"),
        ('{"content": {"a": 1, "a": 1}}', "appears twice"),
        ('{"content": 1e999}', "not finite"),
        ('{"content": NaN}', "not JSON"),
        ('{"content": -Infinity}', "not JSON"),
        ('{"content": "\\ud800"}', "surrogates not allowed"),
        ('{"content": ' + "9" * 100_000 + "}", "digit"),
        ("[" * 100_000, "not valid JSON"),
        ('{"a":' * 100_000, "not valid JSON"),
        ("[" * 65 + "]" * 65, "nested deeper"),
        ("", "not valid JSON"),
        ("null", "manifest"),
        ("[]", "manifest"),
        ('"manifest"', "manifest"),
        ("3", "manifest"),
        ("{}", "schema_version"),
        ('{"schema_version": 1}', "kind"),
        ("\ufeff{}", "not valid JSON"),
    ],
)
def test_text_that_is_no_manifest(out: Path, text: str, says: str) -> None:
    (out / MANIFEST).write_text(text)
    assert says in str(refused(out))


def test_bytes_that_are_no_text(out: Path) -> None:
    (out / MANIFEST).write_bytes(b"\xff\xfe{\x00}\x00")
    assert "cannot be read" in str(refused(out))


def test_a_manifest_that_is_too_large(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from orster_cli.core import strict_json

    monkeypatch.setattr(strict_json.read_json, "__kwdefaults__", {"maximum": 100})
    assert "more than 100 bytes" in str(refused(out))


def test_a_manifest_that_is_a_link_or_a_folder(out: Path, tmp_path: Path) -> None:
    (out / MANIFEST).rename(tmp_path / "elsewhere.json")
    (out / MANIFEST).symlink_to(tmp_path / "elsewhere.json")
    assert refused(out).code == "E-ARTIFACT"
    (out / MANIFEST).unlink()
    (out / MANIFEST).mkdir()
    assert refused(out).code == "E-ARTIFACT"


def test_wrong_size_and_wrong_hash(out: Path) -> None:
    values = manifest_values(out)
    values["files"][0]["size"] += 1
    resign(out, values)
    assert isinstance(refused(out), IntegrityError)
    values["files"][0]["size"] -= 1
    values["files"][0]["sha256"] = "0" * 64
    resign(out, values)
    assert damage(open_artifact(out)) == [
        f"{out / values['files'][0]['path']}: the bytes differ from the manifest's"
    ]


@pytest.mark.parametrize("part", ["frames", "cameras.json"])
def test_links_inside_lead_nowhere(out: Path, tmp_path: Path, part: str) -> None:
    """The same bytes behind a link are not the artifact's own."""
    made = Artifact(out, open_artifact(out).manifest)
    (out / part).rename(tmp_path / "moved")
    (out / part).symlink_to(tmp_path / "moved")
    assert isinstance(refused(out), IntegrityError)
    missing = [line for line in damage(made) if line.endswith("missing")]
    assert len(missing) == sum(name.startswith(part) for name in FILES)


def test_a_pipe_where_a_file_should_be_does_not_hang(out: Path) -> None:
    import os

    (out / "cameras.json").unlink()
    os.mkfifo(out / "cameras.json")
    assert isinstance(refused(out), IntegrityError)


def test_files_beyond_the_manifest_are_named(out: Path) -> None:
    write(out, {"frames/evil.sh": b"#!/bin/sh"})
    assert damage(open_artifact(out)) == [f"{out}/frames/evil.sh: not in the manifest"]
