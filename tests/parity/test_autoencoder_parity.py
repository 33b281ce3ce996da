"""The autoencoder against diffusers' AutoencoderKL: same names, same shapes, same numbers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor

from orster_cli.diffusion.autoencoder_kl import AutoencoderKL, AutoencoderKLConfig
from orster_cli.diffusion.frame_vae import FrameVAE, load_vae, save_vae
from orster_cli.inputs.models import SHIPPED

if TYPE_CHECKING:
    import diffusers

CLOSE = {"atol": 1e-5, "rtol": 1e-5}


def levels(count: int) -> dict[str, Any]:
    return {
        "down_block_types": ("DownEncoderBlock2D",) * count,
        "up_block_types": ("UpDecoderBlock2D",) * count,
    }


SD = {**levels(4), "block_out_channels": (128, 256, 512, 512), "layers_per_block": 2}
CONFIGS: dict[str, dict[str, Any]] = {
    "one level": {"block_out_channels": (8,), "norm_num_groups": 4},
    "Stable Diffusion's layers": {
        **SD,
        "block_out_channels": (8, 16, 24, 24),
        "norm_num_groups": 8,
    },
    "Flux's": {
        **levels(2),
        "block_out_channels": (8, 16),
        "layers_per_block": 2,
        "norm_num_groups": 4,
        "latent_channels": 16,
        "use_quant_conv": False,
        "use_post_quant_conv": False,
        "shift_factor": 0.1159,
        "scaling_factor": 0.3611,
    },
    "without attention": {
        **levels(2),
        "block_out_channels": (8, 8),
        "norm_num_groups": 4,
        "act_fn": "swish",
        "mid_block_add_attention": False,
    },
    "blocks of pixels": {
        **levels(3),
        "in_channels": 12,
        "out_channels": 12,
        "block_out_channels": (8, 16, 8),
        "norm_num_groups": 4,
        "use_quant_conv": False,
    },
}


def pair(config: dict[str, Any]) -> tuple[diffusers.AutoencoderKL, AutoencoderKL]:
    """diffusers' model with random weights everywhere, also in norms and biases, and ours."""
    import diffusers

    torch.manual_seed(0)
    theirs = diffusers.AutoencoderKL(**config)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    ours = AutoencoderKL(AutoencoderKLConfig.from_diffusers(theirs.config, where="config"))
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def pictures(channels: int, size: tuple[int, int] = (24, 32)) -> Tensor:
    draws = torch.rand(3, channels, *size, generator=torch.Generator().manual_seed(1))
    return 2 * draws - 1


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("training", [False, True])
def test_it_gives_what_diffusers_gives(name: str, training: bool) -> None:
    theirs, ours = (model.train(training) for model in pair(CONFIGS[name]))
    assert list(ours.state_dict()) == list(theirs.state_dict())
    x = pictures(theirs.config.in_channels).requires_grad_()
    y = x.detach().clone().requires_grad_()
    got, want = ours.encode(x).latent_dist, theirs.encode(y).latent_dist
    for value in ("mean", "logvar", "std", "var"):
        torch.testing.assert_close(getattr(got, value), getattr(want, value), **CLOSE)
    torch.testing.assert_close(got.kl(), want.kl(), **CLOSE)
    drawn, told = (p.sample(torch.Generator().manual_seed(2)) for p in (got, want))
    torch.testing.assert_close(drawn, told, **CLOSE)
    out, reference = ours.decode(drawn).sample, theirs.decode(told).sample
    assert out.shape == x.shape
    torch.testing.assert_close(out, reference, **CLOSE)
    for model, made in ((ours, out), (theirs, reference)):
        made.square().mean().backward()
        assert all(p.grad is not None for p in model.parameters())
    torch.testing.assert_close(x.grad, y.grad, **CLOSE)
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        scale = float(other.grad.abs().max())
        torch.testing.assert_close(mine.grad, other.grad, atol=1e-4 * scale + 1e-7, rtol=1e-4)


def test_log_variances_are_clamped_as_diffusers_clamps_them() -> None:
    theirs, ours = pair(CONFIGS["one level"])
    bias = torch.tensor([0.0, 0, 0, 0, -1e3, 1e3, -1e3, 1e3])
    for model in (theirs, ours):
        model.quant_conv.bias.data.copy_(bias)
    with torch.no_grad():
        got, want = (model.encode(pictures(3)).latent_dist for model in (ours, theirs))
    assert torch.equal(got.logvar, want.logvar)
    assert torch.equal(got.std, want.std)


def test_names_and_shapes_at_full_size() -> None:
    import diffusers

    with torch.device("meta"):
        theirs = diffusers.AutoencoderKL(**SD)
        ours = AutoencoderKL(AutoencoderKLConfig(**SD))
    assert sum(p.numel() for p in ours.parameters()) == 83_653_863
    assert [(n, v.shape) for n, v in ours.state_dict().items()] == [
        (n, v.shape) for n, v in theirs.state_dict().items()
    ]
    mine = ours.config.to_diffusers()
    assert mine == {name: theirs.config.get(name, mine[name]) for name in mine}
    assert set(mine) - {"_class_name"} == {n for n in theirs.config if not n.startswith("_")}


def test_a_new_one_begins_with_the_same_weights_for_a_seed() -> None:
    import diffusers

    config = CONFIGS["Stable Diffusion's layers"]
    torch.manual_seed(3)
    theirs = diffusers.AutoencoderKL(**config).state_dict()
    torch.manual_seed(3)
    ours = AutoencoderKL(AutoencoderKLConfig(**config)).state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@torch.no_grad()
def test_the_shipped_one(tmp_path: Path) -> None:
    from diffusers import AutoencoderKL as Published

    vae, theirs = load_vae(SHIPPED / "vae"), Published.from_pretrained(SHIPPED / "vae").eval()
    assert FrameVAE(theirs).id == vae.id  # which caches of latents are found by
    assert vae.id == "e153b05dad1ff0c6ac30f9fab024aa3cf9bbcae1b58cafd567aff0afa91f6ff3"
    x = pictures(3, (64, 64))
    mean = theirs.encode(x).latent_dist.mean
    torch.testing.assert_close(vae.vae.encode(x).latent_dist.mean, mean, **CLOSE)
    torch.testing.assert_close(vae.vae.decode(mean).sample, theirs.decode(mean).sample, **CLOSE)
    save_vae(vae, tmp_path, torch.float16)
    for name in ("config.json", "diffusion_pytorch_model.safetensors"):
        assert (tmp_path / name).read_bytes() == (SHIPPED / "vae" / name).read_bytes()


@pytest.mark.parametrize("name", CONFIGS)
@torch.no_grad()
def test_diffusers_opens_what_is_saved_and_the_other_way_round(name: str, tmp_path: Path) -> None:
    from diffusers import AutoencoderKL as Published

    theirs, ours = (model.eval() for model in pair(CONFIGS[name]))
    save_vae(FrameVAE(ours), tmp_path / "ours")
    theirs.save_pretrained(tmp_path / "theirs")
    x = pictures(theirs.config.in_channels)
    z = theirs.encode(x).latent_dist.mean
    back = Published.from_pretrained(tmp_path / "ours").eval()
    assert torch.equal(back.decode(z).sample, theirs.decode(z).sample)
    opened = load_vae(tmp_path / "theirs")
    assert opened.id == FrameVAE(ours).id
    torch.testing.assert_close(opened.vae.decode(z).sample, theirs.decode(z).sample, **CLOSE)
    assert opened.vae.config == ours.config
