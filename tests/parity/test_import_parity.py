"""One pass of what `orster import` made against diffusers and transformers on the files it was made of."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from orster_cli.core.strict_json import read_object
from orster_cli.diffusion import vgen
from orster_cli.diffusion.bundle import SCHEDULER, WholeBundle, load_bundle
from orster_cli.diffusion.conditions import Conditions
from orster_cli.diffusion.importing import import_i2vgen_xl, import_modelscope, import_videomv
from orster_cli.diffusion.schedule import NoiseSchedule
from orster_cli.diffusion.trunk import MERGED
from orster_cli.geometry.conventions import videomv_condition
from tests.helpers.clip_models import tokenizer
from tests.helpers.teachers import i2vgen_folder, modelscope_folder, teacher_inputs
from tests.helpers.videomv import TINY, random_weights, write_videomv

CLOSE = {"atol": 1e-5, "rtol": 1e-5}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Published folders, and what was imported of them."""
    folder = tmp_path_factory.mktemp("import")
    import_modelscope(modelscope_folder(folder / "ms"), folder / "modelscope")
    import_i2vgen_xl(i2vgen_folder(folder / "i2v"), folder / "i2vgen-xl")
    checkpoint = write_videomv(folder / "t2v.pth")
    import_videomv(checkpoint, folder / "videomv", base=folder / "modelscope")
    return folder


def whole(folder: Path) -> WholeBundle:
    return load_bundle(folder).whole(str(folder))


def text_of(place: Path, captions: list[str]) -> Tensor:
    """transformers' own tokens, by the text encoder as it was published."""
    from transformers import CLIPTextModel

    ids = tokenizer(place / "words")(
        captions, padding="max_length", max_length=9, truncation=True, return_tensors="pt"
    ).input_ids
    encoder = CLIPTextModel.from_pretrained(place / "ms" / "text_encoder").eval()
    return encoder(input_ids=ids).last_hidden_state


@torch.no_grad()
def test_modelscope_predicts_what_diffusers_does(place: Path) -> None:
    from diffusers import AutoencoderKL, UNet3DConditionModel

    ours, seen = whole(place / "modelscope"), teacher_inputs()
    captions = list(seen.captions)
    text = text_of(place, captions)
    torch.testing.assert_close(ours.encoder.text(captions).tokens, text, **CLOSE)
    theirs = UNet3DConditionModel.from_pretrained(place / "ms" / "unet").eval()
    want = theirs(seen.noisy, seen.timesteps, text).sample
    given = Conditions(text=ours.encoder.text(captions).tokens)
    got = ours.std4d(seen.noisy, seen.timesteps, given).prediction
    torch.testing.assert_close(got, want, **CLOSE)
    assert not torch.allclose(got, ours.std4d(seen.noisy, seen.timesteps + 1, given).prediction)
    vae = AutoencoderKL.from_pretrained(place / "ms" / "vae").eval()
    mean = vae.encode(2 * seen.first_frames - 1).latent_dist.mean * vae.config.scaling_factor
    torch.testing.assert_close(ours.vae.encode(seen.first_frames), mean, **CLOSE)


@torch.no_grad()
def test_videomv_is_the_unet_of_its_file_with_the_cameras_in_its_own_frame(place: Path) -> None:
    """Without cameras: diffusers' UNet with the file's tensors. With them: the file's two layers, of the
    flattened OpenGL pose turned by 90 degrees, are added to the time embedding of each frame."""
    from diffusers import UNet3DConditionModel

    ours, seen = whole(place / "videomv").std4d, teacher_inputs()
    file = random_weights()
    theirs = UNet3DConditionModel(**TINY.to_diffusers()).eval()
    tensors = vgen.from_vgen(file, TINY, where="file")
    theirs.load_state_dict({n: v for n, v in tensors.items() if not n.startswith(vgen.CAMERA)})
    text = text_of(place, list(seen.captions))
    want = theirs(seen.noisy, seen.timesteps, text).sample
    got = ours(seen.noisy, seen.timesteps, Conditions(text=text)).prediction
    torch.testing.assert_close(got, want, **CLOSE)
    pose = videomv_condition(seen.cameras)
    first = pose @ file["camera_embedding.0.weight"].T + file["camera_embedding.0.bias"]
    silu = first * first.sigmoid()
    added = silu @ file["camera_embedding.2.weight"].T + file["camera_embedding.2.bias"]
    want = ours.trunk({MERGED: seen.noisy}, seen.timesteps, text, frame_embedding=added)[0][MERGED]
    given = Conditions(text=text, cameras=seen.cameras, motion=torch.zeros(2))
    turned = ours(seen.noisy, seen.timesteps, given).prediction
    torch.testing.assert_close(turned, want, **CLOSE)
    assert not torch.allclose(turned, got, atol=1e-3)


def test_a_known_latent_is_the_same_through_either_imported_schedule(place: Path) -> None:
    """An oracle's denoised estimate: VideoMV's schedule (noise, scaled-linear) and I2VGen-XL's (velocity,
    cosine without signal at its end) meet at equal log-SNR, and only there."""
    text = whole(place / "videomv").schedule
    video = NoiseSchedule.from_diffusers(read_object(place / "i2vgen-xl" / SCHEDULER))
    assert (text.prediction_type, video.prediction_type) == ("epsilon", "v_prediction")
    assert video.rescale_betas_zero_snr
    generator = torch.Generator().manual_seed(0)
    clean, noise = (torch.randn(9, 4, 3, 8, 8, generator=generator) for _ in range(2))
    steps = torch.arange(50, 950, 100)
    noisy = text.add_noise(clean, noise, steps)
    here = text.predict_clean(noisy, text.target(clean, noise, steps), steps)
    moved, at = text.same_noise(noisy, steps, video)
    there = video.predict_clean(moved, video.target(clean, noise, at), at)
    torch.testing.assert_close(here, clean, atol=1e-4, rtol=0)
    torch.testing.assert_close(there, here, atol=0.02, rtol=0)
    apart = (text.log_snr()[steps] - video.log_snr()[at]).abs()
    assert float(apart.max()) < 0.02
    unmatched = video.predict_clean(noisy, video.target(clean, noise, steps), steps)
    assert float((unmatched - clean).abs().max()) > 0.2
