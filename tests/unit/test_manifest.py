"""The manifest: its id, its seal, what it refuses (hostile ones: tests/hostile)."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from orster_cli.artifacts.hashing import canonical_json, hash_file, hash_files, hash_json
from orster_cli.artifacts.manifest import InputFile, Parent, manifest_id, read_manifest
from orster_cli.artifacts.store import Artifact, begin, open_artifact
from orster_cli.core.errors import InputError
from orster_cli.core.reporting import Silent
from tests.helpers.artifacts import FILES, damage, make, manifest_values, write
from tests.helpers.cli import orster

VERSION_1 = Path(__file__).resolve().parents[1] / "golden" / "artifact_v1"


def test_canonical_json_by_hand() -> None:
    assert (
        canonical_json({"b": [1, 2.5, None], "a": "é\n"})
        == '{"a":"é\\n","b":[1,2.5,null]}'.encode()
    )
    assert hash_json({}) == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json({"a": float("nan")})


def test_hash_file_is_sha256_and_counts_bytes(tmp_path: Path) -> None:
    path = tmp_path / "big"
    data = b"orster" * 1_000_000  # more than one block
    path.write_bytes(data)
    told: list[int] = []
    assert hash_file(path, told.append) == (hashlib.sha256(data).hexdigest(), 6_000_000)
    assert sum(told) == 6_000_000
    assert len(told) == 2


def test_hash_progress_ends_once_at_its_total(tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []

    class Recorder(Silent):
        def step(self, stage: str, done: int, total: int, **figures: float | int | str) -> None:
            steps.append((done, total))

    names = []
    for number in range(5):
        names.append(f"f{number}")
        (tmp_path / names[-1]).write_bytes(b"x" * 700_000)
    found = list(hash_files(tmp_path, names, Recorder(), stage="hash"))
    assert [name for name, _, _ in found] == names
    assert steps == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]  # 3.5 MB in MiB, the last one whole


def test_manifest_says_what_was_made(tmp_path: Path) -> None:
    make(tmp_path / "clip", config={"seed": 3, "scale": 1.5}, content={"psnr": 30.25})
    manifest = read_manifest(tmp_path / "clip")
    assert (manifest.kind, manifest.command, manifest.schema_version) == ("clip", "construct", 2)
    assert manifest.config == {"seed": 3, "scale": 1.5}
    assert manifest.content == {"psnr": 30.25}
    assert manifest.licences == ["CC0 1.0"]
    assert {f.path: (f.size, f.sha256) for f in manifest.files} == {
        name: (len(data), hashlib.sha256(data).hexdigest()) for name, data in FILES.items()
    }
    assert manifest.conventions["quaternion"] == "wxyz"
    assert {"python", "torch", "numpy"} <= set(manifest.environment)


def test_id_depends_on_bytes_and_request_not_on_when_and_where(tmp_path: Path) -> None:
    one = make(tmp_path / "one")
    values = manifest_values(tmp_path / "one")
    assert manifest_id(values) == one.id
    elsewhere = {
        **values,
        "created": "2031-01-01T00:00:00+00:00",
        "environment": {"python": "3.14.0"},
        "orster_version": "9.9",
        "warnings": ["slow disk"],
        "run": {"seconds": 99.5},
        "seal": "0" * 64,
    }
    assert manifest_id(elsewhere) == one.id
    other_bytes = make(tmp_path / "two", files={**FILES, "empty.bin": b"1"})
    other_request = make(tmp_path / "three", config={"seed": 1})
    assert len({one.id, other_bytes.id, other_request.id}) == 3


def test_id_does_not_depend_on_the_name_of_a_parents_folder(tmp_path: Path) -> None:
    first = Parent(kind="clip", id="a" * 64, name="clip")
    moved = Parent(kind="clip", id="a" * 64, name="moved")
    other = Parent(kind="clip", id="b" * 64, name="clip")
    ids = [make(tmp_path / str(k), parents=[p]).id for k, p in enumerate((first, moved, other))]
    assert ids[0] == ids[1]
    assert ids[0] != ids[2]


def test_keys_that_are_numbers_read_back_with_the_same_id(tmp_path: Path) -> None:
    made = make(tmp_path / "clip", content={"per_frame": {2: 1.0, 10: 2.0, 1: 0.5}})
    assert read_manifest(tmp_path / "clip").id == made.id
    assert made.content == {"per_frame": {"2": 1.0, "10": 2.0, "1": 0.5}}


def test_content_that_json_cannot_say_is_our_bug(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        make(tmp_path / "clip", content={"psnr": float("inf")})
    assert list(tmp_path.iterdir()) == []


def test_id_does_not_cover_files_that_record_the_run_but_verify_does(tmp_path: Path) -> None:
    def made(name: str, log: bytes, run_files: tuple[str, ...]) -> Artifact:
        draft = begin(tmp_path / name, kind="model", command="align", config={})
        assert draft is not None
        with draft:
            write(draft.dir, {"weights.bin": b"w", "train.jsonl": log})
            return draft.commit({}, run_files=run_files)

    volatile = ("train.jsonl", "of-another-stage.jsonl")
    one, two = made("one", b'{"s": 1}', volatile), made("two", b'{"s": 2}', volatile)
    assert one.id == two.id
    assert one.manifest.run_files == ["train.jsonl"]
    assert one.id != made("three", b'{"s": 1}', ()).id
    (tmp_path / "two" / "train.jsonl").write_bytes(b'{"s": 3}')
    assert len(damage(two)) == 1


def test_an_artifact_of_schema_version_1_is_read_as_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Written by the code before version 2, whose id covers `warnings` and `content["seconds"]`."""
    out = tmp_path / "asset"
    shutil.copytree(VERSION_1, out)
    opened = open_artifact(out, kind="asset")
    assert opened.id == "5ca17955fd327733554a6b63021b1a8815006b5b3ed6fc87bce55e93e49c1d9d"
    assert damage(opened) == []
    assert (opened.run, opened.content["seconds"]) == ({}, 12.3)
    said = orster(capsys, "show", out)
    assert (said.code, said.err) == (0, "")
    lines = said.out.splitlines()
    assert lines[0] == f"asset {opened.id}"
    assert {"psnr: 30.25 dB", "seconds: 12.3 s", "licence: CC0 1.0"} <= set(lines)
    assert "warning: clip.mp4: no static orbit" in lines
    request = {
        "command": "construct",
        "config": {"construct": {"steps": 3}, "clips": ["frog-00:dynamic"]},
        "parents": [Parent(kind="dataset", id="d" * 64, name="dataset")],
        "inputs": [InputFile(name="clip.mp4", size=5, sha256="e" * 64)],
        "seeds": {"fit": 0},
    }
    assert begin(out, kind="asset", **request) is None  # up to date: nothing is made again
    values = manifest_values(out)
    for change in ({"warnings": []}, {"content": {**values["content"], "seconds": 12.4}}):
        assert manifest_id({**values, **change}) != opened.id


