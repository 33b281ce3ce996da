"""Our writer of safetensors against the library's: the same bytes, in less memory."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save
from torch import Tensor, nn

from orster_cli.core.errors import InputError
from orster_cli.io.tensors import check_tensors, fill_module, without_weights, write_tensors

TYPES = (
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32,
    torch.int16, torch.int8, torch.uint8, torch.bool,
)  # fmt: skip
NAMES = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1, max_size=9
)
SHAPES = st.lists(st.integers(0, 4), max_size=3)


def tensor(dtype: torch.dtype, shape: list[int]) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 100, shape, generator=generator).to(dtype)


@given(
    st.dictionaries(NAMES, st.tuples(st.sampled_from(TYPES), SHAPES), max_size=6),
    st.sampled_from([None, {"format": "pt"}]),
)
def test_the_bytes_are_the_librarys(
    tmp_path_factory: pytest.TempPathFactory,
    kinds: dict[str, tuple[torch.dtype, list[int]]],
    metadata: dict[str, str] | None,
) -> None:
    tensors = {name: tensor(*kind) for name, kind in kinds.items()}
    path = tmp_path_factory.getbasetemp() / "written.safetensors"
    write_tensors(path, tensors, metadata)
    assert path.read_bytes() == save(tensors, metadata=metadata)


def test_views_are_written_as_what_they_show(tmp_path: Path) -> None:
    base = tensor(torch.float32, [4, 6])
    views = {"turned": base.T, "part": base[:, 2:4], "row": base[1], "grad": base.requires_grad_()}
    write_tensors(tmp_path / "x.safetensors", views)
    again = load_file(tmp_path / "x.safetensors")
    assert all(torch.equal(again[name], value) for name, value in views.items())


def test_a_file_can_be_written_over_by_what_is_mapped_to_it(tmp_path: Path) -> None:
    path, values = tmp_path / "x.safetensors", {"a": torch.arange(9.0), "b": torch.arange(2**20)}
    write_tensors(path, values)
    mapped = load_file(path)
    write_tensors(path, {"b": mapped["b"]})
    assert torch.equal(load_file(path)["b"], values["b"])
    assert torch.equal(mapped["a"], values["a"])
    assert [p.name for p in tmp_path.iterdir()] == ["x.safetensors"]


def test_what_cannot_be_written_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    write_tensors(path, {"a": torch.zeros(1)})
    with pytest.raises(NotImplementedError):  # a meta tensor has no numbers
        write_tensors(path, {"a": torch.zeros(1, device="meta")})
    assert load_file(path).keys() == {"a"}
    assert [p.name for p in tmp_path.iterdir()] == ["x.safetensors"]
    with pytest.raises(FileNotFoundError):
        write_tensors(tmp_path / "nowhere" / "x.safetensors", {"a": torch.zeros(1)})


def test_a_large_tensor_is_not_copied(tmp_path: Path) -> None:
    """The library's `save` keeps the whole file in memory as Python's bytes."""
    large = {"x": torch.zeros(2**22)}  # 16 MiB
    held = []
    for write in (
        lambda: write_tensors(tmp_path / "x.safetensors", large),
        lambda: (tmp_path / "y.safetensors").write_bytes(save(large)),
    ):
        tracemalloc.start()
        write()
        held.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    ours, theirs = held
    assert ours < 2**20 < 2**24 <= theirs


def test_the_last_of_many_numbers_is_looked_at_too() -> None:
    values = torch.zeros(2**22 + 1)
    check_tensors({"x": values}, where="file")
    values[-1] = torch.inf
    with pytest.raises(InputError, match="file: x: holds values that are not finite"):
        check_tensors({"x": values}, where="file")


def test_modules_without_weights_have_the_names_and_shapes_of_others() -> None:
    def made() -> nn.Module:
        module = nn.TransformerEncoderLayer(8, 2, dim_feedforward=16)
        module.words = nn.Embedding(5, 8)
        module.position = nn.Parameter(torch.randn(3, 8).mul_(0.02))
        return module

    whole = made()
    state = torch.random.get_rng_state()
    with without_weights():
        empty = made()
        drawn = torch.randn(4, device="cpu", generator=torch.Generator().manual_seed(0))
        real = nn.init.ones_(torch.zeros(2, device="cpu"))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(p.is_meta for p in empty.parameters())
    assert torch.equal(drawn, torch.randn(4, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(real, torch.ones(2))
    fill_module(empty, whole.state_dict(), where="here")
    for name, value in whole.state_dict().items():
        assert torch.equal(empty.state_dict()[name], value), name
