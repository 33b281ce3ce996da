"""Weights in whole numbers: half as large as float16, nearly the same, read by whatever reads weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from orster_cli.core.errors import InputError
from orster_cli.diffusion.bundle import load_bundle, save_bundle
from orster_cli.inputs.models import SHIPPED, SHIPPED_OBJECT
from orster_cli.io.sharded import read_sharded, write_sharded
from orster_cli.io.tensors import read_tensors
from orster_cli.io.whole_numbers import FACTOR, from_whole_numbers, in_type


def drawn() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    rows = torch.logspace(-3, 1, 40)[:, None]  # of very different sizes
    return {
        "matrix": torch.randn(40, 300) * rows,
        "kernel": torch.randn(8, 4, 3, 3),
        "vector": torch.randn(40),
        "zeros": torch.zeros(3, 5),
        "count": torch.tensor([7]),
        "own.factor": torch.randn(4, 4),  # a name, no factor of whole numbers
    }


def test_each_row_keeps_its_own_size(tmp_path: Path) -> None:
    tensors = drawn()
    write_sharded(tmp_path, "model", in_type(tensors, torch.int8))
    found = read_sharded(tmp_path, "model")
    assert set(found) == set(tensors)
    for name in ("matrix", "kernel", "own.factor"):
        assert found[name].dtype == torch.float32
        rows, error = tensors[name].flatten(1), (found[name] - tensors[name]).flatten(1)
        largest = rows.abs().amax(dim=1)
        assert bool((error.abs().amax(dim=1) <= 0.5 / 127 * largest * 1.001).all())
        assert bool((error.square().mean(dim=1) < 2e-3**2 * 3 * largest.square()).all())
    assert torch.equal(found["zeros"], tensors["zeros"])
    assert torch.equal(found["count"], tensors["count"])
    torch.testing.assert_close(found["vector"].float(), tensors["vector"], atol=1e-3, rtol=1e-3)


def test_other_types_are_as_they_were() -> None:
    tensors = drawn()
    same, half = in_type(tensors, None), in_type(tensors, torch.float16)
    assert all(torch.equal(same[name], value) for name, value in tensors.items())
    assert half["count"].dtype == torch.int64
    assert {v.dtype for n, v in half.items() if n != "count"} == {torch.float16}
    assert from_whole_numbers(half, where="x") == half


def test_a_factor_that_does_not_fit_is_named() -> None:
    made = in_type(drawn(), torch.int8)
    made["matrix" + FACTOR] = made["matrix" + FACTOR][:7]
    with pytest.raises(InputError, match=r"x\.safetensors: matrix\.factor has 7 numbers"):
        from_whole_numbers(made, where="x.safetensors")


def test_a_whole_model_is_half_as_large_as_in_half_precision_and_works_as_before(
    tmp_path: Path,
) -> None:
    own = replace(load_bundle(SHIPPED_OBJECT), std4d=None, known=None, rest=None, lift=None)
    sizes = {}
    for name, dtype in (("half", torch.float16), ("whole", torch.int8)):
        save_bundle(own, tmp_path / name, dtype)
        sizes[name] = sum(path.stat().st_size for path in (tmp_path / name).rglob("*.safe*"))
    assert sizes["whole"] < 0.55 * sizes["half"]
    again = load_bundle(tmp_path / "whole")
    assert own.vae is not None
    assert again.vae is not None
    frames = torch.rand(2, 3, 128, 128)
    with torch.no_grad():
        before, after = own.vae.encode(frames), again.vae.encode(frames)
    assert float((before - after).square().mean()) < 1e-3 * float(before.var())


def test_what_diffusers_opens_stays_in_a_type_that_it_knows(tmp_path: Path) -> None:
    save_bundle(replace(load_bundle(SHIPPED), std4d=None, known=None), tmp_path, torch.int8)
    weights = read_tensors(tmp_path / "vae" / "diffusion_pytorch_model.safetensors")
    assert {value.dtype for value in weights.values()} == {torch.float16}
