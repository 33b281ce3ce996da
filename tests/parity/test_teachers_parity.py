"""Teachers as they were published: the features are what diffusers' own models compute."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler, I2VGenXLUNet, UNet3DConditionModel
from torch import Tensor, nn
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

from orster_cli.core.errors import ConfigError
from orster_cli.diffusion.encoders import clip_pixels
from orster_cli.diffusion.schedule import NoiseSchedule
from orster_cli.geometry.orbit import orbit_azimuths, orbit_cameras
from orster_cli.training import build
from orster_cli.training.build import Models
from orster_cli.transfer.teachers import I2VGenXLTeacher, Lesson, UNet3DTeacher, load_teacher
from tests.helpers.clip_models import TEXT, VISION, tokenizer
from tests.helpers.training import CFG, bundle, dataset, source

FRAMES, SIDE, WIDTH = 3, 8, TEXT["hidden_size"]
SHARED = {
    "block_out_channels": (16, 32), "layers_per_block": 1, "norm_num_groups": 4,
    "down_block_types": ("CrossAttnDownBlock3D", "DownBlock3D"),
    "up_block_types": ("UpBlock3D", "CrossAttnUpBlock3D"), "cross_attention_dim": WIDTH,
}  # fmt: skip
COSINE = {"beta_schedule": "squaredcos_cap_v2", "prediction_type": "v_prediction",
          "rescale_betas_zero_snr": True, "timestep_spacing": "leading"}  # fmt: skip


def _folder(place: Path, unet: nn.Module, scheduler: DDIMScheduler) -> Path:
    """As diffusers' pipelines lay it out."""
    with torch.no_grad():
        for parameter in unet.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    unet.save_pretrained(place / "unet")
    scheduler.save_pretrained(place / "scheduler")
    CLIPTextModel(CLIPTextConfig(**TEXT)).save_pretrained(place / "text_encoder")
    tokenizer(place / "tokenizer").save_pretrained(place / "tokenizer")
    return place


@pytest.fixture(scope="module")
def modelscope(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    unet = UNet3DConditionModel(**SHARED, attention_head_dim=8)
    scheduler = DDIMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)
    return _folder(tmp_path_factory.mktemp("modelscope"), unet, scheduler)


@pytest.fixture(scope="module")
def i2vgen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        unet = I2VGenXLUNet(**SHARED, attention_head_dim=8)
    place = _folder(tmp_path_factory.mktemp("i2vgen-xl"), unet, DDIMScheduler(**COSINE))
    vision = CLIPVisionModelWithProjection(CLIPVisionConfig(**VISION, projection_dim=WIDTH))
    vision.save_pretrained(place / "image_encoder")
    return place


def lesson() -> Lesson:
    generator = torch.Generator().manual_seed(2)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    w2c = orbit_cameras(orbit_azimuths(FRAMES), width=64, height=64).w2c
    return Lesson(
        noisy=draw(2, 4, FRAMES, SIDE, SIDE),
        timesteps=torch.tensor([30, 800]),
        schedule=NoiseSchedule(),
        captions=["a frog jumping", "a horse"],
        first=torch.rand(2, 3, 40, 40, generator=generator),
        first_latents=draw(2, 4, SIDE, SIDE),
        cameras=w2c.expand(2, -1, -1, -1),
    )


class Watched:
    """What each transformer of a model of diffusers adds to its input, and when it was called."""

    def __init__(self, unet: nn.Module) -> None:
        self.added: dict[str, Tensor] = {}
        for name, unit in unet.named_modules():
            if name.split(".")[-2:-1] in (["attentions"], ["temp_attentions"]):
                unit.register_forward_hook(self._keep(name))

    def _keep(self, name: str):  # type: ignore[no-untyped-def]
        def hook(_: nn.Module, given: tuple[Tensor, ...], out: tuple[Tensor, ...]) -> None:
            self.added[name] = out[0] - given[0]

        return hook


def _same(got: dict[str, Tensor], want: dict[str, Tensor]) -> None:
    assert got.keys() == want.keys()
    for name, value in want.items():
        torch.testing.assert_close(got[name], value, atol=2e-5, rtol=1e-4)


@torch.no_grad()
def test_modelscopes_features_are_diffusers_own(modelscope: Path) -> None:
    teacher, vae = load_teacher(modelscope, role="video")
    assert isinstance(teacher, UNet3DTeacher)
    assert vae is None
    theirs = UNet3DConditionModel.from_pretrained(modelscope / "unet")
    watched, seen = Watched(theirs), lesson()
    text = teacher.encoder.text(seen.captions).tokens
    theirs(seen.noisy, seen.timesteps, text)
    names = frozenset(teacher.widths)
    assert names == watched.added.keys()
    _same(teacher.features(seen, names), watched.added)
    one = frozenset(sorted(names)[:1])
    assert teacher.features(seen, one).keys() == one


@torch.no_grad()
def test_i2vgen_xl_sees_the_first_frame_at_its_own_noise_level(i2vgen: Path) -> None:
    teacher, _ = load_teacher(i2vgen, role="video")
    assert isinstance(teacher, I2VGenXLTeacher)
    seen = lesson()
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
        image_embeddings=vision(pixel_values=clip_pixels(seen.first, 32)).image_embeds,
        encoder_hidden_states=teacher.encoder.text(seen.captions).tokens,
    )
    _same(got, watched.added)


def test_distillation_learns_from_both(
    creature: Path, modelscope: Path, i2vgen: Path, tmp_path: Path
) -> None:
    start = bundle()
    models = Models(start=build.Bundle(**vars(start)), teacher_3d=modelscope, teacher_video=i2vgen)
    data = dataset(creature, tmp_path / "dataset")
    ready = build.build_distill(CFG, source(data), models)
    loss, terms = ready.task(ready.feed.batch(0, [0, 1]), 0, [0, 1])
    loss.backward()
    assert 0 < float(terms["kappa"]) < 1
    assert float(terms["distance_spatial"]) > 0
    assert float(terms["distance_temporal"]) > 0
    grads = [p.grad for n, p in ready.task.named_parameters() if "transfer." in n]
    assert any(g is not None and bool(g.abs().sum() > 0) for g in grads)


def test_an_encoder_of_another_width_is_refused(modelscope: Path, tmp_path: Path) -> None:
    place = tmp_path / "odd"
    torch.manual_seed(0)
    unet = UNet3DConditionModel(**{**SHARED, "cross_attention_dim": 24}, attention_head_dim=8)
    _folder(place, unet, DDIMScheduler.from_pretrained(modelscope / "scheduler"))
    with pytest.raises(ConfigError, match="16 wide, its UNet reads 24"):
        load_teacher(place, role="video")
