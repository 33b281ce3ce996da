"""The Python interface and the command line make the same artifacts, refuse the same mistakes."""

from __future__ import annotations

import shutil
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import orster_cli as orster
from orster_cli.artifacts.manifest import MANIFEST
from orster_cli.artifacts.store import open_artifact
from orster_cli.config.construct import ConstructConfig
from orster_cli.core.errors import ConfigError, ConflictError
from orster_cli.core.reporting import Silent
from orster_cli.inputs.models import SHIPPED
from orster_cli.io.images import write_png
from orster_cli.io.video import write_video
from tests.helpers.cli import orster as command
from tests.helpers.clips import disc_clip

Capture = pytest.CaptureFixture[str]
FIT: dict[str, Any] = {
    **{f"construct.{name}_steps": 8 for name in ("static", "coarse", "fine")},
    **{"construct.gaussians": 200, "construct.max_gaussians": 300, "construct.resolution": 32},
}
RENDER = {"prepare.frames": 6, "prepare.resolution": 32, "prepare.supersample": 1}
FEW = {"sample.steps": 2}


def flags(config: dict[str, Any]) -> list[str]:
    return [word for key, value in config.items() for word in ("--set", f"{key}={value}")]


def same(ours: Path, theirs: Path) -> None:
    """Both are intact, of one request and of one id, which covers every file."""
    one, other = open_artifact(ours), open_artifact(theirs)
    assert one.verify(Silent()) == other.verify(Silent()) == []
    assert (one.manifest.request, one.id) == (other.manifest.request, other.id)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory, creature: Path) -> orster.Dataset:
    place = tmp_path_factory.mktemp("api")
    return orster.prepare(creature, place / "dataset", config=RENDER)


