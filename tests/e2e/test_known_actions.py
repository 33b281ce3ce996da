"""A text that names an object and an action that the model was trained on gives that object, moving as it
does in truth."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import orster_cli as api
from orster_cli.config.prepare import PrepareConfig
from orster_cli.core.compositing import WHITE
from orster_cli.core.frames import resize
from orster_cli.dataset.views import normalize_pose, render_view
from orster_cli.gltf.load import load_gltf
from orster_cli.io.clip_files import read_clip
from tests.helpers.cases import REPOSITORY, known_object
from tests.helpers.cli import orster

HORSE = REPOSITORY / "examples" / "horse.glb"


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


def test_a_given_object_is_said_to_move_as_the_known_one_that_looks_like_it(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = ("--object", str(HORSE), "--text", "a brown horse walking", "--steps", "2")
    said = orster(capsys, "sample-video", *words, "--device", "cpu", "-o", str(tmp_path / "clip"))
    assert said.code == 0, said.err
    assert "it begins to move as a " in said.err
    assert "horse walking (sample.course)" in said.err


def test_seeds_of_a_known_action_are_said_to_be_alike(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    quick = ("--steps", "4", "--seeds", "0-1", "--device", "cpu", "-o", str(tmp_path / "clips"))
    quick += ("--set", "sample.course=0.25")
    said = orster(capsys, "sample-video", "a blocky gray wolf running", "-m", "mini-object", *quick)
    assert said.code == 0, said.err
    assert "are much alike" in said.err
    one, other = (read_clip(tmp_path / "clips" / f"seed-000{seed}").over() for seed in (0, 1))
    still = resize(read_clip(tmp_path / "clips" / "seed-0000" / "static").over(), 128, 128)
    assert 0 < float((one - other).square().mean()) < 0.3 * float((one - still).square().mean())
