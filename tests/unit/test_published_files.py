"""Weights in the file names that diffusers and transformers write."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from orster_cli.core.errors import InputError
from orster_cli.diffusion.published_files import read_weights

STEM, TORCH_STEM = "model", "pytorch_model"
VALUES = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([1.5]), "c": torch.ones(4)}
SAFE = ("a", "b"), ("c",)


def _save(path: Path, tensors: dict[str, Tensor]) -> None:
    if path.suffix == ".safetensors":
        save_file(tensors, path, {"format": "pt"})
    else:
        torch.save(tensors, path)


def _shards(folder: Path, index: str, form: str, dtype: torch.dtype = torch.float32) -> None:
    """Two shards named by `form` and their index."""
    places = {}
    for number, names in enumerate(SAFE, 1):
        file = form.format(f"{number:05d}-of-00002")
        _save(folder / file, {name: VALUES[name].to(dtype) for name in names})
        places |= dict.fromkeys(names, file)
    (folder / index).write_text(json.dumps({"metadata": {}, "weight_map": places}))


LAYOUTS = {
    "shards": ("model.safetensors.index.json", "model-{}.safetensors"),
    "transformers' fp16": ("model.safetensors.index.fp16.json", "model.fp16-{}.safetensors"),
    "diffusers' fp16": ("model.safetensors.index.fp16.json", "model-{}.fp16.safetensors"),
    "older fp16": ("model.fp16.safetensors.index.json", "model.fp16-{}.safetensors"),
    "bf16": ("model.safetensors.index.bf16.json", "model.bf16-{}.safetensors"),
    "bin": ("pytorch_model.bin.index.json", "pytorch_model-{}.bin"),
    "bin, fp16": ("pytorch_model.bin.index.fp16.json", "pytorch_model.fp16-{}.bin"),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_shards_by_their_index(name: str, tmp_path: Path) -> None:
    half = "fp16" in name or "bf16" in name
    dtype = torch.float16 if "fp16" in name else torch.bfloat16 if half else torch.float32
    _shards(tmp_path, *LAYOUTS[name], dtype)
    found = read_weights(tmp_path, STEM, TORCH_STEM)
    assert found.keys() == VALUES.keys()
    for key, value in VALUES.items():
        assert torch.equal(found[key], value.to(dtype)), key


@pytest.mark.parametrize("file", ["model.fp16.safetensors", "pytorch_model.fp16.bin"])
def test_one_file_of_a_variant(file: str, tmp_path: Path) -> None:
    _save(tmp_path / file, {"a": VALUES["a"].half()})
    assert torch.equal(read_weights(tmp_path, STEM, TORCH_STEM)["a"], VALUES["a"].half())


def test_whole_weights_come_before_halves_and_safetensors_before_bin(tmp_path: Path) -> None:
    _save(tmp_path / "pytorch_model.bin", {"a": torch.tensor([1.0])})
    _shards(tmp_path, *LAYOUTS["diffusers' fp16"], torch.float16)
    assert read_weights(tmp_path, STEM, TORCH_STEM)["a"].dtype == torch.float16
    _save(tmp_path / "model.safetensors", {"a": torch.tensor([2.0])})
    assert read_weights(tmp_path, STEM, TORCH_STEM)["a"].tolist() == [2.0]


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InputError, match=r"in shards with an index, is there; found notes\.txt"):
        read_weights(tmp_path, STEM, TORCH_STEM)
    _shards(tmp_path, *LAYOUTS["bin"])
    (tmp_path / "pytorch_model-00002-of-00002.bin").unlink()
    with pytest.raises(
        InputError, match="lists 2 files, of which 1 are not there: pytorch_model-00002"
    ):
        read_weights(tmp_path, STEM, TORCH_STEM)


def test_an_index_names_files_beside_it_only(tmp_path: Path) -> None:
    for file in ("../x.bin", "/etc/passwd", "a/b.safetensors", "x.pkl"):
        text = json.dumps({"weight_map": {"a": file}})
        (tmp_path / "pytorch_model.bin.index.json").write_text(text)
        with pytest.raises(InputError, match="expected a weight_map"):
            read_weights(tmp_path, STEM, TORCH_STEM)
