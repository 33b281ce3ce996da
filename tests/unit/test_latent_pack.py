"""Training from packs of latents: they are the dataset's, mirrored as a mirror does, and every stage of the
paper is trained from them in one process."""

from __future__ import annotations

import json
import lzma
import tarfile
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from orster_cli.artifacts.store import begin, open_artifact
from orster_cli.core.frames import at_resolution
from orster_cli.dataset.reader import Dataset
from orster_cli.diffusion.bundle import Bundle, Facts, load_bundle, save_bundle
from orster_cli.diffusion.frame_vae import FrameVAE
from orster_cli.diffusion.mini_encoder import new_mini
from tests.helpers.training import CFG, SIDE, tiny_vae
from tools.latent_pack import INDEX, LATENTS, STEP, PackedLatents, pack, unpack
from tools.timed_training import COMMANDS, SHARES, STARTS, TAUGHT, TimedTraining

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
        graphs=False,
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


def _with_other_object(packed: Path, out: Path) -> None:
    """A copy of a pack whose held-out clips are of another object."""
    head = json.loads(lzma.decompress((packed / INDEX).read_bytes()))
    for entry in head["val"].values():
        entry["source"] = "another.glb"
    (out / INDEX).write_bytes(lzma.compress(json.dumps(head).encode()))
    (out / LATENTS).write_bytes((packed / LATENTS).read_bytes())