@pytest.fixture(scope="module")
def sampled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip of the shipped model."""
    out = tmp_path_factory.mktemp("sampled") / "clip"
    orster.sample(model="mini", text="a frog jumping", seed=3, config=FEW, out=out)
    return out


def test_prepare(dataset: orster.Dataset, creature: Path, tmp_path: Path, capsys: Capture) -> None:
    said = command(capsys, "prepare-data", creature, "-o", tmp_path / "dataset", *flags(RENDER))
    assert said.code == 0, said.err
    same(dataset.path, tmp_path / "dataset")
    assert orster.open_dataset(str(dataset.path)).keys() == dataset.keys()
    clip = dataset.clip(dataset.keys()[0])
    assert clip.static is not None
    assert torch.equal(clip.frames, orster.open_clip(f"{dataset.path}#{dataset.keys()[0]}").frames)


def found(capsys: Capture, *words: str | Path) -> None:
    """The command line says that the output of `words` is what it would make."""
    said = command(capsys, *words, "--json")
    assert said.code == 0, said.err
    assert said.data["status"] == "up to date"


def test_sample_from_a_text(sampled: Path, tmp_path: Path, capsys: Capture) -> None:
    words = ("sample-video", "-m", "mini", "--text", "a frog jumping", "--seed", "3")
    said = command(capsys, *words, "-o", tmp_path / "clip", *flags(FEW))
    assert said.code == 0, said.err
    same(sampled, tmp_path / "clip")
    assert "-m mini -o asset/" in said.out
    model = orster.load_model("mini")
    assert (model.role, model.frames, model.resolution) == ("4d", 16, 64)
    again = orster.sample(model, text="a frog jumping", seed=3, config=FEW, out=sampled)
    assert again.path == sampled  # it is there
    assert set(again.priors) == {"spatial", "temporal"}
    assert again._repr_png_()[:4] == b"\x89PNG"


def test_sample_from_an_image_and_an_object(
    dataset: orster.Dataset, tmp_path: Path, capsys: Capture
) -> None:
    key, few = dataset.keys()[0], {**FEW, "sample.frames": 6}
    picture = dataset.clip(key).over()[0]
    write_png(tmp_path / "image.png", picture)
    made = orster.sample(image=picture, config=few)
    temporary = made.path
    assert made.save(tmp_path / "clip") == made.path == tmp_path / "clip"
    assert temporary is not None
    same(temporary, tmp_path / "clip")
    words = ("sample-video", "--image", tmp_path / "image.png", "-o", tmp_path / "clip")
    found(capsys, *words, *flags(few))
    static = f"{dataset.path}#{key}:static"
    given = orster.sample(object=orster.open_clip(static), config=few, out=tmp_path / "object")
    found(capsys, "sample-video", "--object", static, "-o", tmp_path / "object", *flags(few))
    # of a clip in which it moves the object at rest counts
    moving = orster.sample(object=dataset.clip(key), config=few)
    assert torch.equal(moving.frames, given.frames)


def test_construct_and_evaluate(dataset: orster.Dataset, tmp_path: Path, capsys: Capture) -> None:
    key = dataset.keys()[0]
    name = f"{dataset.path}#{key}"
    asset = orster.construct(dataset.clip(key), preset="fast", config=FIT)
    temporary = asset.path
    assert asset.content["static_orbit"]  # which the clip brought
    asset.save(tmp_path / "ours")
    words = ("construct", name, "--preset", "fast", "-o", tmp_path / "theirs")
    assert command(capsys, *words, *flags(FIT)).code == 0
    same(tmp_path / "ours", tmp_path / "theirs")
    assert orster.load_asset(tmp_path / "ours").id == asset.id
    assert open_artifact(temporary).id == asset.id
    # measured: in memory, written, and by the command
    report = orster.evaluate(asset, reference=dataset.clip(key), metrics="psnr")
    written = orster.evaluate(
        tmp_path / "ours", reference=name, metrics=["psnr"], out=tmp_path / "r"
    )
    assert report.values == written.values
    assert report.page is None
    # a clip that was never on a disk; a video with the cameras that it was opened with
    memory = replace(dataset.clip(key), prompt="in memory")
    again = orster.evaluate(asset, reference=memory, metrics="psnr")
    assert again.mean["psnr"] == pytest.approx(report.mean["psnr"], abs=0.05)
    write_video(tmp_path / "v.mp4", dataset.clip(key).over())
    found = {
        turns: orster.evaluate(
            asset, reference=orster.open_clip(tmp_path / "v.mp4", turns=turns), metrics="psnr"
        ).mean["psnr"]
        for turns in (1, -1)
    }
    assert found[1] > found[-1] + 1
    both = orster.open_clip(tmp_path / "v.mp4")
    same_video = orster.evaluate(both, reference=str(tmp_path / "v.mp4"), metrics="psnr")
    assert same_video.mean["psnr"] > 30
    assert "psnr (dB)" in report._repr_html_()
    words = ("evaluate", tmp_path / "theirs", "--reference", name, "--metrics", "psnr")
    shutil.move(tmp_path / "theirs", tmp_path / "other" / "ours")
    words = ("evaluate", tmp_path / "other" / "ours", *words[2:])
    assert command(capsys, *words, "-o", tmp_path / "report").code == 0
    ours, theirs = open_artifact(tmp_path / "r"), open_artifact(tmp_path / "report")
    assert ours.content == theirs.content
    # the asset goes from memory with its object
    del asset
    assert not temporary.exists()


def test_what_the_shipped_model_sampled_it_also_sees_at_rest(
    sampled: Path, tmp_path: Path, capsys: Capture
) -> None:
    config, out = {**FIT, **FEW}, tmp_path / "asset"
    asset = orster.construct(orster.open_clip(sampled), config=config, out=out)
    assert asset.content["static_orbit"]
    shipped = open_artifact(SHIPPED).id
    assert [p.id for p in open_artifact(out).manifest.parents][1:] == [shipped]
    assert orster.construct(sampled, model="mini", config=config, out=out).id == asset.id
    words = ("construct", sampled, "-o", out, *flags(config))
    found(capsys, *words)
    found(capsys, *words, "-m", "mini")
    said = command(capsys, "construct", sampled, "-o", tmp_path / "b", "-m", "none", "-n", "--json")
    assert [parent["kind"] for parent in said.data["parents"]] == ["clip"]


def test_a_clip_in_memory_is_saved_with_what_it_has_at_rest(
    dataset: orster.Dataset, tmp_path: Path
) -> None:
    clip = dataset.clip(dataset.keys()[0])
    assert clip.static is not None
    first = replace(clip, prompt="a")
    first.save(tmp_path / "x")
    darker = replace(clip.static, frames=clip.static.frames / 2)
    with pytest.raises(ConflictError):
        replace(first, static=darker).save(tmp_path / "x")


@pytest.mark.parametrize(
    "image",
    [
        torch.rand(64, 64, 3),
        torch.rand(1, 3, 64, 64),
        torch.rand(64, 64),
        255 * torch.rand(3, 64, 64),
    ],
    ids=["channels last", "a batch", "grey", "0 to 255"],
)
def test_an_image_of_another_layout_is_refused(image: torch.Tensor) -> None:
    with pytest.raises(ConfigError, match=r"image: expected \[3,H,W\]"):
        orster.sample(image=image)


def test_frames_that_are_no_numbers_are_refused(dataset: orster.Dataset) -> None:
    clip = dataset.clip(dataset.keys()[0])
    with pytest.raises(ConfigError, match="frames: NaN"):
        orster.construct(replace(clip, frames=clip.frames * torch.nan))


def test_frames_from_memory_count_as_what_they_are(
    dataset: orster.Dataset, tmp_path: Path, capsys: Capture
) -> None:
    clip = dataset.clip(dataset.keys()[0])
    changed = replace(clip, frames=1 - clip.frames)
    assert changed.path is None
    asset = orster.construct(changed, config=FIT)
    manifest = open_artifact(asset.path).manifest
    assert manifest.parents == []  # no longer the dataset's clip
    assert len(manifest.inputs) == 2 * (len(clip) + 2)  # frames, cameras, preview; static orbit too
    saved = clip.save(tmp_path / "clip")
    kept = open_artifact(saved, kind="clip")
    assert [p.id for p in kept.manifest.parents] == [dataset.id]
    again = orster.open_clip(saved)
    assert torch.equal(again.frames, clip.frames)
    assert clip.static is not None
    assert again.static is not None
    assert torch.equal(again.static.frames, clip.static.frames)
    with pytest.raises(orster.ConflictError):
        changed.save(saved)


def test_an_output_that_is_there_is_found_and_an_input_is_not_overwritten(
    dataset: orster.Dataset, creature: Path, sampled: Path
) -> None:
    before = (dataset.path / MANIFEST).stat().st_mtime_ns
    assert orster.prepare([creature], dataset.path, config=RENDER).id == dataset.id
    assert (dataset.path / MANIFEST).stat().st_mtime_ns == before
    with pytest.raises(orster.ConflictError, match="other inputs"):
        orster.prepare(creature, dataset.path, config={**RENDER, "prepare.frames": 5})
    with pytest.raises(orster.ConflictError):
        orster.construct(sampled, config=FIT, out=sampled, force=True)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"construct.gausians": 3}, "did you mean 'gaussians'"),
        ({"construct.gaussians": 3}, "at least 64"),
        ({"construct.gaussians": "many"}, "expected int"),
        ({"gaussians": 300}, "section.key"),
        (ConstructConfig(gaussians=3), "at least 64"),
        (3, "expected settings, got int"),
        ("nowhere.toml", "cannot be read"),
    ],
)
def test_settings_are_checked_as_on_the_command_line(config: Any, says: str) -> None:
    with pytest.raises(orster.ConfigError, match=says) as caught:
        orster.construct(disc_clip(), config=config)
    assert isinstance(caught.value, orster.OrsterError)


def test_mistakes_have_their_errors_and_hints(dataset: orster.Dataset, tmp_path: Path) -> None:
    with pytest.raises(orster.InputError, match="no such clip"):
        orster.open_clip("nowhere")
    with pytest.raises(orster.InputError) as caught:
        orster.open_clip(f"{dataset.path}#frog")
    assert dataset.keys()[0] in str(caught.value.hint)
    with pytest.raises(orster.ConfigError, match=r"no preset 'fastt'.*did you mean 'fast'"):
        orster.construct(disc_clip(), preset="fastt")
    with pytest.raises(orster.ConfigError, match="no condition"):
        orster.sample()
    with pytest.raises(orster.ConfigError, match="no model") as no_model:
        orster.sample("a frog jumping")
    assert no_model.value.hint == "for a text: sample(text='a frog jumping')"
    with pytest.raises(orster.ConfigError, match="both given"):
        orster.sample(image=torch.ones(3, 8, 8), object="frog.glb")
    with pytest.raises(orster.InputError, match="no such model"):
        orster.load_model(tmp_path / "none")
    with pytest.raises(orster.InputError, match="kind asset"):
        orster.load_asset(dataset.path)
    with pytest.raises(orster.ConfigError, match="unknown metric"):
        orster.evaluate(dataset.path, metrics="psmr")
    with pytest.raises(orster.ConfigError, match="elevation"):
        orster.orbit_cameras(8, elevation=200)
    with pytest.raises(orster.ConfigError, match="at least 1"):
        orster.orbit_cameras(0)


def test_warnings_are_python_warnings_or_the_reporters(tmp_path: Path) -> None:
    from orster_cli.api.calls import Messages

    messages = Messages(None)
    with pytest.warns(UserWarning, match="a guess") as caught:
        messages.warn("a guess")
    assert caught[0].filename == __file__  # the caller's line, not one of ours
    told = Silent()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Messages(told).warn("a guess")
    assert told.warnings == ["a guess"]
    del tmp_path
