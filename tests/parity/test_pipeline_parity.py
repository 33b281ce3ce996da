"""Our sampling against diffusers' TextToVideoSDPipeline: the same latents, solver and guidance."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from orster_cli.config.sample import SampleConfig
from orster_cli.core.reporting import Silent
from orster_cli.diffusion import weights
from orster_cli.diffusion.bundle import Facts, WholeBundle
from orster_cli.diffusion.encoders import ClipEncoder
from orster_cli.diffusion.frame_vae import FrameVAE
from orster_cli.diffusion.schedule import NoiseSchedule
from orster_cli.diffusion.std4d import STD4DConfig
from orster_cli.diffusion.trunk_config import TrunkConfig
from orster_cli.sampling.denoise import starting_noise
from orster_cli.sampling.sample_clips import Sampler, SampleRequest
from tests.helpers.clip_models import TEXT, tokenizer

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, UNet3DConditionModel
    from transformers import CLIPTextModel

FRAMES, SIDE, SEED = 3, 32, 5
UNET = {
    "sample_size": 16, "block_out_channels": (16, 32), "layers_per_block": 1,
    "down_block_types": ("CrossAttnDownBlock3D", "DownBlock3D"),
    "up_block_types": ("UpBlock3D", "CrossAttnUpBlock3D"),
    "cross_attention_dim": 16, "attention_head_dim": 8, "norm_num_groups": 4,
}  # fmt: skip


def parts(place: Path) -> tuple[UNet3DConditionModel, AutoencoderKL, CLIPTextModel, object]:
    from diffusers import AutoencoderKL, UNet3DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(0)
    unet = UNet3DConditionModel(**UNET).eval()
    with torch.no_grad():
        for parameter in unet.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    vae = AutoencoderKL(
        block_out_channels=(8, 8), norm_num_groups=4, latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    ).eval()  # fmt: skip
    text = CLIPTextModel(CLIPTextConfig(**TEXT)).eval()
    return unet, vae, text, tokenizer(place)


@pytest.mark.parametrize(("name", "guidance"), [("ddim", 9.0), ("ddim", 1.0), ("dpm++", 4.0)])
@torch.no_grad()
def test_frames_are_the_pipelines(name: str, guidance: float, tmp_path: Path) -> None:
    from diffusers import DDIMScheduler, DPMSolverMultistepScheduler

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from diffusers import TextToVideoSDPipeline

    unet, vae, text, words = parts(tmp_path)
    schedule = NoiseSchedule()
    config = schedule.to_diffusers()
    scheduler = (
        DDIMScheduler.from_config(config)
        if name == "ddim"
        else DPMSolverMultistepScheduler.from_config({**config, "algorithm_type": "dpmsolver++"})
    )
    pipeline = TextToVideoSDPipeline(
        vae=vae, text_encoder=text, tokenizer=words, unet=unet, scheduler=scheduler
    )
    pipeline.set_progress_bar_config(disable=True)
    noise = starting_noise([SEED], (4, FRAMES, SIDE // 2, SIDE // 2))
    theirs = pipeline(
        "a frog", height=SIDE, width=SIDE, num_frames=FRAMES, num_inference_steps=6,
        guidance_scale=guidance, latents=noise.clone(), output_type="np", negative_prompt="",
    ).frames[0]  # fmt: skip

    trunk = TrunkConfig.from_diffusers(dict(unet.config))
    width = trunk.cross_attention_dim
    model = weights.create(
        STD4DConfig(
            trunk=replace(trunk, temporal_dropout=0.0),
            merged=True,
            text_width=width,
            image_width=width,
            pooled_width=width,
        ),
        0,
    )
    model.trunk.load_state_dict(unet.state_dict())
    bundle = WholeBundle(
        Facts(role="video", frames=FRAMES, resolution=SIDE),
        model.eval(),
        FrameVAE(vae),
        ClipEncoder(text, words),
        schedule,
    )
    cfg = SampleConfig(steps=6, scheduler=name, guidance_text=guidance)
    sampler = Sampler(bundle, cfg, device=torch.device("cpu"), reporter=Silent())
    ours = next(sampler.sample(SampleRequest(text="a frog"), [SEED])).clip.frames
    assert float(ours.std()) > 0.01
    np.testing.assert_allclose(ours.permute(0, 2, 3, 1).numpy(), theirs, atol=1e-3)
