"""The image branch (I2VGen-XL, VideoMV's i2v files) against diffusers' I2VGenXLUNet and its pipeline, and
against what VGen's code does where that differs."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from orster_cli.config.sample import SampleConfig
from orster_cli.core.reporting import Silent
from orster_cli.diffusion import vgen, weights
from orster_cli.diffusion.bundle import WholeBundle, load_bundle
from orster_cli.diffusion.conditions import Conditions
from orster_cli.diffusion.encoders import clip_pixels
from orster_cli.diffusion.image_branch import ImageBranch
from orster_cli.diffusion.importing import import_i2vgen_xl, import_modelscope, import_videomv
from orster_cli.diffusion.schedule import NoiseSchedule
from orster_cli.diffusion.std4d import STD4D, STD4DConfig
from orster_cli.diffusion.trunk import MERGED
from orster_cli.diffusion.trunk_config import TrunkConfig
from orster_cli.geometry.conventions import videomv_condition
from orster_cli.geometry.orbit import orbit_azimuths, orbit_cameras
from orster_cli.sampling.denoise import starting_noise
from orster_cli.sampling.sample_clips import Sampler, SampleRequest, cameras_for
from orster_cli.transfer.teachers import load_teacher
from tests.helpers.conventions import from_videomv_condition
from tests.helpers.marks import slow
from tests.helpers.teachers import (
    FRAMES,
    Watched,
    i2vgen_folder,
    modelscope_folder,
    same,
    teacher_inputs,
)
from tests.helpers.videomv import TINY_IMAGE, random_weights, write_videomv

CLOSE = {"atol": 1e-5, "rtol": 1e-5}
SEED = 5


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published folder, and what was imported of it and of a VideoMV image checkpoint."""
    folder = tmp_path_factory.mktemp("images")
    import_modelscope(modelscope_folder(folder / "ms"), folder / "modelscope")
    import_i2vgen_xl(i2vgen_folder(folder / "i2v"), folder / "i2vgen-xl")
    checkpoint = write_videomv(folder / "i2v_00882000.pth", TINY_IMAGE)
    import_videomv(checkpoint, folder / "videomv", base=folder / "i2vgen-xl")
    return folder


def whole(folder: Path) -> WholeBundle:
    return load_bundle(folder).whole(str(folder))


def text_of(place: Path, captions: list[str]) -> Tensor:
    """transformers' own: the tokens before the last layer, as the pipeline takes them."""
    from transformers import CLIPTextModel, CLIPTokenizer

    words = CLIPTokenizer.from_pretrained(place / "i2v" / "tokenizer")
    ids = words(
        captions, padding="max_length", max_length=9, truncation=True, return_tensors="pt"
    ).input_ids
    model = CLIPTextModel.from_pretrained(place / "i2v" / "text_encoder").eval()
    hidden = model(input_ids=ids, output_hidden_states=True).hidden_states[-2]
    return getattr(model, "text_model", model).final_layer_norm(hidden)


def view_of(place: Path, frames: Tensor) -> Tensor:
    from transformers import CLIPVisionModelWithProjection

    vision = CLIPVisionModelWithProjection.from_pretrained(place / "i2v" / "image_encoder").eval()
    return vision(pixel_values=clip_pixels(frames, 32)).image_embeds


def given_to_unet(place: Path, fps: int, timesteps: Tensor) -> dict[str, Tensor]:
    """What diffusers' model is called with for the teacher_inputs."""
    seen = teacher_inputs()
    places = [torch.full_like(seen.first_latents, i / (FRAMES - 1)) for i in range(1, FRAMES)]
    return {
        "sample": seen.noisy,
        "timestep": timesteps,
        "fps": torch.full((2,), fps),
        "image_latents": torch.stack([seen.first_latents, *places], dim=2),
        "image_embeddings": view_of(place, seen.first_frames),
        "encoder_hidden_states": text_of(place, list(seen.captions)),
    }


def given_to_ours(place: Path) -> Conditions:
    seen = teacher_inputs()
    return Conditions(
        text=text_of(place, list(seen.captions)),
        image_embedding=view_of(place, seen.first_frames),
        image_latents=seen.first_latents,
        reference=seen.first_latents[:, :, None].expand(-1, -1, FRAMES, -1, -1),
        reference_mask=torch.tensor([[0.0, 1.0]] * 2),
        motion=torch.zeros(2),
    )


