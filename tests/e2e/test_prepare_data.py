"""`orster prepare-data` as a user runs it."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import pytest
import torch
import typer

import orster_cli as api
from orster_cli.artifacts.store import open_artifact
from orster_cli.commands.prepare_data import prepare_data
from orster_cli.core.errors import ConfigError, ConflictError, InputError, MissingResourceError
from orster_cli.core.reporting import Silent
from orster_cli.dataset.places import open_dataset
from orster_cli.dataset.reader import Dataset
from orster_cli.inputs.clips import open_clip
from orster_cli.inputs.video import OrbitFlags

TINY = ["--frames", "4", "--resolution", "24", "--set", "prepare.supersample=1"]


def orster(*arguments: str | Path) -> None:
    """Run the command in this process; errors are raised as they are."""
    app = typer.Typer()
    app.command()(prepare_data)
    app(args=[str(a) for a in arguments], standalone_mode=False)


@pytest.fixture(scope="module")
def objects(creature: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("objects")
    for name in ("cat", "dog", "emu"):
        shutil.copyfile(creature, folder / f"{name}.glb")
    rows = ["file,clip,use,caption"]
    rows += [f"{name}.glb,{k},1,a {name}" for name in ("cat", "dog", "emu") for k in (0, 1)]
    (folder / "clips.csv").write_text("\n".join(rows))
    return folder


def test_make_again_verify_and_change(
    objects: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "dataset"
    command = (objects, "-o", out, "--captions", objects / "clips.csv", *TINY)
    orster(*command)
    assert "6 clips of 3 objects kept, 0 dropped" in capsys.readouterr().out
    artifact = open_artifact(out, kind="dataset")
    assert artifact.verify(Silent()) == []
    assert artifact.content["samples"] == 6
    assert artifact.manifest.licences == ["CC0 1.0"]
    assert {i.name for i in artifact.manifest.inputs} == {
        "cat.glb", "dog.glb", "emu.glb", "clips.csv",
    }  # fmt: skip
    assert [p.name for p in tmp_path.iterdir()] == ["dataset"]  # no draft, no lock left
    dataset = Dataset.open(out)
    assert dataset.info("dog-01")["caption"] == "a dog"
    assert dataset.clip("dog-01").prompt == "a dog"
    orster(*command, "--json")
    assert json.loads(capsys.readouterr().out)["status"] == "up to date"
    with pytest.raises(ConflictError, match="other inputs or settings"):
        orster(*command, "--elevation", "20")


def test_a_grid_is_one_more_view(
    objects: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rendered, checked, opened as a clip by its name, and no part of a dataset made without it."""
    plain = (objects / "cat.glb", "-o", tmp_path / "plain", *TINY)
    gridded = (objects / "cat.glb", "-o", tmp_path / "gridded", *TINY, "--set", "prepare.grid=4")
    orster(*plain)
    orster(*gridded)
    capsys.readouterr()
    for command, again in ((plain, "prepare.grid=0"), (gridded, "prepare.grid=4")):
        orster(*command, "--set", again, "--json")
        assert json.loads(capsys.readouterr().out)["status"] == "up to date"
    with pytest.raises(ConflictError, match="other inputs or settings"):
        orster(*plain, "--set", "prepare.grid=4")
    one, other = (open_artifact(tmp_path / name) for name in ("plain", "gridded"))
    assert "grid" not in one.manifest.config["prepare"]
    assert other.manifest.config["prepare"]["grid"] == 4
    assert other.verify(Silent()) == []
    opened = open_clip(f"{other.path}#cat-01:grid", OrbitFlags(), Silent())
    assert (len(opened.clip), opened.key) == (16, "cat-01:grid")
    assert opened.static is not None
    assert torch.equal(opened.clip.frames[::4], opened.static.frames)  # the first moment, all round
    clip = api.open_dataset(other.path).clip("cat-01", "grid")
    assert torch.equal(clip.frames, opened.clip.frames)
    with pytest.raises(InputError, match=r"no view 'grd'.*did you mean 'grid'"):
        open_clip(f"{other.path}#cat-01:grd", OrbitFlags(), Silent())


def test_a_grid_that_is_too_large_is_refused_at_once(objects: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"prepare\.grid 512 x prepare\.frames 400"):
        orster(objects, "-o", tmp_path / "d", "--frames", "400", "--set", "prepare.grid=512")
    assert not list(tmp_path.iterdir())


def test_parts_are_merged_into_the_same_samples(objects: Path, tmp_path: Path) -> None:
    for i in (1, 2):
        orster(objects, "-o", tmp_path / f"part{i}", "--shard", f"{i}/2", *TINY)
    orster("--merge", tmp_path / "part1", tmp_path / "part2", "-o", tmp_path / "all")
    assert sorted(Dataset.open(tmp_path / "all").keys()) == [
        "cat-00", "cat-01", "dog-00", "dog-01", "emu-00", "emu-01",
    ]  # fmt: skip
    merged = open_artifact(tmp_path / "all", kind="dataset")
    assert merged.verify(Silent()) == []
    assert len(merged.manifest.parents) == 2
    part = open_artifact(tmp_path / "part1", kind="dataset")
    assert merged.manifest.config["prepare"] == part.manifest.config["prepare"]


