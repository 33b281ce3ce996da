"""Training from packs of latents: they are the dataset's, mirrored as a mirror does, and every stage of the
paper is trained from them in one process."""

from __future__ import annotations

import json
import lzma
import subprocess
import sys
import tarfile
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from orster_cli.artifacts.store import begin, open_artifact
from orster_cli.config.schema import Config
from orster_cli.core.frames import at_resolution
from orster_cli.dataset.reader import Dataset
from orster_cli.diffusion.bundle import Bundle, Facts, load_bundle, save_bundle
from orster_cli.diffusion.frame_vae import FrameVAE
from orster_cli.diffusion.mini_encoder import new_mini
from orster_cli.training.fast_model import Form
from tests.helpers.training import CFG, SIDE, tiny_vae
from tools.exported import opened
from tools.graph_probe import fastest, rows_of
from tools.latent_pack import INDEX, LATENTS, STEP, PackedLatents, pack, unpack
from tools.timed_stage import step_seconds
from tools.timed_training import (
    COMMANDS,
    LAST,
    SHARES,
    STARTS,
    TAUGHT,
    TimedTraining,
    chosen_stages,
)

VIEWS = ("static", "dynamic", "front")


def model_of(folder: Path, **parts: object) -> Path:
    draft = begin(folder, kind="model", command="pretrain", config={})
    assert draft is not None
    with draft:
        save_bundle(Bundle(Facts(role="vae"), **parts), draft.dir)  # type: ignore[arg-type]
        draft.commit({"role": "vae"})
    return folder


@pytest.fixture(scope="module")
def vae_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_of(tmp_path_factory.mktemp("parts") / "vae", vae=tiny_vae())


@pytest.fixture(scope="module")
def packed(tiny_dataset: Path, vae_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("pack") / "pack"
    pack(vae_folder, [tiny_dataset], tiny_dataset, SIDE, 1, out)
    return out


@pytest.fixture
def train(packed: Path) -> PackedLatents:
    latents = unpack([packed], tiny_vae())["train"]
    latents.add_first_frames()
    return latents


def test_a_pack_has_the_latents_cameras_and_captions_of_the_dataset(
    tiny_dataset: Path, train: PackedLatents
) -> None:
    data, vae = Dataset.open(tiny_dataset), tiny_vae()
    assert train.dataset.texts() == data.texts()
    for key in list(data.keys()):
        for view in VIEWS:
            clip = data.clip(key, view)
            with torch.no_grad():
                z = vae.encode(at_resolution(clip, SIDE))
            got = train.read_bytes(key, view, 0)
            assert (got.latents - z).abs().max() < 0.51 * STEP
            torch.testing.assert_close(got.w2c, clip.cameras.w2c)
            shown = train.dataset.clip(key, view)
            with torch.no_grad():
                torch.testing.assert_close(shown.frames, vae.decode(got.latents).clamp(0, 1))
            assert (got.first_frame - 255 * shown.frames[0]).abs().max() < 1


def test_latents_are_rounded_to_steps_from_those_of_white(packed: Path) -> None:
    """Most of a frame is background: rounding must not put a pattern there."""
    latents, vae = unpack([packed], tiny_vae())["train"], tiny_vae()
    with torch.no_grad():
        blank = vae.encode(torch.ones(1, 3, SIDE, SIDE))
    for z in latents.latents.values():
        steps = (z.float() - blank) / STEP
        assert (steps - steps.round()).abs().max() < 0.02


def test_a_mirrored_sample_is_seen_from_mirrored_cameras_and_its_hands_change(
    train: PackedLatents,
) -> None:
    key = train.dataset.keys()[0]
    train.samples[key] |= {"caption": "raising the left hand", "also": ["kicks right"]}
    train.add_mirrored()
    other = f"{key}-mirrored"
    assert len(train.dataset) == 4
    info = train.dataset.info(other)
    assert (info["caption"], info["also"]) == ("raising the right hand", ["kicks left"])
    flip = torch.diag(torch.tensor([-1.0, 1, 1, 1]))
    for view in VIEWS:
        w2c = train.read_bytes(key, view, 0).w2c
        with torch.no_grad():
            mirrored = train.vae.encode(train.dataset.clip(key, view).frames.flip(-1))
        torch.testing.assert_close(
            train.latents[other, view].float(), mirrored, atol=0.01, rtol=0.01
        )
        found = train.dataset.clip(other, view).cameras.w2c
        torch.testing.assert_close(found, flip @ w2c @ flip)


def test_packs_of_the_same_clips_are_joined(packed: Path) -> None:
    both = unpack([packed, packed], tiny_vae())["train"]
    assert len(both.dataset) == 4
    for key in both.dataset.keys()[:2]:
        assert torch.equal(both.latents[key, "dynamic"], both.latents[f"{key}-again", "dynamic"])


def test_a_pack_of_another_frame_vae_is_refused(packed: Path) -> None:
    other = FrameVAE.create((8, 8), channels=4, groups=4, seed=1).eval()
    with pytest.raises(ValueError, match="of frame VAE"):
        unpack([packed], other)


@pytest.mark.slow
def test_every_stage_is_trained_from_a_pack_and_the_last_from_the_one_before(
    packed: Path, vae_folder: Path, tmp_path: Path
) -> None:
    """The held-out clips are those of an object that is not trained on."""
    index = tmp_path / "pack"
    index.mkdir()
    _with_other_object(packed, index)
    encoder = model_of(tmp_path / "encoder", encoder=new_mini(16, 0))
    given = SimpleNamespace(
        out=tmp_path / "out",
        device="cpu",
        minutes=0.01,
        pack=[index],
        vae=vae_folder,
        encoder=encoder,
        mirror=True,
        form="plain",
        stages=None,
        start=None,
        steps=["teacher-3d=2", "teacher-video=2"],
        most=2,
        export=tmp_path / "export",
        snapshot_seconds=0,
    )
    given.out.mkdir()
    config = replace(CFG, model=replace(CFG.model, resolution=SIDE))
    TimedTraining(given, config, time.monotonic()).run()  # type: ignore[arg-type]
    assert list(SHARES) == list(COMMANDS)
    assert set(STARTS) | set(TAUGHT) | {"teacher-3d", "teacher-video"} == set(SHARES)
    models = {name: open_artifact(given.out / name, kind="model") for name in SHARES}
    assert {model.content["steps"] for model in models.values()} == {2}
    last = load_bundle(models["finetuned"].path).whole("finetuned")
    assert last.std4d.config.merged
    before = load_bundle(models["aligned"].path).whole("aligned").std4d.state_dict()
    after = last.std4d.state_dict()
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[name], after[name]) for name in after)
    log = (models["finetuned"].path / "train.jsonl").read_text().splitlines()
    assert "held_out" in json.loads(log[-1])
    names = sorted(path.name for path in given.export.iterdir())
    assert names == ["finetuned.tar.0", "logs.tar.0", "pretrained.tar.0"]
    with tarfile.open(given.export / "finetuned.tar.0") as tar:
        tar.extractall(tmp_path / "home", filter="data")
    home = load_bundle(tmp_path / "home" / "finetuned")
    assert home.std4d is not None
    for name, value in home.std4d.state_dict().items():
        torch.testing.assert_close(value, after[name], atol=1e-3, rtol=1e-3)
    _goes_on(given, config, home.std4d.state_dict(), tmp_path)


