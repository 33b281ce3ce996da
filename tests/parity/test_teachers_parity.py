"""Teachers as they were published: the features are what diffusers' own models compute."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from orster_cli.core.errors import ConfigError
from orster_cli.diffusion.bundle import Bundle
from orster_cli.diffusion.encoders import clip_pixels
from orster_cli.training.build import build_stage
from orster_cli.training.prepared import Models
from orster_cli.transfer.teachers import load_teacher
from tests.helpers.teachers import (
    FRAMES,
    SHARED,
    Watched,
    i2vgen_folder,
    modelscope_folder,
    pipeline_folder,
    same,
    teacher_inputs,
)
from tests.helpers.training import CFG, bundle, source


@pytest.fixture(scope="module")
def modelscope(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return modelscope_folder(tmp_path_factory.mktemp("modelscope"))


@pytest.fixture(scope="module")
def i2vgen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return i2vgen_folder(tmp_path_factory.mktemp("i2vgen-xl"))


@torch.no_grad()
def test_modelscopes_features_are_diffusers_own(modelscope: Path) -> None:
    from diffusers import UNet3DConditionModel

    teacher, vae = load_teacher(modelscope, role="video")
    assert vae is None
    theirs = UNet3DConditionModel.from_pretrained(modelscope / "unet")
    watched, seen = Watched(theirs), teacher_inputs()
    text = teacher.encoder.text(seen.captions).tokens
    theirs(seen.noisy, seen.timesteps, text)
    names = frozenset(teacher.widths)
    assert names == watched.added.keys()
    same(teacher.features(seen, names), watched.added)
    one = frozenset(sorted(names)[:1])
    assert teacher.features(seen, one).keys() == one


@torch.no_grad()
def test_i2vgen_xl_sees_the_first_frame_at_its_own_noise_level(i2vgen: Path) -> None:
    from diffusers import DDIMScheduler, I2VGenXLUNet
    from transformers import CLIPTextModel, CLIPTokenizer, CLIPVisionModelWithProjection

    teacher, _ = load_teacher(i2vgen, role="video")
    seen = teacher_inputs()
    names = frozenset(teacher.widths)
    got = teacher.features(seen, names)
    theirs = I2VGenXLUNet.from_pretrained(i2vgen / "unet")
    watched = Watched(theirs)
    own = DDIMScheduler.from_pretrained(i2vgen / "scheduler")
    ratio = (own.alphas_cumprod / (1 - own.alphas_cumprod)).log()
    a = seen.schedule.alphas_cumprod[seen.timesteps]
    steps = torch.stack([(ratio - (v / (1 - v)).log()).abs().argmin() for v in a])
    assert steps.tolist() != seen.timesteps.tolist()
    places = [torch.full_like(seen.first_latents, i / (FRAMES - 1)) for i in range(1, FRAMES)]
    vision = CLIPVisionModelWithProjection.from_pretrained(i2vgen / "image_encoder")
    theirs(
        sample=seen.noisy,
        timestep=steps,
        fps=torch.full((2,), 16),
        image_latents=torch.stack([seen.first_latents, *places], dim=2),
        image_embeddings=vision(pixel_values=clip_pixels(seen.first_frames, 32)).image_embeds,
        encoder_hidden_states=teacher.encoder.text(seen.captions).tokens,
    )
    same(got, watched.added)
    words = CLIPTokenizer.from_pretrained(i2vgen / "tokenizer")
    ids = words(
        list(seen.captions),
        padding="max_length",
        max_length=9,
        truncation=True,
        return_tensors="pt",
    ).input_ids
    model = CLIPTextModel.from_pretrained(i2vgen / "text_encoder").eval()
    hidden = model(input_ids=ids, output_hidden_states=True).hidden_states[-2]
    want = getattr(model, "text_model", model).final_layer_norm(hidden)
    torch.testing.assert_close(teacher.encoder.text(seen.captions).tokens, want)


def test_distillation_learns_from_both(tiny_dataset: Path, modelscope: Path, i2vgen: Path) -> None:
    start = bundle()
    models = Models(start=Bundle(**vars(start)), teacher_3d=modelscope, teacher_video=i2vgen)
    ready = build_stage("distill", "", CFG, source(tiny_dataset), models)
    loss, terms = ready.task(ready.feed.batch(0, [0, 1]), 0, [0, 1])
    loss.backward()
    assert 0 < float(terms["kappa"].mean()) < 1
    assert float(terms["distance_spatial"].mean()) > 0
    assert float(terms["distance_temporal"].mean()) > 0
    grads = [p.grad for n, p in ready.task.named_parameters() if "transfer." in n]
    assert any(g is not None and bool(g.abs().sum() > 0) for g in grads)


def test_an_encoder_of_another_width_is_refused(modelscope: Path, tmp_path: Path) -> None:
    from diffusers import DDIMScheduler, UNet3DConditionModel

    place = tmp_path / "odd"
    torch.manual_seed(0)
    unet = UNet3DConditionModel(**{**SHARED, "cross_attention_dim": 24}, attention_head_dim=8)
    pipeline_folder(place, unet, DDIMScheduler.from_pretrained(modelscope / "scheduler"))
    with pytest.raises(ConfigError, match="16 wide, its UNet reads 24"):
        load_teacher(place, role="video")