@torch.no_grad()
@pytest.mark.parametrize(("name", "fps"), [("i2vgen-xl", 16), ("videomv", 8)])
def test_an_imported_model_predicts_what_diffusers_does(place: Path, name: str, fps: int) -> None:
    """Its unet/ opens as diffusers' I2VGenXLUNet; every number that is given matters."""
    from diffusers import I2VGenXLUNet

    ours, seen = whole(place / name), teacher_inputs()
    theirs = I2VGenXLUNet.from_pretrained(place / name / "unet").eval()
    given = given_to_unet(place, fps, seen.timesteps)
    want = theirs(**given).sample
    got = ours.std4d(seen.noisy, seen.timesteps, given_to_ours(place)).prediction
    torch.testing.assert_close(got, want, **CLOSE)
    for key in ("fps", "image_latents", "image_embeddings", "encoder_hidden_states"):
        other = theirs(**{**given, key: given[key] * 0 + 3}).sample
        assert not torch.allclose(other, want, atol=1e-4), key
    encoder = ours.encoder
    torch.testing.assert_close(
        encoder.text(list(seen.captions)).tokens, given["encoder_hidden_states"], **CLOSE
    )
    torch.testing.assert_close(
        encoder.image(seen.first_frames).projected, given["image_embeddings"], **CLOSE
    )
    folder = place / "i2v"
    if name == "i2vgen-xl":
        published = I2VGenXLUNet.from_pretrained(folder / "unet").eval()
        torch.testing.assert_close(published(**given).sample, want, atol=0, rtol=0)


class VGenTime(nn.Module):
    """VGen's encoder of the image's latents over time, in plain products; its output counts twice."""

    def __init__(self, file: Mapping[str, Tensor]) -> None:
        super().__init__()
        start = "local_temporal_encoder.layers.0."
        self.part = {n.removeprefix(start): v for n, v in file.items() if n.startswith(start)}

    def forward(self, x: Tensor) -> Tensor:
        """`x` [N,F,4]."""
        part = self.part
        mean, spread = x.mean(-1, keepdim=True), x.var(-1, keepdim=True, unbiased=False)
        normed = (x - mean) / (spread + 1e-5).sqrt() * part["0.norm.weight"] + part["0.norm.bias"]
        q, k, v = (normed @ part["0.fn.to_qkv.weight"].T).chunk(3, dim=-1)
        heads = []
        for h in (slice(0, 4), slice(4, 8)):
            scores = q[..., h] @ k[..., h].transpose(-1, -2) * 4**-0.5
            heads.append(scores.softmax(dim=-1) @ v[..., h])
        x = x + torch.cat(heads, -1) @ part["0.fn.to_out.0.weight"].T + part["0.fn.to_out.0.bias"]
        hidden = x @ part["1.net.0.0.weight"].T + part["1.net.0.0.bias"]
        hidden = hidden * (1 + torch.erf(hidden / 2**0.5)) / 2
        x = x + hidden @ part["1.net.2.weight"].T + part["1.net.2.bias"]
        return x + x


@torch.no_grad()
def test_videomvs_image_file_gives_what_vgen_computes_of_it(place: Path) -> None:
    """The file's own numbers in diffusers' graph, but for VGen's encoder over time, whose output is
    added twice to the latents beside the noisy ones."""
    from diffusers import I2VGenXLUNet

    file, seen = random_weights(TINY_IMAGE), teacher_inputs()
    theirs = I2VGenXLUNet(
        block_out_channels=(32, 64), layers_per_block=1, cross_attention_dim=16,
        down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"), attention_head_dim=8,
        up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
    ).eval()  # fmt: skip
    tensors = vgen.from_vgen(file, TINY_IMAGE, where="file")
    tensors["conv_in.weight"] = file["input_blocks.0.0.weight"]
    theirs.load_state_dict({n: v for n, v in tensors.items() if not n.startswith(vgen.CAMERA)})
    given = given_to_unet(place, 8, seen.timesteps)
    once = theirs(**given).sample
    theirs.image_latents_temporal_encoder = VGenTime(file)
    want = theirs(**given).sample
    ours = whole(place / "videomv").std4d
    got = ours(seen.noisy, seen.timesteps, given_to_ours(place)).prediction
    torch.testing.assert_close(got, want, **CLOSE)
    assert not torch.allclose(got, once, atol=1e-3)