def _goes_on(
    given: SimpleNamespace, config: Config, at_home: dict[str, torch.Tensor], folder: Path
) -> None:
    """The last stage alone, from the parts that came home, in a faster form; its snapshot can be gone on
    from too."""
    again = SimpleNamespace(**vars(given))
    again.out, again.export = folder / "again", folder / "again-export"
    again.out.mkdir()
    again.form, again.steps, again.start = "half", [f"{LAST}=2"], given.export / LAST
    training = TimedTraining(again, config, time.monotonic())  # type: ignore[arg-type]
    assert training.stages == [LAST]
    begun = training._start(LAST)
    assert begun is not None
    assert begun.std4d is not None
    for name, value in begun.std4d.state_dict().items():
        assert torch.equal(value, at_home[name])
    kept: list[Path] = []
    training._export = lambda out: kept.extend(out.iterdir())  # type: ignore[method-assign]
    training.run()
    assert training.times[LAST]["form"] == "half"
    assert training.times[LAST]["steps"] == 2
    assert [path.name for path in kept] == ["snapshot.tar.0"]
    last = load_bundle(again.out / LAST).whole(LAST)
    snapshot = opened(again.export / "snapshot")
    assert snapshot.facts == last.facts
    assert snapshot.std4d is not None
    after = last.std4d.state_dict()
    assert any(not torch.equal(after[name], at_home[name]) for name in after)