def test_facts_of_the_run_are_shown_with_the_content(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = make(tmp_path / "clip", content={"psnr": 30.25}, run={"seconds": 12.3})
    assert (made.content, made.run) == ({"psnr": 30.25}, {"seconds": 12.3})
    lines = orster(capsys, "show", tmp_path / "clip").out.splitlines()
    assert lines.index("seconds: 12.3 s") == lines.index("psnr: 30.25 dB") + 1
    assert orster(capsys, "show", tmp_path / "clip", "--json").data["run"] == {"seconds": 12.3}


@pytest.mark.parametrize(
    "key", ["created", "orster_version", "environment", "parents", "warnings", "run"]
)
def test_the_seal_covers_what_the_id_does_not(tmp_path: Path, key: str) -> None:
    out = tmp_path / "clip"
    make(out, parents=[Parent(kind="clip", id="a" * 64, name="clip")], run={"seconds": 12.3})
    values = manifest_values(out)
    if key == "environment":
        values[key]["python"] = "2.7.18"
    elif key == "parents":
        values[key][0]["name"] = "elsewhere"
    elif key == "run":
        values[key]["seconds"] = 0.1
    elif key == "warnings":
        values[key].append("slow disk")
    else:
        values[key] += "x"
    assert manifest_id(values) == values["id"]  # the id alone would not see it
    (out / "manifest.json").write_text(json.dumps(values))
    with pytest.raises(InputError, match="edited or damaged"):
        read_manifest(out)
