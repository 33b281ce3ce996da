"""A text that names an object and an action that the model was trained on gives that object, moving as it
does in truth."""

from __future__ import annotations

import pytest
import torch

import orster_cli as api
from orster_cli.config.prepare import PrepareConfig
from orster_cli.core.compositing import WHITE
from orster_cli.dataset.views import normalize_pose, render_view
from orster_cli.gltf.load import load_gltf
from tests.helpers.cases import known_object


def decibels(one: torch.Tensor, other: torch.Tensor) -> float:
    """PSNR of frames that follow the first."""
    return -10 * float((one[1:] - other[1:]).square().mean().log10())


@pytest.mark.parametrize(
    ("text", "file", "clip"),
    [
        ("a frog jumping", "critter_frog.glb", 3),
        ("a blocky gray wolf running", "cubeanimal_wolf.glb", 6),
    ],
)
def test_a_known_object_moves_as_it_does_in_truth(text: str, file: str, clip: int) -> None:
    placed = normalize_pose(load_gltf(known_object(file)), clip, PrepareConfig())
    made = api.sample(text=text, model="mini-object", seed=0)
    true = render_view(placed, made.cameras, made.times, PrepareConfig(), None)
    still = render_view(placed, made.cameras, 0 * made.times, PrepareConfig(), None)
    white = torch.full((3,), WHITE)
    frames, at_rest = true.over(white), still.over(white)
    assert decibels(made.over(), frames) > decibels(at_rest, frames) + 1
