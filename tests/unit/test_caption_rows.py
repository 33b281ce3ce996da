"""Captions files as people write them: paths beside names, commas, line breaks, rows of nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from orster_cli.config.prepare import PrepareConfig
from orster_cli.core.errors import InputError
from orster_cli.core.reporting import Silent
from orster_cli.dataset.caption_rows import match_rows
from orster_cli.dataset.captions import Caption, read_captions
from orster_cli.dataset.drops import count_causes
from orster_cli.dataset.prepare import prepare
from orster_cli.dataset.reader import Dataset
from orster_cli.dataset.sources import find_sources
from orster_cli.inputs.prepare_plan import plan_prepare
from tests.helpers.preparing import TINY


def _plan(objects: Path, captions: Path, said: Silent | None = None, part: tuple = (1, 1)) -> dict:
    """Captions by source and clip, as `prepare-data` uses them."""
    plan = plan_prepare(
        [objects], PrepareConfig(), captions=captions, part=part, reporter=said or Silent()
    )
    assert plan.captions is not None
    return {key: row.text for key, row in plan.captions.items()}


def _objects(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def _csv(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8", newline="")
    return path


# -- the cases -------------------------------------------------------------------------------------


def test_the_cases(cases: Path) -> None:
    folder = cases / "captions"
    objects = folder / "objects"
    assert _plan(objects, folder / "paths.csv") == {
        ("a/walk.glb", 0): "a creature",
        ("b/walk.glb", 0): "a box",
    }
    with pytest.raises(
        InputError, match=r"'walk\.glb' is the name of 2 objects: a/walk\.glb, b/walk"
    ):
        _plan(objects, folder / "crlf.csv")
    with pytest.raises(
        InputError, match=r"unquoted\.csv, line 2: expected 3 fields, got 4"
    ) as caught:
        _plan(objects, folder / "unquoted.csv")
    assert '"a box, that hops"' in (caught.value.hint or "")
    with pytest.raises(InputError, match=r"name Box.GLB \(did you mean 'box.glb'\?\)"):
        _plan(objects, folder / "case.csv")
    assert _plan(objects, folder / "upper.csv") == {("box.glb", 0): "a box"}
    with pytest.raises(InputError, match="separated by commas, got semicolons"):
        _plan(objects, folder / "semicolon.csv")
    said = Silent()
    read = read_captions(folder / "crlf.csv", said)
    assert read["walk.glb", 0].text == 'a creature, walking "fast" – ünïcode second line'


# -- one more of each kind -------------------------------------------------------------------------


def test_rows_by_name_by_path_and_by_the_end_of_a_path(tmp_path: Path) -> None:
    objects = _objects(tmp_path / "set", "one.glb", "x/dog/scene.gltf", "x/cat/scene.gltf")
    path = _csv(
        tmp_path / "c.csv",
        "file,clip,caption\none.glb,0,one\n./x/dog/scene.gltf,0,dog\ncat\\scene.gltf,0,cat\n",
    )
    assert _plan(objects, path) == {
        ("one.glb", 0): "one",
        ("x/dog/scene.gltf", 0): "dog",
        ("x/cat/scene.gltf", 0): "cat",
    }
    # parts of the objects see the rows as the whole does
    parts = [_plan(objects, path, part=(i, 3)) for i in (1, 2, 3)]
    assert sorted(key for part in parts for key in part) == sorted(_plan(objects, path))


def test_a_name_at_the_top_is_a_path_and_not_that_of_others(tmp_path: Path) -> None:
    objects = _objects(tmp_path / "set", "walk.glb", "a/walk.glb")
    path = _csv(tmp_path / "c.csv", "file,clip,caption\nwalk.glb,0,top\n")
    for part in ((1, 2), (2, 2)):
        assert _plan(objects, path, part=part) in ({("walk.glb", 0): "top"}, {})
    assert _plan(objects, path) == {("walk.glb", 0): "top"}
    twice = _csv(tmp_path / "t.csv", "file,clip\na/walk.glb,0\n./a/walk.glb,0\n")
    with pytest.raises(InputError, match="each clip once"):
        _plan(objects, twice)


def test_rows_that_match_nothing_are_counted_and_named(tmp_path: Path) -> None:
    objects = _objects(tmp_path / "set", "a.glb")
    said = Silent()
    rows = "file,clip,note\na.glb,0,x\nmissing.glb,0,x\nmissing.glb,1,x\nB/A.GLB,0,x\n"
    _plan(objects, _csv(tmp_path / "c.csv", rows), said)
    assert any("columns that are not read: note" in text for text in said.warnings)
    assert any("rows of 2 files" in text and "missing.glb" in text for text in said.warnings)


def test_surplus_fields_and_line_breaks(tmp_path: Path) -> None:
    path = tmp_path / "c.csv"
    for line in ("a.glb,0,x,", "a.glb,0,x, y, z", "a.glb,0,one,two"):
        _csv(path, f"file,clip,caption\nb.glb,0,fine\n{line}\n")
        with pytest.raises(InputError, match="line 3: expected 3 fields"):
            read_captions(path)
    _csv(path, 'file,clip,caption,also\r\na.glb,0,"a\r\n  dog\trunning","x\ny| z  w "\r\n\r\n')
    found = read_captions(path)["a.glb", 0]
    assert (found.text, found.also) == ("a dog running", ("x y", "z w"))


def test_equal_names_get_their_own_captions(creature: Path, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / "set" / folder).mkdir(parents=True)
        shutil.copyfile(creature, tmp_path / "set" / folder / "scene.glb")
    captions = {
        ("a/scene.glb", 0): Caption(text="first", use=True),
        ("b/scene.glb", 0): Caption(text="", use=True),
        ("b/scene.glb", 7): Caption(text="none", use=True),
    }
    (tmp_path / "out").mkdir()
    said = Silent()
    sources = find_sources([tmp_path / "set"])
    result = prepare(sources, captions, tmp_path / "out", tmp_path / "s", TINY, reporter=said)
    dataset = Dataset.read(tmp_path / "out")
    infos = [dataset.info(key) for key in dataset.keys()]  # noqa: SIM118 - a method, not a dict
    texts = {info["source"]: info["caption"] for info in infos}
    assert texts == {"a/scene.glb": "first", "b/scene.glb": ""}
    assert any("for clip 7, which it has not: 2 animations" in text for text in said.warnings)
    reasons = [one["reason"] for one in result.content["dropped"]]
    assert count_causes(reasons) == "2 no row in the captions file"


def test_reasons_are_counted_by_their_cause() -> None:
    reasons = [
        "no motion: SSIM over the object 1.000 and 1.000, above 0.95",
        "no motion: SSIM over the object 0.990 and 1.000, above 0.95",
        "cut off: frame 1 of front touches the border",
        "x/a.glb: no animation",
        "a.glb: GLB: expected at least 20 bytes, got 3",
        "a.glb: 'no motion.bin' beside it: cannot be read: No such file or directory",
    ]
    assert count_causes(reasons) == "2 cannot be read, 2 no motion, 1 cut off, 1 no animation"
    named = ["empty_chair.glb: no animation", "no motion.glb: no animation"]
    assert count_causes(named) == "2 no animation"


def test_names_that_are_no_text_match_by_what_is_shown(tmp_path: Path) -> None:
    import os

    (tmp_path / "set").mkdir()
    Path(os.fsdecode(os.fsencode(tmp_path / "set") + b"/fr\xf6sch.glb")).touch()
    sources = find_sources([tmp_path / "set"])
    assert sources[0].name == "fr\\xf6sch.glb"
    rows = {("fr\\xf6sch.glb", 0): Caption(text="x", use=True)}
    assert match_rows(rows, sources).rows.keys() == rows.keys()
