"""A text that names an object and an action that the model was trained on gives that object, moving as it
does in truth."""

from __future__ import annotations

import re
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
    assert "walking" in said.err
    assert "(sample.course)" in said.err


def test_a_known_action_is_rendered_from_four_sides_and_fitted_to_all(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    few = [f"construct.{k}_steps=4" for k in ("static", "coarse", "fine")]
    few += ["construct.gaussians=100", "construct.max_gaussians=200", "construct.resolution=32"]
    words = ["generate", "--object", str(HORSE), "--text", "a horse walking", "--orbits", "2"]
    words += ["--device", "cpu", "-o", str(tmp_path), "--json"]
    words += [word for one in few for word in ("--set", one)]
    said = orster(capsys, *words)
    assert said.code == 0, said.err
    assert said.data["frames"] == [16] * 4
    assert "no further orbits are sampled" in said.err
    assert not (tmp_path / "orbits").exists()
    folders = ["", "orbit-090", "orbit-180", "orbit-270"]
    orbits = [read_clip(tmp_path / "clip" / name) for name in folders]
    # each side is seen at another moment: the same camera, a quarter of the motion later
    assert orbits[0].cameras.width == 256
    for number, one in enumerate(orbits):
        torch.testing.assert_close(one.cameras.w2c[0], orbits[0].cameras.w2c[4 * number])
    assert float((orbits[0].over()[4] - orbits[1].over()[0]).abs().mean()) > 1e-3


def test_the_seed_chooses_one_of_the_known_ways(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """No horse was seen dancing, but several others were; where seeds begin again, that is said."""
    words = ("--object", str(HORSE), "--text", "a brown horse dancing", "--seeds", "0-4")
    said = orster(capsys, "sample-video", *words, "--device", "cpu", "-o", str(tmp_path / "clips"))
    assert said.code == 0, said.err
    ways = int(re.findall(r"one of (\d) known ways \(--seed\)", said.err)[0])
    assert 1 < ways < 5
    clips = [read_clip(tmp_path / "clips" / f"seed-000{seed}").over() for seed in range(5)]
    assert float((clips[0] - clips[1]).abs().mean()) > 1e-3
    torch.testing.assert_close(clips[0], clips[ways])
    assert f"{5 - ways} of 5 clips are the same as another one" in said.err


def test_seeds_of_a_known_action_are_said_to_be_alike(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    quick = ("--steps", "4", "--seeds", "0-1", "--device", "cpu", "-o", str(tmp_path / "clips"))
    quick += ("--set", "sample.course=0.25")
    said = orster(capsys, "sample-video", "a blocky gray wolf running", "-m", "mini-object", *quick)
    assert said.code == 0, said.err
    assert "1 of 2 clips begin as another one" in said.err
    one, other = (read_clip(tmp_path / "clips" / f"seed-000{seed}").over() for seed in (0, 1))
    still = resize(read_clip(tmp_path / "clips" / "seed-0000" / "static").over(), 128, 128)
    assert 0 < float((one - other).square().mean()) < 0.3 * float((one - still).square().mean())
