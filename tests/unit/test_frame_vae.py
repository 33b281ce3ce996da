"""The frame VAE: an AutoencoderKL behind a scale, in chunks, in diffusers' files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from orster_cli.core.errors import ConfigError, InputError
from orster_cli.diffusion.autoencoder_kl import AutoencoderKL, AutoencoderKLConfig
from orster_cli.diffusion.frame_vae import FrameVAE, load_vae, save_vae
from tests.helpers.training import tiny_vae

FRAMES = torch.rand(5, 3, 16, 24, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_it_is_diffusers_vae_with_scale_and_shift() -> None:
    vae = tiny_vae()
    vae.vae.register_to_config(scaling_factor=0.7, shift_factor=0.2)
    z = vae.encode(FRAMES)
    assert z.shape == (5, 4, 8, 12)
    mean = vae.vae.encode(FRAMES * 2 - 1).latent_dist.mean
    torch.testing.assert_close(z, (mean - 0.2) * 0.7)
    torch.testing.assert_close(vae.decode(z), vae.vae.decode(mean).sample / 2 + 0.5)


@torch.no_grad()
def test_chunks_change_nothing_and_a_generator_draws_around_the_mean() -> None:
    vae = tiny_vae()
    z = vae.encode(FRAMES)
    torch.testing.assert_close(vae.encode(FRAMES, chunk=2), z)
    torch.testing.assert_close(vae.decode(z, chunk=1), vae.decode(z, chunk=5))
    drawn = [vae.encode(FRAMES, torch.Generator().manual_seed(k)) for k in (1, 1, 2)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert not torch.allclose(drawn[0], z)


@torch.no_grad()
def test_the_scale_gives_latents_of_unit_variance() -> None:
    vae = tiny_vae()
    vae.set_scale(FRAMES)
    z = vae.encode(FRAMES)
    assert float(z.std()) == pytest.approx(1, abs=1e-4)
    assert float(z.mean()) == pytest.approx(0, abs=1e-4)
    torch.testing.assert_close(
        vae.decode(z),
        vae.vae.decode(vae.vae.encode(2 * FRAMES - 1).latent_dist.mean).sample / 2 + 0.5,
    )


def test_losses_are_those_of_a_plain_computation() -> None:
    vae = tiny_vae()
    noise = torch.zeros(5, 4, 8, 12)
    with torch.no_grad():
        out = vae.decode(vae.encode(FRAMES))
        terms = vae.losses(FRAMES, noise)
        posterior = vae.vae.encode(2 * FRAMES - 1).latent_dist
    assert float(terms["reconstruction"]) == pytest.approx(
        float((out - FRAMES).square().mean()), rel=1e-4
    )
    error = out - FRAMES
    across = (error[..., 1:] - error[..., :-1]).square().mean()
    down = (error[..., 1:, :] - error[..., :-1, :]).square().mean()
    assert float(terms["edges"]) == pytest.approx(float(across + down), rel=1e-4)
    red, green, blue = error.unbind(1)
    opponents = (red - green).square().mean() + ((red + green) / 2 - blue).square().mean()
    assert float(terms["colours"]) == pytest.approx(float(opponents) / 2, rel=1e-4)
    kl = float(posterior.kl().sum()) / posterior.mean.numel()
    assert float(terms["kl"]) == pytest.approx(kl, rel=1e-4)


def test_files_go_to_and_from_diffusers(tmp_path: Path) -> None:
    from diffusers import AutoencoderKL

    vae = tiny_vae()
    vae.vae.register_to_config(scaling_factor=0.7, shift_factor=0.2)
    save_vae(vae, tmp_path / "ours")
    theirs = AutoencoderKL.from_pretrained(tmp_path / "ours")
    assert theirs.config.scaling_factor == 0.7
    assert load_vae(tmp_path / "ours").id == vae.id
    theirs.save_pretrained(tmp_path / "theirs")
    back = load_vae(tmp_path / "theirs")
    assert back.id == vae.id
    theirs.register_to_config(scaling_factor=0.8)
    assert FrameVAE(theirs).id != vae.id


@torch.no_grad()
def test_a_new_vae_lets_colours_through() -> None:
    """A linear map fitted to drawn latents tells the colour of each, all but a fifth of the variance."""
    coarse = torch.rand(64, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    colours = coarse.movedim(1, -1).flatten(0, 2)
    for patch, widths in ((1, (16, 32)), (4, (48, 64, 64))):
        vae = FrameVAE.create(widths, channels=8, groups=8, seed=0, patch=patch).eval()
        frames = coarse.repeat_interleave(vae.factor, 2).repeat_interleave(vae.factor, 3)
        z = vae.encode(frames, torch.Generator().manual_seed(0)).movedim(1, -1).flatten(0, 2)
        design = torch.cat([z, torch.ones(len(z), 1)], dim=1)
        told = design @ torch.linalg.lstsq(design, colours).solution
        assert float((told - colours).square().mean() / colours.var()) < 0.2
        grey, hue = (torch.tensor(c).view(1, 3, 1, 1) for c in ([0.1, 0.1, 0.1], [0.1, 0.0, -0.1]))
        plain = torch.full_like(frames[:1], 0.5)
        read = [vae.vae.encoder.conv_in(vae.normalised(plain + c)) for c in (0, grey, hue)]
        louder = (read[2] - read[0]).norm() / (read[1] - read[0]).norm()
        assert float(louder) == pytest.approx(3 * (2 / 3) ** 0.5, rel=1e-3)


@torch.no_grad()
def test_blocks_of_pixels_are_read_as_channels(tmp_path: Path) -> None:
    from diffusers import AutoencoderKL

    vae = FrameVAE.create((8, 8), channels=4, groups=4, seed=0, patch=2).eval()
    assert (vae.patch, vae.factor) == (2, 4)
    z = vae.encode(FRAMES)
    assert z.shape == (5, 4, 4, 6)
    blocks = torch.stack([FRAMES[:, :, y::2, x::2] for y in (0, 1) for x in (0, 1)], dim=2).flatten(
        1, 2
    )
    torch.testing.assert_close(z, vae.vae.encode(blocks * 2 - 1).latent_dist.mean)
    read = vae.vae.decode(z).sample.unflatten(1, (3, 2, 2)) / 2 + 0.5
    torch.testing.assert_close(vae.decode(z)[:, :, 1::2, 0::2], read[:, :, 1, 0])
    save_vae(vae, tmp_path / "patched")
    assert load_vae(tmp_path / "patched").factor == 4
    assert AutoencoderKL.from_pretrained(tmp_path / "patched").config.in_channels == 12
    config = tmp_path / "patched" / "config.json"
    config.write_text(config.read_text().replace('"in_channels": 12', '"in_channels": 6'))
    with pytest.raises(InputError, match="3 times a square"):
        load_vae(tmp_path / "patched")


def test_names_of_older_releases_are_read(tmp_path: Path) -> None:
    vae = tiny_vae()
    save_vae(vae, tmp_path)
    path = tmp_path / "diffusion_pytorch_model.safetensors"
    old = {
        n.replace(".to_q.", ".query.").replace(".to_out.0.", ".proj_attn."): v
        for n, v in load_file(path).items()
    }
    assert any(".query." in n for n in old)
    save_file(old, path)
    assert load_vae(tmp_path).id == vae.id


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="multiple of the VAE's 2"):
        tiny_vae().encode(torch.rand(1, 3, 15, 16))
    with pytest.raises(ConfigError, match="multiples of 4"):
        FrameVAE.create((8, 10), channels=4, groups=4, seed=0)
    with pytest.raises(InputError, match="no such file"):
        load_vae(tmp_path)
    (tmp_path / "config.json").write_text('{"_class_name": "VQModel"}')
    with pytest.raises(InputError, match="expected an AutoencoderKL"):
        load_vae(tmp_path)
    (tmp_path / "config.json").write_text('{"colour": 3}')
    with pytest.raises(InputError, match="colour"):
        load_vae(tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("act_fn", "gelu", "'gelu'"),
        ("down_block_types", ["DownEncoderBlock2D", "AttnDownEncoderBlock2D"], "'AttnDown"),
        ("up_block_types", ["UpDecoderBlock2D", "AttnUpDecoderBlock2D"], "'AttnUp"),
        ("up_block_types", ["UpDecoderBlock2D"], "one a level, 2, got 1"),
        ("latents_mean", [0.0, 0.0, 0.0, 0.0], "not supported"),
        ("latents_std", [1.0, 1.0, 1.0, 1.0], "not supported"),
        ("layers_per_block", 0, "at least 1"),
        ("block_out_channels", [8, 10], "multiples of norm_num_groups, 4"),
        ("block_out_channels", [], "one a level, 0, got 2"),
    ],
)
def test_settings_that_are_not_supported_are_named(
    key: str, value: object, says: str, tmp_path: Path
) -> None:
    save_vae(tiny_vae(), tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(ConfigError, match=f"config.json: .*{says}") as caught:
        load_vae(tmp_path)
    assert key in str(caught.value) or says.startswith("one a level")


@pytest.mark.parametrize("value", ["wide", 3.5, None, [8, "8"], [8.0, 8.5]])
def test_sizes_that_are_no_numbers_are_an_input_error(value: object, tmp_path: Path) -> None:
    save_vae(tiny_vae(), tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "block_out_channels": value}))
    with pytest.raises((InputError, ConfigError), match=r"config\.json"):
        load_vae(tmp_path)


def test_only_the_decoder_trains_when_the_encoder_is_frozen() -> None:
    config = AutoencoderKLConfig(block_out_channels=(8,), norm_num_groups=4, use_quant_conv=False)
    for vae in (tiny_vae(), FrameVAE(AutoencoderKL(config))):
        vae.freeze_encoder()
        trained = {n.split(".")[1] for n, p in vae.named_parameters() if p.requires_grad}
        assert trained == {"decoder", "post_quant_conv"}


def _blocks(count: int) -> Tensor:
    """Frames [N,3,32,32] whose 8 x 8 blocks mix four patterns."""
    generator = torch.Generator().manual_seed(1)
    patterns = torch.rand(4, 3, 8, 8, generator=generator)
    shares = torch.rand(count, 4, 4, 4, generator=generator).softmax(dim=1)
    blocks = torch.einsum("nkhw,kcyx->nchywx", shares, patterns)
    return blocks.reshape(count, 3, 32, 32)


def _with_pca(channels: int) -> FrameVAE:
    sizes = {"channels": channels, "groups": 8, "seed": 0, "patch": 2}
    return FrameVAE.create((16, 16, 16), pca=True, **sizes)


def test_components_of_blocks_reconstruct_what_they_span_before_any_training() -> None:
    """Three components span four patterns that add up to one; two do not."""
    frames = _blocks(16)
    errors = []
    for channels in (3, 2):
        vae = _with_pca(channels)
        vae.pca.fit(2 * frames - 1)
        z = vae.encode(frames)
        assert z.shape == (16, channels, 4, 4)
        errors.append(float((vae.decode(z) - frames).square().mean().detach()))
    assert errors[0] < 1e-8 < 1e-4 < errors[1]


def test_the_networks_learn_what_components_leave_out_and_files_hold_both(tmp_path: Path) -> None:
    frames = _blocks(16).square()  # no longer in the span
    vae = _with_pca(2)
    vae.pca.fit(2 * frames - 1)
    noise = torch.zeros(16, 2, 4, 4)
    before = float(vae.losses(frames, noise)["reconstruction"].detach())
    optimizer = torch.optim.Adam(vae.parameters(), lr=2e-3)
    for _ in range(60):
        loss = vae.losses(frames, noise)["reconstruction"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss) < before / 2
    save_vae(vae, tmp_path)
    again = load_vae(tmp_path)
    assert again.id == vae.id
    torch.testing.assert_close(again.decode(again.encode(frames)), vae.decode(vae.encode(frames)))
    (tmp_path / "block_pca.safetensors").unlink()
    with pytest.raises(InputError, match="block_pca"):
        load_vae(tmp_path)
