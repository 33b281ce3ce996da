"""Training under texts asks for captions before it begins, and says which clips have none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from orster_cli.artifacts.store import open_artifact
from orster_cli.config.train import TeacherConfig, TrainConfig
from orster_cli.core.errors import InputError
from orster_cli.training.build_finetune import build_finetune
from orster_cli.training.build_parts import build_encoder, build_vae
from tests.helpers.artifacts import make
from tests.helpers.cli import Said, orster
from tests.helpers.training import CFG, dataset, source, teachers

Capture = pytest.CaptureFixture[str]
TINY = ["model.vae_widths=[8,8]", "model.groups=4", "model.encoder_width=16", "model.frames=4"]
STEPS = ["vae.steps=1", "vae.batch=2", "encoder.steps=2", "encoder.batch=2"]
SETTINGS = [word for one in (*TINY, *STEPS) for word in ("--set", one)]


@pytest.fixture(scope="module")
def silent(creature: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of two clips without captions."""
    return dataset(creature, tmp_path_factory.mktemp("silent") / "dataset", captions=("", ""))


def pretrain(capsys: Capture, data: Path, out: Path, *words: str) -> Said:
    settings = [*SETTINGS, "--device", "cpu", "--json"]
    return orster(capsys, "pretrain", data, "-o", out, *words, *settings)


def test_an_encoder_is_not_trained_on_nothing(
    capsys: Capture, silent: Path, tmp_path: Path
) -> None:
    for words in ([], ["--dry-run"], ["--force"]):
        said = pretrain(capsys, silent, tmp_path / "encoder", "--role", "encoder", *words)
        assert (said.code, said.failure["code"]) == (3, "E-CAPTIONS")
        assert f"{silent}: 2 of 2 clips have no caption" in said.failure["error"]
        assert "orster prepare-data objects/ --write-captions" in said.failure["hint"]
    assert not list(tmp_path.iterdir())
    with pytest.raises(InputError, match="2 of 2 clips have no caption"):
        build_encoder(CFG, source(silent))


def test_a_frame_vae_needs_no_captions(capsys: Capture, silent: Path, tmp_path: Path) -> None:
    assert pretrain(capsys, silent, tmp_path / "vae", "--role", "vae").code == 0
    assert open_artifact(tmp_path / "vae", kind="model").manifest.warnings == []


def test_a_diffusion_that_gives_texts_needs_some(
    capsys: Capture, silent: Path, tmp_path: Path
) -> None:
    """Said before the models' weights are read, which are not there."""
    for role in ("vae", "encoder", "3d", "video", "4d"):
        make(tmp_path / role, kind="model", content={"role": role})
    before = sorted(tmp_path.rglob("*"))
    models = ["--vae", str(tmp_path / "vae"), "--encoder", str(tmp_path / "encoder")]
    for role, section in (("3d", "teacher"), ("video", "teacher"), ("4d", "pretrain")):
        said = pretrain(capsys, silent, tmp_path / "model", "--role", role, *models)
        assert (said.code, said.failure["code"]) == (3, "E-CAPTIONS")
        assert f"--set {section}.text=0 --set {section}.image=1" in said.failure["hint"]
        without = ["--set", f"{section}.text=0", "--set", f"{section}.image=1"]
        said = pretrain(capsys, silent, tmp_path / "model", "--role", role, *models, *without)
        assert f"{tmp_path / 'vae'}: no model: pipeline.json" in said.failure["error"]
    for stage in ("align", "finetune", "distill"):
        words = ["-m", str(tmp_path / "4d"), "-o", str(tmp_path / "model"), "--json"]
        if stage == "distill":
            words += [
                "--teacher-3d",
                str(tmp_path / "3d"),
                "--teacher-video",
                str(tmp_path / "video"),
            ]
        said = orster(capsys, stage, silent, *words)
        assert (said.code, said.failure["code"]) == (3, "E-CAPTIONS")
        said = orster(capsys, stage, silent, *words, "--set", f"{stage}.steps=0")
        assert f"{tmp_path / '4d'}: no model: pipeline.json" in said.failure["error"]
    assert sorted(p for p in tmp_path.rglob("*") if p in before) == before
    assert not (tmp_path / "model").exists()


