"""ModelScopeT2V and I2VGen-XL at tiny sizes, in the folders that diffusers' pipelines write, what a
student and its teachers look at, and the features of a trained model in both teachers' roles."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

import orster_cli
from orster_cli.dataset.reader import Dataset
from orster_cli.diffusion.bundle import load_bundle
from orster_cli.diffusion.schedule import NoiseSchedule
from orster_cli.geometry.orbit import orbit_azimuths, orbit_cameras
from orster_cli.transfer.orster import Tap, find_taps
from orster_cli.transfer.teachers import TeacherInputs, load_teacher
from tests.helpers.clip_models import TEXT, VISION, tokenizer

if TYPE_CHECKING:
    from diffusers import DDIMScheduler

FRAMES, SIDE, WIDTH = 3, 8, TEXT["hidden_size"]
SHARED = {
    "block_out_channels": (32, 64), "layers_per_block": 1, "norm_num_groups": 4,
    "down_block_types": ("CrossAttnDownBlock3D", "DownBlock3D"),
    "up_block_types": ("UpBlock3D", "CrossAttnUpBlock3D"), "cross_attention_dim": WIDTH,
}  # fmt: skip
COSINE = {"beta_schedule": "squaredcos_cap_v2", "prediction_type": "v_prediction",
          "rescale_betas_zero_snr": True, "timestep_spacing": "leading"}  # fmt: skip

VAE = {"block_out_channels": (8, 8), "down_block_types": ("DownEncoderBlock2D",) * 2,
       "up_block_types": ("UpDecoderBlock2D",) * 2, "latent_channels": 4, "norm_num_groups": 4,
       "layers_per_block": 1, "scaling_factor": 0.18215}  # fmt: skip


def pipeline_folder(place: Path, unet: nn.Module, scheduler: DDIMScheduler) -> Path:
    """As diffusers' pipelines lay it out."""
    from diffusers import AutoencoderKL
    from transformers import CLIPTextConfig, CLIPTextModel

    with torch.no_grad():
        for parameter in unet.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    unet.save_pretrained(place / "unet")
    scheduler.save_pretrained(place / "scheduler")
    CLIPTextModel(CLIPTextConfig(**TEXT)).save_pretrained(place / "text_encoder")
    tokenizer(place / "tokenizer").save_pretrained(place / "tokenizer")
    torch.manual_seed(3)  # one frame VAE for all, as the published ones share theirs
    AutoencoderKL(**VAE).save_pretrained(place / "vae")
    return place


def modelscope_folder(place: Path) -> Path:
    from diffusers import DDIMScheduler, UNet3DConditionModel

    torch.manual_seed(0)
    unet = UNet3DConditionModel(**SHARED, attention_head_dim=8)
    scheduler = DDIMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)
    return pipeline_folder(place, unet, scheduler)


def i2vgen_folder(place: Path) -> Path:
    from diffusers import DDIMScheduler, I2VGenXLUNet
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    torch.manual_seed(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        unet = I2VGenXLUNet(**SHARED, attention_head_dim=8)
    pipeline_folder(place, unet, DDIMScheduler(**COSINE))
    vision = CLIPVisionModelWithProjection(CLIPVisionConfig(**VISION, projection_dim=WIDTH))
    vision.save_pretrained(place / "image_encoder")
    return place


def teacher_inputs() -> TeacherInputs:
    generator = torch.Generator().manual_seed(2)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    w2c = orbit_cameras(orbit_azimuths(FRAMES), width=64, height=64).w2c
    return TeacherInputs(
        noisy=draw(2, 4, FRAMES, SIDE, SIDE),
        timesteps=torch.tensor([30, 800]),
        schedule=NoiseSchedule(),
        captions=["a frog jumping", "a horse"],
        first_frames=torch.rand(2, 3, 40, 40, generator=generator),
        first_latents=draw(2, 4, SIDE, SIDE),
        cameras=w2c.expand(2, -1, -1, -1),
    )


SHIPPED = Path(orster_cli.__file__).parent / "weights" / "mini"
TRAINED_FRAMES, TRAINED_SIDE = 16, 64  # of the shipped model
TRAINED_LEVELS = (0.3, 0.7)


@dataclass(frozen=True)
class TrainedFeatures:
    """Features [B T,C,H,W] by unit, of the shipped model as a 3D and as a video teacher, of the same
    `noisy` latents [B,C,T,h,w] at `level` [B]."""

    spatial: dict[str, Tensor]
    temporal: dict[str, Tensor]
    noisy: Tensor
    level: Tensor
    taps: list[Tap]
    frames: int = TRAINED_FRAMES


@torch.no_grad()
def trained_features(dataset: Path) -> TrainedFeatures:
    """Of the orbits of two samples of `dataset`, whose frames have the shipped model's size and number."""
    teachers = {role: load_teacher(SHIPPED, role=role)[0] for role in ("3d", "video")}
    whole = load_bundle(SHIPPED).whole("shipped")
    data = Dataset.read(dataset)
    keys = data.keys()[: len(TRAINED_LEVELS)]
    clips = [data.clip(key, "dynamic") for key in keys]
    latents = torch.stack([whole.vae.encode(clip.frames).transpose(0, 1) for clip in clips])
    steps = whole.schedule.num_train_timesteps
    timesteps = (torch.tensor(TRAINED_LEVELS) * steps).long()
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(4))
    inputs = TeacherInputs(
        noisy=whole.schedule.add_noise(latents, noise, timesteps),
        timesteps=timesteps,
        schedule=whole.schedule,
        captions=[str(data.info(key)["caption"]) for key in keys],
        first_frames=torch.stack([clip.frames[0] for clip in clips]),
        first_latents=latents[:, :, 0],
        cameras=torch.stack([clip.cameras.w2c for clip in clips]),
    )
    widths = teachers["3d"].widths
    taps = find_taps(widths, widths, widths)
    spatial = teachers["3d"].features(inputs, frozenset(tap.spatial for tap in taps))
    temporal = teachers["video"].features(inputs, frozenset(tap.temporal for tap in taps))
    return TrainedFeatures(spatial, temporal, inputs.noisy, timesteps / steps, taps)


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


def same(got: dict[str, Tensor], want: dict[str, Tensor]) -> None:
    assert got.keys() == want.keys()
    for name, value in want.items():
        torch.testing.assert_close(got[name], value, atol=2e-5, rtol=1e-4)