def test_a_part_without_a_clip_is_joined_with_the_others(
    objects: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A job array asks for all of its parts: one that holds damaged objects, or none, is made too."""
    given = tmp_path / "given"
    given.mkdir()
    (given / "broken.glb").write_bytes(b"nonsense")
    shutil.copyfile(objects / "cat.glb", given / "cat.glb")
    parts = [tmp_path / f"part{i}" for i in (1, 2, 3)]
    for i, part in enumerate(parts, 1):
        orster(given, "-o", part, "--shard", f"{i}/3", *TINY)
        assert open_artifact(part).verify(Silent()) == []
    said = capsys.readouterr()
    assert "part 1/3 is empty" in said.err
    assert "part 3/3 is empty" in said.err
    assert "0 clips of 1 object kept, 1 dropped: 1 cannot be read" in said.out
    with pytest.raises(InputError, match="part1: expected a dataset with clips, got an empty one"):
        open_dataset(parts[0])  # as the trainings do
    orster("--merge", *parts, "-o", tmp_path / "all")
    assert Dataset.open(tmp_path / "all").keys() == ["cat-00", "cat-01"]
    content = open_artifact(tmp_path / "all").content
    assert [drop["key"] for drop in content["dropped"]] == ["broken"]
    with pytest.raises(InputError, match="no part has a clip: 2 parts, dropped: 1 cannot be read"):
        orster("--merge", parts[0], parts[2], "-o", tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_dry_run_writes_nothing(objects: Path, tmp_path: Path, capsys) -> None:
    orster(objects, "-o", tmp_path / "d", "--dry-run", *TINY)
    assert "would write dataset" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_wrong_arguments(objects: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="i/n"):
        orster(objects, "-o", tmp_path / "d", "--shard", "5")
    with pytest.raises(ConfigError, match="builtin"):
        orster(objects, "-o", tmp_path / "d", "--renderer", "povray")
    if importlib.util.find_spec("bpy") is None:
        with pytest.raises(MissingResourceError, match="bpy"):
            orster(objects, "-o", tmp_path / "d", "--renderer", "blender")
    with pytest.raises(InputError, match="no such"):
        orster(tmp_path / "nothing", "-o", tmp_path / "d")
    assert not list(tmp_path.iterdir())


def test_webdataset_reads_the_shards_as_they_are(objects: Path, tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    out = tmp_path / "dataset"
    orster(objects / "cat.glb", "-o", out, *TINY)
    shards = [str(out / name) for name in open_artifact(out).content["shards"]]
    samples = list(webdataset.WebDataset(shards, shardshuffle=False).decode("pilrgba"))
    assert [s["json"]["key"] for s in samples] == ["cat-00", "cat-01"]
    fields = {f"{view}.{i:02d}.png" for view in ("dynamic", "static", "front") for i in range(4)}
    assert fields <= samples[0].keys()
    image = samples[0]["front.03.png"]
    assert (image.size, image.mode) == ((24, 24), "RGBA")


def test_several_orbits_of_a_motion(objects: Path, tmp_path: Path) -> None:
    """Each is the orbit that a dataset of its azimuth alone would hold, and is opened by its name."""
    out, alone = tmp_path / "orbits", tmp_path / "alone"
    orster(objects / "cat.glb", "-o", out, "--azimuths", "0,90,200", *TINY)
    orster(objects / "cat.glb", "-o", alone, "--azimuths", "200", *TINY)
    assert open_artifact(out).verify(Silent()) == []
    views = {"dynamic", "static", "front", "orbit-090", "orbit-200"}
    assert set(Dataset.open(out).info("cat-01")["frames"]) == views
    opened = open_clip(f"{out}#cat-01:orbit-200", OrbitFlags(), Silent())
    assert opened.static is not None
    wanted = open_clip(f"{alone}#cat-01", OrbitFlags(), Silent()).clip
    assert torch.equal(opened.clip.frames, wanted.frames)
    torch.testing.assert_close(opened.clip.cameras.w2c, wanted.cameras.w2c)
    with pytest.raises(InputError, match=r"no view 'orbit-90'.*did you mean 'orbit-090'"):
        open_clip(f"{out}#cat-01:orbit-90", OrbitFlags(), Silent())
    with pytest.raises(InputError, match="has no view 'orbit-270'"):
        open_clip(f"{out}#cat-01:orbit-270", OrbitFlags(), Silent())
    for wrong in ("0,0", "0,360", "x"):
        with pytest.raises(ConfigError, match=r"prepare\.azimuths"):
            orster(objects / "cat.glb", "-o", tmp_path / "w", "--azimuths", wrong, *TINY)
