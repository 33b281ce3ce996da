"""Finding objects, reading captions, splitting the work."""

from __future__ import annotations

from pathlib import Path

import pytest

from orster_cli.config.evaluate import EvaluateConfig
from orster_cli.core.errors import ConfigError, InputError
from orster_cli.core.reporting import Silent
from orster_cli.dataset.caption_rows import match_rows, row_names
from orster_cli.dataset.captions import Caption, read_captions
from orster_cli.dataset.curation import CONSISTENT4D_TEST_IDS, in_test_set
from orster_cli.dataset.sources import find_sources, parse_part, take_part
from orster_cli.inputs.subjects import open_subject


def _touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_folders_are_searched_and_the_order_is_by_name(tmp_path: Path) -> None:
    _touch(tmp_path, "b.glb", "sub/a.GLB", "sub/deep/c.gltf", "readme.txt")
    _touch(tmp_path, "uid1/multi_frame0.png", "shot/transforms.json", "shot/ignored.glb")
    found = find_sources([tmp_path])
    assert [(s.name, s.kind) for s in found] == [
        ("b.glb", "gltf"),
        ("shot", "frames"),
        ("sub/a.GLB", "gltf"),
        ("sub/deep/c.gltf", "gltf"),
        ("uid1", "diffusion4d"),
    ]
    assert [s.key for s in found] == ["b", "shot", "a", "c", "uid1"]


def test_equal_names_in_two_given_folders_are_named(tmp_path: Path) -> None:
    _touch(tmp_path, "a/walk.glb", "b/walk.glb")
    with pytest.raises(InputError, match=r"a/walk.glb and .*b/walk.glb"):
        find_sources([tmp_path / "a", tmp_path / "b"])


def test_keys_have_no_dots_and_equal_names_stay_apart(tmp_path: Path) -> None:
    _touch(tmp_path, "x/cat.v1.glb", "y/cat.v1.glb", "z/dog é.glb")
    keys = [s.key for s in find_sources([tmp_path])]
    assert len(set(keys)) == 3
    assert keys[0].startswith("cat_v1_")
    assert keys[2] == "dog_"
    # the same whatever else lies in the folder
    assert [s.key for s in find_sources([tmp_path])] == keys


def test_no_object_has_the_key_of_anothers_animation(tmp_path: Path) -> None:
    _touch(tmp_path, "wolf.glb", "wolf-00.glb", "wolf-01/transforms.json", "wolf-1.glb")
    _touch(tmp_path, "shot/transforms.json", "shot-00.glb", "fox-00.glb", "x/fox-01.glb")
    keys = {source.name: source.key for source in find_sources([tmp_path])}
    assert keys.pop("wolf-00.glb").startswith("wolf-00_")
    assert keys.pop("wolf-01").startswith("wolf-01_")
    # as ever: an imported folder has one clip, of its own key
    assert sorted(keys.values()) == ["fox-00", "fox-01", "shot", "shot-00", "wolf", "wolf-1"]


def test_a_file_named_twice_is_one_source(tmp_path: Path) -> None:
    _touch(tmp_path, "a.glb")
    assert len(find_sources([tmp_path, tmp_path / "a.glb"])) == 1


def test_a_link_is_known_by_its_own_name(tmp_path: Path) -> None:
    """As in the folder of a content store, whose files are named by their hashes."""
    _touch(
        tmp_path, "store/3f9a", "store/shot/transforms.json", f"store/{CONSISTENT4D_TEST_IDS[0]}"
    )
    (tmp_path / "set/sub").mkdir(parents=True)
    given = {
        "sub/red_fox.glb": "store/3f9a",
        f"{CONSISTENT4D_TEST_IDS[1]}.glb": "store/3f9b",
        "other.glb": f"store/{CONSISTENT4D_TEST_IDS[0]}",
    }
    (tmp_path / "store/3f9b").touch()
    for name, target in given.items():
        (tmp_path / "set" / name).symlink_to(tmp_path / target)
    (tmp_path / "jump").symlink_to(tmp_path / "store/shot")
    sources = find_sources([tmp_path / "set", tmp_path / "jump"])
    assert {source.name for source in sources} == {*given, "jump"}
    blocked = {source.name for source in sources if in_test_set(source.names)}
    assert blocked == {"other.glb", f"{CONSISTENT4D_TEST_IDS[1]}.glb"}
    assert "red_fox.glb" in row_names(sources)
    rows = {
        (name, 0): Caption(text="x", use=True) for name in ("red_fox.glb", "set/other.glb", "jump")
    }
    matched = match_rows(rows, sources)
    assert [name for name, _ in matched.rows] == ["sub/red_fox.glb", "other.glb", "jump"]
    assert len(find_sources([tmp_path / "set", tmp_path / "set/sub/red_fox.glb"])) == 3


