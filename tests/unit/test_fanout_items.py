"""The items of `--over`, their names, and the command lines that are made of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from orster_cli.artifacts.manifest import Kind
from orster_cli.artifacts.store import begin
from orster_cli.core.errors import ConfigError, InputError
from orster_cli.fanout.items import FILE, IMAGE, PROMPT, command_words, find_items


def artifact(folder: Path, kind: Kind, files: dict[str, str] | None = None) -> Path:
    draft = begin(folder, kind=kind, command="test", config={"name": folder.name})
    assert draft is not None
    with draft:
        for name, text in (files or {"work": folder.name}).items():
            (draft.dir / name).write_text(text)
        draft.commit({})
    return folder


def found(over: Path, command: str) -> dict[str, str]:
    return {item.id: item.text for item in find_items(over, command)[0]}


def test_prompts_one_a_line(tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_text("# animals\nA Frog, jumping!\n\na frog jumping\na frog jumping?\n  a cow\n")
    assert found(path, "generate") == {
        "a-frog-jumping": "A Frog, jumping!",
        "a-frog-jumping--2": "a frog jumping",
        "a-frog-jumping--3": "a frog jumping?",
        "a-cow": "a cow",
    }
    item = find_items(path, "generate")[0][0]
    assert item.form == PROMPT
    assert item.path is None
    assert command_words("generate", item, tmp_path / "out", ["--preset", "fast"]) == [
        "generate", "--preset", "fast", "-o", f"{tmp_path}/out", "--json", "--text=A Frog, jumping!",
    ]  # fmt: skip


def test_lines_that_name_artifacts_are_no_prompts(tmp_path: Path) -> None:
    clip = artifact(tmp_path / "clips" / "walk", "clip")
    data = artifact(tmp_path / "set", "dataset")
    path = tmp_path / "list.txt"
    path.write_text("clips/walk\nset#frog-00\na frog #1\n")
    items = find_items(path, "generate")[0]
    assert [(item.text, item.form) for item in items] == [
        (str(clip), FILE),
        (f"{data}#frog-00", FILE),
        ("a frog #1", PROMPT),
    ]


def test_a_listed_file_may_have_a_hash_in_its_name(tmp_path: Path) -> None:
    (tmp_path / "take #2.mp4").write_bytes(b"x")
    (tmp_path / "list.txt").write_text("take #2.mp4\n")
    assert found(tmp_path / "list.txt", "construct") == {"take-2": str(tmp_path / "take #2.mp4")}


def test_an_added_prompt_changes_no_other_id(tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_text("a cow\na frog\n")
    before = found(path, "generate")
    path.write_text("a bird\na cow\na duck\na frog\n")
    assert before.items() <= found(path, "generate").items()


def test_names_that_look_numbered_do_not_collide(tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_text("a cow--2\na cow\na cow!\n")
    ids = list(found(path, "generate"))
    assert len(set(ids)) == 3
    assert ids[:2] == ["a-cow--2", "a-cow"]


def test_a_folder_with_all_that_construct_reads(tmp_path: Path) -> None:
    over = tmp_path / "clips"
    artifact(over / "frog" / "clip", "clip")
    artifact(over / "frog" / "asset", "asset")
    artifact(over / "b" / "cow", "clip")
    index = '{"samples": [{"key": "horse-00"}, {"key": "horse-01"}]}'
    artifact(over / "set", "dataset", {"index.json": index})
    (over / "turn.mp4").touch()
    (over / "notes.md").touch()
    (over / ".hidden").mkdir()
    (over / ".hidden" / "x.mp4").touch()
    items, left_out = find_items(over, "construct")
    assert {item.id: Path(item.text).relative_to(over).as_posix() for item in items} == {
        "turn": "turn.mp4",
        "b-cow": "b/cow",
        "frog": "frog/clip",
        "set-horse-00": "set#horse-00",
        "set-horse-01": "set#horse-01",
    }
    assert left_out == 2  # the asset and the notes
    sample = next(item for item in items if item.id == "set-horse-00")
    assert sample.path == over / "set"
    assert command_words("construct", sample, Path("o"), ["--static-orbit", "still/{id}"]) == [
        "construct", "--static-orbit", "still/set-horse-00", "-o", "o", "--json", "--", sample.text,
    ]  # fmt: skip


def test_a_picture_that_moves_is_a_video(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), (40 * i, 90, 0)) for i in range(3)]
    for name in ("turn.webp", "turn.png", "turn.apng"):
        kind = {"format": "PNG" if "png" in name else "WEBP"}
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], **kind)
    for name in ("still.webp", "still.png"):
        frames[0].save(tmp_path / name)
    (tmp_path / "phone.m4v").touch()
    (tmp_path / "empty.webp").touch()
    items, left_out = find_items(tmp_path, "construct")
    assert sorted(Path(one.text).name for one in items) == [
        "phone.m4v", "turn.apng", "turn.png", "turn.webp",
    ]  # fmt: skip
    assert left_out == 3
    assert found(tmp_path / "turn.webp", "construct") == {"turn": str(tmp_path / "turn.webp")}
    (tmp_path / "list.txt").write_text("turn.webp\n")
    assert found(tmp_path / "list.txt", "construct") == {"turn": str(tmp_path / "turn.webp")}
    kinds = {Path(one.text).name for one in find_items(tmp_path, "generate")[0]}
    assert kinds == {f"{stem}.{end}" for stem in ("turn", "still") for end in ("png", "webp")} | {
        "empty.webp"
    }


def test_folders_of_frames_have_any_of_the_camera_files(tmp_path: Path) -> None:
    for name in ("transforms.json", "transforms_train.json", "transforms_test.json"):
        folder = tmp_path / name.removesuffix(".json")
        (folder / "train").mkdir(parents=True)
        (folder / name).touch()
        (folder / "train" / "r_000.png").touch()
    names = ["transforms", "transforms_test", "transforms_train"]
    assert [item.id for item in find_items(tmp_path, "construct")[0]] == names


def test_evaluate_reads_the_assets(tmp_path: Path) -> None:
    artifact(tmp_path / "a" / "asset", "asset")
    artifact(tmp_path / "b" / "asset", "asset")
    assert list(found(tmp_path, "evaluate")) == ["a", "b"]


def test_links_to_artifacts_and_frames_are_items(tmp_path: Path) -> None:
    over, store = tmp_path / "over", tmp_path / "store"
    over.mkdir()
    artifact(store / "frog", "clip")
    artifact(over / "out" / "made", "clip")
    (store / "turn").mkdir()
    (store / "turn" / "transforms.json").touch()
    (store / "x.mp4").touch()
    for name, target in {
        "frog": store / "frog",
        "turn": store / "turn",
        "store": store,  # is none itself: not entered
        "latest": over / "out" / "made",
        "loop": over,
        "gone": tmp_path / "none",
    }.items():
        (over / name).symlink_to(target)
    items, _ = find_items(over, "construct", over / "out")
    assert {item.id: item.text for item in items} == {
        "frog": str(over / "frog"),
        "turn": str(over / "turn"),
    }


def test_a_folder_of_the_items_may_have_a_hash_in_its_name(tmp_path: Path) -> None:
    data = tmp_path / "a#b" / "set"
    artifact(data, "dataset", {"index.json": '{"samples": [{"key": "frog-00"}]}'})
    [item] = find_items(tmp_path, "construct")[0]
    assert item.text == f"{data}#frog-00"
    assert item.path == data


def test_a_long_prompt_is_no_path(tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    prompt = "a frog that is " + "very " * 60 + "long"
    path.write_text(prompt + "\na cow\n")
    assert list(found(path, "generate").values()) == [prompt, "a cow"]
    with pytest.raises(InputError, match="no such file"):
        found(path, "construct")


def test_images_and_meshes_are_conditions(tmp_path: Path) -> None:
    (tmp_path / "x.png").touch()
    for ending in ("glb", "ply"):  # as `generate --object` takes them
        (tmp_path / f"y-{ending}.{ending}").touch()
    items, _ = find_items(tmp_path, "generate")
    assert [item.form for item in items] == [IMAGE, FILE, FILE]
    words = [command_words("generate", item, Path("o"), [])[-1] for item in items]
    objects = [f"--object={tmp_path}/y-{ending}.{ending}" for ending in ("glb", "ply")]
    assert words == [f"--image={tmp_path}/x.png", *objects]


def test_a_list_of_paths(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    path = tmp_path / "clips.txt"
    path.write_text("a.mp4\n")
    assert found(path, "construct") == {"a": str(tmp_path / "a.mp4")}
    path.write_text("a.mp4\nnone.mp4\n")
    with pytest.raises(InputError, match=r"none\.mp4"):
        find_items(path, "construct")


def test_nothing_to_do_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("words")
    with pytest.raises(InputError, match="nothing in it that construct reads"):
        find_items(tmp_path, "construct")
    with pytest.raises(InputError, match="no such file"):
        find_items(tmp_path / "none", "construct")


def test_what_is_made_in_the_folder_of_the_items_is_no_item(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pics").mkdir()
    (tmp_path / "pics" / "fish.png").touch()
    first = find_items(tmp_path / "pics", "sample-video", tmp_path / "pics" / "out")
    artifact(tmp_path / "pics" / "out" / "fish", "clip")
    artifact(tmp_path / "pics" / "other" / "cow", "clip")
    monkeypatch.chdir(tmp_path)
    items, left_out = find_items(Path("pics"), "sample-video", Path("pics/out"))
    assert [item.id for item in items] == [*(item.id for item in first[0]), "other-cow"]
    assert left_out == 0
    assert len(find_items(Path("pics/out"), "evaluate", Path("pics"))[0]) == 1


def test_words_after_the_dashes() -> None:
    from orster_cli.commands.run_options import slurm_parameters, split_words

    words = ["prepare-data", "a/", "b.glb", "--frames", "4"]
    assert split_words(words) == ("prepare-data", ["a/", "b.glb"], ["--frames", "4"])
    with pytest.raises(ConfigError, match="did you mean 'construct'"):
        split_words(["construc"])
    for option in ("-o", "--out=x", "--json"):
        with pytest.raises(ConfigError, match="before the --"):
            split_words(["construct", option])
    assert slurm_parameters(["partition=gpu", "cluster=local", "slurm_array_parallelism=4"]) == (
        {"slurm_partition": "gpu", "slurm_array_parallelism": 4},
        "local",
    )
    with pytest.raises(ConfigError, match="KEY=VALUE"):
        slurm_parameters(["gpu"])
