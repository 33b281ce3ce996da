"""Our writer of safetensors against the library's: the same bytes, in less memory."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save
from torch import Tensor

from orster_cli.io.tensors import write_tensors

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