def test_the_library_refuses_it_too_and_images_alone_are_fine(silent: Path, tmp_path: Path) -> None:
    models = teachers(tmp_path)
    with pytest.raises(InputError, match="2 of 2 clips have no caption"):
        build_finetune(CFG, source(silent), models)
    images = replace(CFG, finetune=replace(CFG.finetune, text=0.0, image=1.0))
    assert build_finetune(images, source(silent), models).feed.captions() == [""]  # type: ignore[attr-defined]


def test_where_no_share_is_set_the_text_is_given() -> None:
    assert TrainConfig().gives_texts()
    assert TrainConfig(text=0).gives_texts()  # as `choose` does
    assert not TrainConfig(text=0, object=0.5).gives_texts()
    assert not TeacherConfig(text=0).gives_texts()


def test_clips_without_a_caption_are_left_out_of_the_encoders_pairs(
    capsys: Capture, creature: Path, tmp_path: Path
) -> None:
    data = dataset(creature, tmp_path / "dataset", captions=("", "a creature hopping"))
    said = pretrain(capsys, data, tmp_path / "encoder", "--role", "encoder")
    assert said.code == 0, said.err
    warnings = open_artifact(tmp_path / "encoder", kind="model").manifest.warnings
    assert warnings[0] == f"{data}: 1 of 2 clips have no caption and are left out"
    assert said.data["warnings"] == warnings
    feed = build_encoder(CFG, source(data)).feed
    captions = {text for step in range(4) for text in feed.batch(step, range(4)).captions}
    assert captions == {"a creature hopping"}
    frames = build_vae(CFG, source(data)).feed
    assert {t for s in range(4) for t in frames.batch(s, range(4)).captions} > captions


def test_the_captions_of_a_dataset_are_listed(
    capsys: Capture, silent: Path, creature: Path, tmp_path: Path
) -> None:
    data = dataset(creature, tmp_path / "dataset", captions=(" two\nlines ", "a frog"))
    assert orster(capsys, "show", data, "--captions").out == "two lines\na frog\n"
    assert orster(capsys, "show", silent, "--captions", "--json").data["captions"] == []
    assert orster(capsys, "show", silent, "--captions").out == ""
    same = dataset(creature, tmp_path / "same", captions=("a frog", "a frog"))
    assert orster(capsys, "show", same, "--captions").out == "a frog\n"
    pretrain(capsys, data, tmp_path / "vae", "--role", "vae")
    said = orster(capsys, "show", tmp_path / "vae", "--captions")
    assert (said.out, "makes no objects of texts" in said.err) == ("", True)
    known = orster(capsys, "show", "mini-object", "--captions").out.splitlines()
    assert len(known) > 200
    assert "a purple humpback whale" not in known  # of the validation objects


def test_prepare_data_says_how_many_have_no_caption_and_the_example_is_read(
    capsys: Capture, creature: Path, tmp_path: Path
) -> None:
    size = ["--frames", "4", "--resolution", "24", "--set", "prepare.supersample=1"]
    words = ["prepare-data", str(creature), *size]
    said = orster(capsys, *words, "-o", tmp_path / "without")
    assert said.code == 0, said.err
    assert "2 without a caption" in said.out
    example = creature.parent / "clips.csv"
    said = orster(capsys, *words, "--captions", example, "-o", tmp_path / "with")
    assert "2 clips of 1 object kept, 0 dropped" in said.out
    assert "caption" not in said.out
    listed = orster(capsys, "show", tmp_path / "with", "--captions").out
    assert listed == "a teal creature walking\na teal creature hopping\n"