def test_the_time_of_steps_is_measured_without_training(
    packed: Path, vae_folder: Path, tmp_path: Path
) -> None:
    """And a stage that begins with a new model has the settings' form of latents."""
    index = tmp_path / "pack"
    index.mkdir()
    _with_other_object(packed, index)
    given = SimpleNamespace(
        out=tmp_path / "out",
        device="cpu",
        minutes=1.0,
        pack=[index],
        vae=vae_folder,
        encoder=model_of(tmp_path / "encoder", encoder=new_mini(16, 0)),
        mirror=False,
        form="plain",
        stages=[LAST],
        start=None,
        steps=None,
    )
    given.out.mkdir()
    model = replace(CFG.model, resolution=SIDE, parametrization="residual")
    training = TimedTraining(given, replace(CFG, model=model), time.monotonic())  # type: ignore[arg-type]
    prepared = training._built(LAST, training.config)
    facts = prepared.finish().facts
    assert facts.residual_scale is not None
    assert facts.motion is not None
    before = {name: value.clone() for name, value in prepared.task.state_dict().items()}
    assert step_seconds(prepared, CFG.finetune, torch.device("cpu")) > 0
    for name, value in prepared.task.state_dict().items():
        assert torch.equal(value, before[name])


@pytest.mark.parametrize(
    ("stages", "start", "name", "expected"),
    [
        (["teacher-3d", "distilled", LAST], None, LAST, "distilled"),
        (["teacher-3d", LAST], None, LAST, "teacher-3d"),
        (["teacher-3d", "pretrained"], "home", "pretrained", "home"),
        (["aligned", LAST], "home", LAST, "aligned"),
        (["aligned", LAST], "home", "aligned", "home"),
        (["pretrained"], None, "pretrained", None),
        (["teacher-3d"], "home", "teacher-3d", None),
    ],
)
def test_a_stage_goes_on_from_the_last_before_it_or_from_what_was_given(
    stages: list[str], start: str | None, name: str, expected: str | None, tmp_path: Path
) -> None:
    """Told apart by their numbers of frames."""
    folders = [*stages, *([start] if start else [])]
    for number, folder in enumerate(folders):
        save_bundle(Bundle(Facts(role="4d", frames=number + 1)), tmp_path / folder)
    training = TimedTraining.__new__(TimedTraining)
    training.out, training.stages = tmp_path, stages
    training.given = SimpleNamespace(start=start and tmp_path / start)  # type: ignore[assignment]
    training.vae = training.encoder = None  # type: ignore[assignment]
    begun = training._start(name)
    found = None if begun is None else folders[begun.facts.frames - 1]
    assert found == expected


@pytest.mark.parametrize(
    ("given", "stages"),
    [
        ({}, list(SHARES)),
        ({"start": Path("model")}, [LAST]),
        ({"stages": [LAST, "aligned"]}, ["aligned", LAST]),
        ({"stages": ["distilled"]}, "distilled needs teacher-3d"),
        ({"steps": ["tuned=3"]}, "no stage 'tuned'"),
    ],
)
def test_stages_are_chosen_in_the_papers_order(given: dict[str, Any], stages: Any) -> None:
    full = SimpleNamespace(**{"stages": None, "start": None, "steps": None, **given})
    if isinstance(stages, str):
        with pytest.raises(ValueError, match=stages):
            chosen_stages(full)  # type: ignore[arg-type]
    else:
        assert chosen_stages(full) == stages  # type: ignore[arg-type]


def test_the_form_is_the_one_whose_steps_end_first(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"form": "plain", "ms": 150.0, "ok": True, "seconds": 0.0},
        {"form": "half graphs", "ms": 100.0, "ok": True, "seconds": 5.0},
        {"form": "half units graphs", "ms": 60.0, "ok": True, "seconds": 40.0},
        {"form": "graphs", "ms": 10.0, "ok": False, "error": 0.7, "seconds": 3.0},
        {"form": "half whole graphs", "ok": False, "why": "no Triton or no C compiler"},
    ]
    assert fastest(rows, 2000) == Form(half=True, units=True, graphs=True)
    assert fastest(rows, 500) == Form(half=True, graphs=True)
    assert fastest(rows, 50) == Form()
    assert fastest([], 50) == Form()


def test_what_a_killed_probe_has_found_is_read(tmp_path: Path) -> None:
    """It may have been killed in the middle of a line."""
    path = tmp_path / "forms.jsonl"
    path.write_text(json.dumps({"form": "plain", "ok": True}) + '\n{"form": "gra')
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    assert rows_of((process, path), time.monotonic()) == [{"form": "plain", "ok": True}]
    assert process.returncode is not None


def _with_other_object(packed: Path, out: Path) -> None:
    """A copy of a pack whose held-out clips are of another object."""
    head = json.loads(lzma.decompress((packed / INDEX).read_bytes()))
    for entry in head["val"].values():
        entry["source"] = "another.glb"
    (out / INDEX).write_bytes(lzma.compress(json.dumps(head).encode()))
    (out / LATENTS).write_bytes((packed / LATENTS).read_bytes())
