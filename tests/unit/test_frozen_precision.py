"""Frozen teachers in half the memory give the same features, number for number, under autocast."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from orster_cli.diffusion.bundle import save_bundle
from orster_cli.diffusion.mini_encoder import new_mini
from orster_cli.transfer.frozen_precision import cast_frozen_to_bf16
from orster_cli.transfer.teachers import TeacherInputs, load_teacher
from tests.helpers.teachers import i2vgen_folder, modelscope_folder, teacher_inputs
from tests.helpers.training import merged


def ours(place: Path) -> Path:
    save_bundle(merged("3d"), place)
    return place


@pytest.mark.parametrize(
    ("folder", "role"), [(ours, "3d"), (modelscope_folder, "video"), (i2vgen_folder, "video")]
)
def test_a_teacher_in_half_the_memory_teaches_the_same(
    folder: Callable[[Path], Path], role: str, tmp_path: Path
) -> None:
    teacher, _ = load_teacher(folder(tmp_path / "teacher"), role=role)
    seen: TeacherInputs = teacher_inputs()
    wanted = frozenset(teacher.widths)

    def taught() -> dict[str, Tensor]:
        with torch.autocast("cpu", torch.bfloat16):
            return teacher.features(seen, wanted)

    before = taught()
    parts = list(teacher.parts().values())
    size = sum(p.nbytes for part in parts for p in part.parameters())
    for part in parts:
        cast_frozen_to_bf16(part)
    after = taught()
    assert before.keys() == after.keys()
    for name, value in before.items():
        assert torch.equal(value, after[name]), name
    assert sum(p.nbytes for part in parts for p in part.parameters()) < 0.75 * size


def test_what_adds_up_in_float32_stays(tmp_path: Path) -> None:
    teacher, _ = load_teacher(ours(tmp_path / "teacher"), role="3d")
    model = teacher.model
    cast_frozen_to_bf16(model)
    kinds = {
        type(module).__name__: parameter.dtype
        for module in model.modules()
        for parameter in module.parameters(recurse=False)
    }
    assert kinds["GroupNorm"] == kinds["LayerNorm"] == torch.float32
    assert kinds["Linear"] == kinds["Conv2d"] == kinds["TemporalConv"] == torch.bfloat16


@torch.no_grad()
def test_an_encoder_whose_layers_torch_fuses_reads_the_same() -> None:
    """torch fuses layers of an even number of heads; autocast does not see into them."""
    encoder, texts = new_mini(64, seed=0).eval(), ["a frog jumping", ""]
    assert encoder.text_tower.layers[0].self_attn.num_heads == 4
    outputs = []
    for _ in range(2):
        with torch.autocast("cpu", torch.bfloat16):
            outputs.append(encoder.text(texts).tokens)
        cast_frozen_to_bf16(encoder)
    assert torch.equal(*outputs)
