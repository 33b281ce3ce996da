"""Names of files with a mark, with bytes that are not UTF-8, and as long as a file system takes them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from orster_cli.artifacts.outputs import check_output
from orster_cli.config.evaluate import EvaluateConfig
from orster_cli.core.errors import InputError
from orster_cli.core.marks import split_mark
from orster_cli.core.names import as_text
from orster_cli.core.reporting import Silent
from orster_cli.dataset.reader import Dataset
from orster_cli.export.options import parse_mesh
from orster_cli.inputs.models import SHIPPED
from orster_cli.inputs.objects import object_files
from orster_cli.inputs.prepare_plan import plan_prepare
from orster_cli.inputs.prompts import check_prompt, folder_of
from orster_cli.inputs.subjects import open_subject, open_subjects
from tests.helpers.preparing import TINY


def test_a_path_that_exists_has_no_mark_and_the_last_one_counts(tmp_path: Path) -> None:
    folder = tmp_path / "set #1"
    folder.mkdir()
    assert split_mark(str(folder)) == (str(folder), "", "")
    assert split_mark(f"{folder}#box-00") == (str(folder), "#", "box-00")
    assert split_mark("ds#box-00") == ("ds", "#", "box-00")
    (tmp_path / "link #2").symlink_to(tmp_path / "missing")
    assert split_mark(str(tmp_path / "link #2"))[1] == ""
    assert folder_of(None, None, f"{folder}#box-00") == "box-00"
    assert folder_of(None, None, str(folder)) == "set-1"


def test_objects_with_a_mark_in_their_name(creature: Path, tmp_path: Path) -> None:
    path = tmp_path / "take #2.glb"
    shutil.copyfile(creature, path)
    cfg = EvaluateConfig()
    assert open_subject(str(path), cfg, Silent()).key == "take_2-00"
    assert open_subject(f"{path}#1", cfg, Silent()).key == "take_2-01"
    assert [one.key for one in open_subjects(str(path), cfg, Silent())] == ["take_2-00"]
    assert parse_mesh(str(path)).path == path
    assert (parse_mesh(f"{path}#1").path, parse_mesh(f"{path}#1").clip) == (path, 1)
    check_output(tmp_path / "out", kind="clip", reads=[f"{path}#1"])


def test_bytes_that_are_no_utf8_and_long_names(creature: Path, tmp_path: Path) -> None:
    """All objects are rendered; names that differ stay different in what is written."""
    names = [b"fr\xf6sch.glb", b"fr\xfcsch.glb", b"x" * 251 + b".glb", "é".encode() * 125 + b".glb"]
    folder = tmp_path / "set"
    folder.mkdir()
    for name in names:
        shutil.copyfile(creature, os.fsencode(folder) + b"/" + name)
    plan = plan_prepare([folder], TINY, reporter=Silent())
    assert sorted(one.name for one in plan.inputs) == sorted(
        ["fr\\xf6sch.glb", "fr\\xfcsch.glb", "x" * 251 + ".glb", "é" * 125 + ".glb"]
    )
    (tmp_path / "out").mkdir()
    result = plan.run(tmp_path / "out", tmp_path / "scratch", workers=1, reporter=Silent())
    assert (result.kept, result.dropped) == (8, 0)
    dataset = Dataset.read(tmp_path / "out")
    assert len({dataset.info(key)["source"] for key in dataset.keys()}) == 4  # noqa: SIM118
    for name in names:
        path = Path(os.fsdecode(os.fsencode(folder) + b"/" + name))
        assert object_files(path)[0].name.encode()  # text that a manifest can hold


def test_a_text_that_is_no_utf8_is_refused_with_its_bytes() -> None:
    text = os.fsdecode(b"a fr\xf6g jumping")
    with pytest.raises(InputError, match=r"the text is not UTF-8: 'a fr.*xf6g jumping'"):
        check_prompt(text, SHIPPED, anyway=True)


@pytest.mark.parametrize("name", ["plain.glb", "ünïcode – x.glb", "a\\b.glb"])
def test_names_that_are_text_stay_as_they_are(name: str) -> None:
    assert as_text(name) == name
