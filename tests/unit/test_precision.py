"""What stays in float32 under bfloat16 autocast, and attention over more rows than a kernel takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from orster_cli.diffusion.layers import FEW_KEYS, attend, attend_by_parts
from orster_cli.diffusion.precision import as_computed, autocast_dtype, full_precision
from orster_cli.training.meta_device import device_paths
from tests.helpers.diffusion import CONFIG, STEPS, given_to, latents, shaken

CPU, META = torch.device("cpu"), torch.device("meta")


@pytest.mark.parametrize("merged", [False, True])
@torch.no_grad()
def test_latents_are_read_and_predicted_in_float32_and_the_rest_is_not(merged: bool) -> None:
    model = shaken(replace(CONFIG, merged=merged))
    seen: dict[str, set[torch.dtype]] = {}

    def watch(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        return lambda _, inputs, out: seen.setdefault(name, set()).update((out.dtype,))

    trunk = model.trunk
    watched = {
        "conv_in": trunk.conv_in,
        "reference_in": model.reference_in,
        "conv_out": trunk.conv_out,
        "resnet": trunk.down_blocks[0].resnets[0].conv1,
        "stream": trunk.down_blocks[0].downsamplers[0],
    }
    if model.fuse is not None:
        watched |= {"fuse": model.fuse, "enter": model.fuse.enter}
    for name, module in watched.items():
        module.register_forward_hook(watch(name))
    exact = model(latents(), STEPS, given_to()).prediction
    seen.clear()
    with torch.autocast("cpu", torch.bfloat16):
        out = model(latents(), STEPS, given_to()).prediction
    low = {"resnet", "stream"}
    assert {n for n, kinds in seen.items() if kinds == {torch.bfloat16}} == low
    assert {n for n, kinds in seen.items() if kinds == {torch.float32}} == set(watched) - low
    assert out.dtype == torch.float32
    assert not torch.equal(out, out.bfloat16().float())  # not a rounded one either
    assert torch.allclose(out, exact, atol=0.05 * float(exact.abs().max()))


def test_the_first_features_take_no_more_memory_than_the_rest() -> None:
    """A stream in float32 would pass through every skip connection."""
    model = shaken(replace(CONFIG, merged=True))
    inputs: list[torch.dtype] = []
    model.trunk.down_blocks[0].resnets[0].register_forward_pre_hook(
        lambda _, args: inputs.append(args[0].dtype)
    )
    with torch.autocast("cpu", torch.bfloat16):
        model(latents(), STEPS, given_to())
    assert inputs == [torch.bfloat16]


def test_the_meta_device_has_the_types_of_a_real_one() -> None:
    def dtypes(device: torch.device) -> list[torch.dtype]:
        x, layer = torch.zeros(2, 2, device=device), nn.Linear(2, 2, device=device)
        with full_precision(device):
            inside = layer(x)
        return [layer(x).dtype, inside.dtype, as_computed(x).dtype]

    with torch.autocast("cpu", torch.bfloat16):
        want = dtypes(CPU)
    with device_paths("cpu", bf16=True):
        assert dtypes(META) == want
        assert autocast_dtype(META) == torch.bfloat16
    assert want == [torch.bfloat16, torch.float32, torch.bfloat16]
    assert autocast_dtype(META) is None
    with device_paths("cpu", bf16=False):
        assert dtypes(META) == [torch.float32] * 3


@pytest.mark.parametrize("keys", [6, FEW_KEYS + 1])
def test_attention_in_16_bits_on_a_cpu_loses_the_rounding_of_what_it_reads(keys: int) -> None:
    g = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(4, 2, n, 8, generator=g).bfloat16() for n in (5, keys, keys))
    want = attend(*(x.double() for x in (q, k, v)))
    with torch.autocast("cpu", torch.bfloat16):
        got = attend(q, k, v)
    assert got.dtype == torch.bfloat16
    assert float((got - want).norm() / want.norm()) < 4e-3  # a bfloat16 has 8 digits


@pytest.mark.parametrize("most", [1, 4, 5, 7, 100])
def test_attention_by_parts_is_attention(most: int) -> None:
    q, k, v = (torch.randn(10, 2, n, 4, requires_grad=True) for n in (3, 6, 6))
    want = torch.softmax(q @ k.transpose(2, 3) / 2, dim=-1) @ v
    calls = []
    real = torch.nn.functional.scaled_dot_product_attention
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            torch.nn.functional,
            "scaled_dot_product_attention",
            lambda *args: (calls.append(len(args[0])), real(*args))[1],
        )
        got = attend_by_parts(q, k, v, most)
    assert max(calls) <= most
    assert sum(calls) == 10
    assert torch.allclose(got, want, atol=1e-5)
    probe = torch.randn_like(want)
    ours = torch.autograd.grad((got * probe).sum(), (q, k, v))
    plain = torch.autograd.grad((want * probe).sum(), (q, k, v))
    for a, b in zip(ours, plain, strict=True):
        assert torch.allclose(a, b, atol=1e-5)