@torch.no_grad()
def test_cameras_are_added_to_each_frames_embedding(place: Path) -> None:
    """By the file's own two layers, of poses in VideoMV's frame: the first camera of its image branch
    stands at +X, 1.7 away, 5 degrees up."""
    bundle, seen, file = whole(place / "videomv"), teacher_inputs(), random_weights(TINY_IMAGE)
    facts, ours = bundle.facts, bundle.std4d
    assert (facts.role, facts.frames, facts.elevation, facts.radius) == ("3d", 24, 5.0, 1.7)
    cameras = cameras_for(facts, SampleConfig(frames=FRAMES))
    w2c = cameras.w2c.expand(2, -1, -1, -1)
    pose = videomv_condition(w2c)
    up = 1.7 * np.sin(np.deg2rad(5))
    where = torch.tensor([1.7 * np.cos(np.deg2rad(5)), 0, up], dtype=torch.float32)
    torch.testing.assert_close(pose[0, 0].view(4, 4)[:3, 3], where, atol=1e-6, rtol=0)
    torch.testing.assert_close(from_videomv_condition(pose[0]).float(), cameras.w2c.float())
    first = pose @ file["camera_embedding.0.weight"].T + file["camera_embedding.0.bias"]
    added = (first * first.sigmoid()) @ file["camera_embedding.2.weight"].T
    added = added + file["camera_embedding.2.bias"]
    given = replace(given_to_ours(place), cameras=w2c)
    assert ours.image_branch is not None
    view = ours.image_branch(given.image_latents, given.image_embedding, seen.noisy)
    tokens = torch.cat([given.text, view.tokens], dim=1)
    want = ours.trunk(
        {MERGED: seen.noisy}, seen.timesteps, tokens,
        frame_embedding=added + view.embedding[:, None], extra_channels=view.latents,
    )[0][MERGED]  # fmt: skip
    got = ours(seen.noisy, seen.timesteps, given).prediction
    torch.testing.assert_close(got, want, **CLOSE)
    still = ours(seen.noisy, seen.timesteps, given_to_ours(place)).prediction
    assert not torch.allclose(got, still, atol=1e-3)


def test_the_published_context_is_145_tokens() -> None:
    trunk = TrunkConfig(in_channels=8, block_out_channels=(64,), attention=(True,))
    model = STD4D(STD4DConfig(trunk=trunk, merged=True, image_fps=8))
    assert isinstance(model.image_branch, ImageBranch)
    latents = torch.zeros(1, 4, 2, 32, 32)
    view = model.image_branch(latents[:, :, 0], torch.zeros(1, 1024), latents)
    given = Conditions(text=torch.zeros(1, 77, 1024), image=torch.zeros(1, 257, 1280))
    assert view.tokens.shape == (1, 68, 1024)
    assert model.conditioner.tokens(given, 1, view.tokens).shape == (1, 145, 1024)


@torch.no_grad()
@pytest.mark.parametrize(("name", "fps"), [("i2vgen-xl", 16), ("videomv", 8)])
def test_a_merged_model_begins_as_its_backbone(
    place: Path, tmp_path: Path, name: str, fps: int
) -> None:
    """The two-channel student that stages start, merged before any training, saved and read again."""
    from diffusers import I2VGenXLUNet

    base = whole(place / name).std4d
    base.camera_embedding.linear_2.weight.zero_()
    base.camera_embedding.linear_2.bias.zero_()
    student = weights.start_from(base, replace(base.config, merged=False), seed=7)
    assert student.disentangle is not None
    weights.save(student.merge(), tmp_path)
    merged, seen = weights.load(tmp_path), teacher_inputs()
    theirs = I2VGenXLUNet.from_pretrained(tmp_path / "unet").eval()
    want = theirs(**given_to_unet(place, fps, seen.timesteps)).sample
    given = replace(given_to_ours(place), cameras=seen.cameras, motion=torch.tensor([0.0, 0.02]))
    got = merged(seen.noisy, seen.timesteps, given).prediction
    assert float((got - want).abs().max()) < 1e-5 * max(1.0, float(want.abs().max()))
    split = student(seen.noisy, seen.timesteps, given)
    assert split.parts.keys() == {"spatial", "temporal"}
    assert not torch.allclose(split.prediction, want, atol=1e-3)


@torch.no_grad()
def test_the_video_teachers_features_are_diffusers_own(place: Path) -> None:
    """Every transformer's, at the timestep of equal noise."""
    from diffusers import DDIMScheduler, I2VGenXLUNet

    teacher, vae = load_teacher(place / "i2vgen-xl", role="video")
    assert vae is not None
    seen = teacher_inputs()
    theirs = I2VGenXLUNet.from_pretrained(place / "i2v" / "unet").eval()
    watched = Watched(theirs)
    own = NoiseSchedule.from_diffusers(
        DDIMScheduler.from_pretrained(place / "i2v/scheduler").config
    )
    moved = seen.schedule.same_noise(seen.noisy, seen.timesteps, own)[1]
    assert moved.tolist() != seen.timesteps.tolist()
    theirs(**given_to_unet(place, 16, moved))
    same(teacher.features(seen, frozenset(teacher.widths)), watched.added)