def test_what_is_no_object_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such"):
        find_sources([tmp_path / "missing"])
    _touch(tmp_path, "a.obj", "empty/readme")
    with pytest.raises(InputError, match=r"expected \.glb"):
        find_sources([tmp_path / "a.obj"])
    with pytest.raises(InputError, match="no objects"):
        find_sources([tmp_path / "empty"])


def test_parts_are_disjoint_and_complete(tmp_path: Path) -> None:
    _touch(tmp_path, *[f"{i}.glb" for i in range(10)])
    sources = find_sources([tmp_path])
    parts = [take_part(sources, (i, 3)) for i in (1, 2, 3)]
    assert sorted(s.key for part in parts for s in part) == sorted(s.key for s in sources)
    assert [len(part) for part in parts] == [4, 3, 3]
    assert parse_part("2/3") == (2, 3)
    for wrong in ("0/3", "4/3", "1", "a/b", "1/0", "-1/2"):
        with pytest.raises(ConfigError):
            parse_part(wrong)


def test_captions(tmp_path: Path) -> None:
    path = tmp_path / "clips.csv"
    path.write_text('file,clip,extra,use,caption\na.glb,0,x,1,"a cat, running"\na.glb,1,x,0,\n')
    rows = read_captions(path)
    assert rows["a.glb", 0].text == "a cat, running"
    assert (rows["a.glb", 0].use, rows["a.glb", 1].use) == (True, False)
    for text in (
        "file,clip\nb.glb,3\n",
        "file,clip,use\nb.glb,3,\n",
        "file,clip,use\nb.glb,3,  \n",
    ):
        path.write_text(text)
        assert read_captions(path)["b.glb", 3].use
    path.write_text("file,clip,caption,also\nb.glb,3,a cat running,a cat runs| cat ||\n")
    assert read_captions(path)["b.glb", 3].also == ("a cat runs", "cat")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("name,clip\na,0\n", "line 1"),
        ("file,clip\na.glb,one\n", "line 2"),
        ("file,clip\na.glb,-1\n", "line 2"),
        ("file,clip\na.glb,0\na.glb,0\n", "line 3"),
        ("file,clip,use\na.glb,0,yes\n", "use = 0 or 1"),
        ("file,clip\n,0\n", "a file name"),
        ("file,clip,also\na,0," + "x" * 2001 + "\n", "at most 2000 characters"),
        ("file,clip,also\na,0," + "x|" * 101 + "\n", "more than 100 other captions"),
        ("", "line 1"),
    ],
)
def test_wrong_captions_name_the_line(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "clips.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=reason):
        read_captions(path)


def test_captions_that_are_not_text(tmp_path: Path) -> None:
    path = tmp_path / "clips.csv"
    path.write_bytes(b"file,clip\n\xff\xfe,0\n")
    with pytest.raises(InputError, match="UTF-8"):
        read_captions(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_captions(tmp_path / "missing.csv")


def test_evaluate_names_an_object_as_its_dataset_does(tmp_path: Path) -> None:
    path = tmp_path / "my frog (1) é.glb"
    path.write_bytes(b"glTF")
    (source,) = find_sources([path])
    subject = open_subject(f"{path}#3", EvaluateConfig(), Silent())
    assert subject.key == f"{source.key}-03" == "my_frog_1_-03"