@torch.no_grad()
def test_the_3d_teacher_is_told_image_cameras_rest_and_no_text(place: Path) -> None:
    teacher, _ = load_teacher(place / "videomv", role="3d")
    assert teacher.schedule.prediction_type == "v_prediction"
    seen, wanted = teacher_inputs(), frozenset(teacher.widths)
    got = teacher.features(seen, wanted)
    z, t = seen.schedule.same_noise(seen.noisy, seen.timesteps, teacher.schedule)
    given = replace(given_to_ours(place), text=text_of(place, ["", ""]), cameras=seen.cameras)
    same(got, teacher.model(z, t, given, wanted=wanted).features())
    for name, value in (
        ("first_frames", seen.first_frames.flip(0)),
        ("first_latents", seen.first_latents.flip(0)),
        ("cameras", seen.cameras.roll(1, dims=1)),
    ):
        other = teacher.features(replace(seen, **{name: value}), wanted)
        assert any(not torch.equal(other[n], got[n]) for n in got), name
    other = teacher.features(replace(seen, captions=["a cow", "a car"]), wanted)
    assert all(torch.equal(other[n], got[n]) for n in got)


@pytest.mark.parametrize(
    ("text", "guidance"), [slow("", 9.0), ("a frog", 3.0), slow("a frog", 1.0)]
)
@torch.no_grad()
def test_frames_are_the_pipelines(place: Path, text: str, guidance: float) -> None:
    """I2VGenXLPipeline: its text, image and first-frame conditions, guidance, solver and decoder."""
    from diffusers import AutoencoderKL, DDIMScheduler, I2VGenXLUNet
    from transformers import (
        CLIPImageProcessor,
        CLIPTextModel,
        CLIPTokenizer,
        CLIPVisionModelWithProjection,
    )

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from diffusers import I2VGenXLPipeline

    side, folder = 32, place / "i2v"
    vae = AutoencoderKL.from_pretrained(folder / "vae").eval()
    bundle = whole(place / "i2vgen-xl")
    for one in (vae, bundle.vae.vae):  # the pipeline draws the first frame's latents: take the mean
        one.quant_conv.weight[4:].zero_()
        one.quant_conv.bias[4:].fill_(-40)
    processor = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=32)
    pipeline = I2VGenXLPipeline(
        vae=vae,
        text_encoder=CLIPTextModel.from_pretrained(folder / "text_encoder").eval(),
        tokenizer=CLIPTokenizer.from_pretrained(folder / "tokenizer"),
        image_encoder=CLIPVisionModelWithProjection.from_pretrained(
            folder / "image_encoder"
        ).eval(),
        feature_extractor=processor,
        unet=I2VGenXLUNet.from_pretrained(folder / "unet").eval(),
        scheduler=DDIMScheduler.from_pretrained(folder / "scheduler", clip_sample=False),
    )
    pipeline.set_progress_bar_config(disable=True)
    pixels = np.random.default_rng(0).integers(0, 255, (side, side, 3), dtype=np.uint8)
    picture = torch.from_numpy(pixels).permute(2, 0, 1) / 255
    noise = starting_noise(
        [SEED], (4, FRAMES, side // bundle.vae.factor, side // bundle.vae.factor)
    )
    # transformers 5 has no `text_model` inside the text model: the pipeline cannot read a text itself
    theirs = pipeline(
        image=Image.fromarray(pixels), prompt_embeds=text_of(place, [text]),
        height=side, width=side, num_frames=FRAMES,
        num_inference_steps=6, guidance_scale=guidance, latents=noise.clone(), output_type="np",
        negative_prompt_embeds=text_of(place, [""]), target_fps=16,
    ).frames[0]  # fmt: skip
    bundle = replace(bundle, facts=replace(bundle.facts, frames=FRAMES, resolution=side))
    cfg = SampleConfig(steps=6, guidance_text=guidance, guidance_image=guidance)
    sampler = Sampler(bundle, cfg, device=torch.device("cpu"), reporter=Silent())
    asked = SampleRequest(text=text or None, image=picture)
    ours = next(sampler.sample(asked, [SEED])).clip.frames
    assert float(ours.std()) > 0.01
    np.testing.assert_allclose(ours.permute(0, 2, 3, 1).numpy(), theirs, atol=2e-3)


def test_the_image_branchs_cameras_are_an_orbit_of_its_own_radius() -> None:
    """24 views, 15 degrees apart, the last not the first."""
    w2c = orbit_cameras(orbit_azimuths(24), elevation=5.0, radius=1.7, width=64, height=64).w2c
    poses = videomv_condition(w2c).view(24, 4, 4)[:, :3, 3]
    torch.testing.assert_close(poses.norm(dim=1), torch.full((24,), 1.7))
    turn = torch.rad2deg(torch.atan2(poses[:, 1], poses[:, 0])) % 360
    torch.testing.assert_close(turn, 15.0 * torch.arange(24), atol=1e-3, rtol=0)
