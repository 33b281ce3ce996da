"""The root motion: an object that falls over is found lying, and its asset lies too."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from orster_cli.construction.asset import load_asset, save_asset
from orster_cli.construction.find_root import find_root, turns_around, turns_of_all_kinds
from orster_cli.construction.fit import Fit
from orster_cli.construction.fit_asset import ConstructInput, construct
from orster_cli.construction.hull import surface_points
from orster_cli.construction.recurrence import Recurrence
from orster_cli.construction.trainable_asset import TrainableAsset
from orster_cli.construction.training_views import View, build_views
from orster_cli.core.errors import InputError
from orster_cli.core.reporting import Silent
from orster_cli.core.stopping import StopFlag
from orster_cli.core.types import Gaussians, OrbitClip
from orster_cli.metrics.psnr import psnr
from orster_cli.splatting.gaussians4d import Gaussians4D
from orster_cli.splatting.nodes import rotations
from orster_cli.splatting.rasterize import rasterize
from orster_cli.splatting.render_asset import render_clip
from orster_cli.splatting.root import RootMotion
from tests.helpers.constructing import CPU, TINY, creature_views

SIDE = 48
FALL = (0.0, 0.0, 0.0, 20.0, 50.0, 80.0, 90.0, 90.0, 90.0, 90.0, 90.0, 90.0)  # degrees, by frame


def turn(degrees: float, axis: tuple[float, float, float] = (1.0, 0.0, 0.0)) -> Tensor:
    """[4] wxyz"""
    half = math.radians(degrees) / 2
    return torch.cat([torch.tensor([math.cos(half)]), math.sin(half) * torch.tensor(axis)])


def angle(a: Tensor, b: Tensor) -> float:
    """Degrees between two quaternions."""
    return math.degrees(2 * math.acos(min(abs(float(normalize(a, dim=0) @ b)), 1.0)))


def creature() -> tuple[Gaussians, OrbitClip]:
    """The standing creature as Gaussians, and its static orbit."""
    static = creature_views()["static"]
    asset = TrainableAsset(surface_points(static, 1000), TINY)
    return asset.canonical(detach=True), static


def fallen(degrees: tuple[float, ...] = FALL) -> tuple[RootMotion, Gaussians]:
    """A fall backwards by `degrees` a frame, down to the floor."""
    canonical, _ = creature()
    quats = torch.stack([turn(one) for one in degrees])
    down = torch.tensor([[0.0, 0.0, -0.25]]) * torch.tensor([[one / 90] for one in degrees])
    return RootMotion(quats, down, canonical.means.mean(dim=0)), canonical


def shown(root: RootMotion, canonical: Gaussians, frames: int) -> OrbitClip:
    """An orbit of what `root` makes of `canonical`."""
    static = creature_views()["static"]
    pick = (torch.arange(frames) * len(static)) // frames
    cameras, times = static.cameras[pick], torch.linspace(0, 1, frames)
    pictures = []
    for i, time in enumerate(times):
        now = root(canonical, float(time))
        out = rasterize(
            now.means, now.quats, now.log_scales.exp(), now.opacity_logits.sigmoid(), now.colors,
            cameras.w2c[i : i + 1], cameras.K[i : i + 1], SIDE, SIDE,
        )  # fmt: skip
        rgb = out.rgb[0] / out.alpha[0].clamp_min(1e-4)
        pictures.append(torch.cat([rgb, out.alpha[0]], dim=-1).permute(2, 0, 1))
    both = torch.stack(pictures).clamp(0, 1)
    return OrbitClip(frames=both[:, :3], alpha=both[:, 3:], cameras=cameras, times=times)


def smudged(clip: OrbitClip, sigma: float = 2.0) -> OrbitClip:
    """All frames but the first as a model makes those that it is not sure of."""
    from torchvision.transforms.functional import gaussian_blur

    assert clip.alpha is not None
    alpha = gaussian_blur(clip.alpha, 13, sigma)
    rgb = gaussian_blur(clip.frames * clip.alpha, 13, sigma) / alpha.clamp_min(1e-4)
    alpha[0], rgb[0] = clip.alpha[0], clip.frames[0]
    return replace(clip, frames=rgb, alpha=alpha)


def views_of(clip: OrbitClip) -> list[View]:
    return build_views([clip], None, Recurrence(), mirror_weight=0.0, device=CPU).driving


def test_keys_are_at_their_phases_and_a_loop_closes() -> None:
    quats = torch.stack([turn(0), turn(40), -turn(80)])  # of either sign
    shifts = torch.tensor([[0.0, 0, 0], [1.0, 0, 0], [0, 2.0, 0]])
    once = RootMotion(quats, shifts, torch.zeros(3))
    assert [angle(once.at(t)[0], turn(d)) < 0.1 for t, d in ((0, 0), (0.5, 40), (1, 80))] == [
        True
    ] * 3
    assert angle(once.at(0.25)[0], turn(20)) < 0.1  # half way
    torch.testing.assert_close(once.at(0.75)[1], torch.tensor([0.5, 1, 0]))
    round_ = RootMotion(quats, shifts, torch.zeros(3), periodic=True)
    assert angle(round_.at(2 / 3)[0], turn(80)) < 0.1
    assert angle(round_.at(1.0)[0], turn(0)) < 0.1
    torch.testing.assert_close(round_.at(5 / 6)[1], torch.tensor([0.0, 1, 0]))


def test_gaussians_turn_about_the_centre_as_one_body() -> None:
    _, canonical = fallen()
    centre = torch.tensor([0.1, -0.2, 0.3])
    root = RootMotion(torch.stack([turn(0), turn(90)]), torch.zeros(2, 3), centre)
    moved = root(canonical, 1.0)
    away, now = canonical.means - centre, moved.means - centre
    torch.testing.assert_close(now[:, 0], away[:, 0])
    torch.testing.assert_close(now[:, 1], -away[:, 2], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(now[:, 2], away[:, 1], atol=1e-5, rtol=1e-4)
    own = rotations(moved.quats)
    expected = rotations(turn(90)[None]) @ rotations(canonical.quats)
    torch.testing.assert_close(own, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("quats", "shifts"), [((3, 3), (3, 3)), ((3, 4), (2, 3)), ((1, 4), (1, 3))]
)
def test_other_shapes_are_refused(quats: tuple[int, int], shifts: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="root motion"):
        RootMotion(torch.ones(quats), torch.ones(shifts), torch.zeros(3))


def test_all_turns_are_near_one_that_is_tried() -> None:
    tried = turns_of_all_kinds(128)
    torch.testing.assert_close(tried.norm(dim=1), torch.ones(129))
    random = normalize(torch.randn(500, 4, generator=torch.Generator().manual_seed(0)), dim=1)
    far = 2 * (random @ tried.T).abs().amax(dim=1).clamp(max=1).acos() * 180 / math.pi
    assert float(far.max()) < 50
    near = turns_around(0.3)
    assert near.shape == (27, 4)
    torch.testing.assert_close(near[0], turn(0))


@pytest.mark.parametrize("blurred", [False, True])
def test_who_falls_over_is_found_lying(blurred: bool) -> None:
    root, canonical = fallen()
    clip = shown(root, canonical, len(FALL))
    found = find_root(canonical, views_of(smudged(clip) if blurred else clip), periodic=False)
    assert found is not None
    off = [angle(found.at(i / 11)[0], turn(degrees)) for i, degrees in enumerate(FALL)]
    assert sorted(off)[len(off) // 2] < 15  # the last search is by 10 degrees
    assert max(off) < 45
    sunk = found.at(1.0)[1]
    assert -0.35 < float(sunk[2]) < -0.15
    assert angle(found.at(0.0)[0], turn(0)) < 0.1


def test_who_stands_or_leans_does_not_move_as_a_whole() -> None:
    _, canonical = fallen()
    walking = creature_views()["dynamic"]
    assert find_root(canonical, views_of(walking), periodic=False) is None
    leaning, _ = fallen((0.0,) * 4 + (20.0,) * 8)
    assert find_root(canonical, views_of(shown(leaning, canonical, 12)), periodic=False) is None


def moved(heights: list[float]) -> tuple[RootMotion, Gaussians]:
    """The creature upright, at other heights."""
    canonical, _ = creature()
    up = torch.tensor([[0.0, 0.0, one] for one in heights])
    quats = torch.stack([turn(0)] * len(heights))
    return RootMotion(quats, up, canonical.means.mean(dim=0)), canonical


def test_who_jumps_is_found_in_the_air_and_nobody_sinks_into_the_floor() -> None:
    heights = [0.0, 0.0, 0.1, 0.25, 0.35, 0.35, 0.25, 0.1, 0.0, 0.0, 0.0, 0.0]
    root, canonical = moved(heights)
    found = find_root(canonical, views_of(smudged(shown(root, canonical, 12))), periodic=False)
    assert found is not None
    assert found.farthest < 25
    torch.testing.assert_close(found.shifts[:, 2], torch.tensor(heights), atol=0.06, rtol=0)
    root, canonical = moved([-one for one in heights])
    sinking = views_of(smudged(shown(root, canonical, 12)))
    assert find_root(canonical, sinking, periodic=False) is None


def test_two_frames_tell_nothing() -> None:
    _, canonical = fallen()
    assert find_root(canonical, views_of(creature_views()["dynamic"])[:2], periodic=False) is None


def asset_of(clip: OrbitClip, static: OrbitClip, folder: Path, *, root: bool) -> Gaussians4D:
    cfg = replace(TINY, nodes=60, rigidity=0.5, canonical="static", blurred=0.05, root=root)
    (folder / "asset").mkdir(parents=True)
    construct(
        ConstructInput(clips=[clip], static=static),
        cfg,
        folder=folder / "asset",
        scratch=folder,
        device=CPU,
        reporter=Silent(),
        stop=StopFlag(),
    )
    return load_asset(folder / "asset")


def test_the_asset_of_a_blurred_fall_lies_on_the_floor(tmp_path: Path) -> None:
    root, canonical = fallen()
    _, static = creature()
    clip = shown(root, canonical, len(FALL))
    near = {}
    for given in (False, True):
        made = asset_of(smudged(clip), static, tmp_path / str(given), root=given)
        seen = render_clip(made, clip.cameras, clip.times).frames
        near[given] = float(psnr(seen, clip.over(torch.ones(3)))[6:].mean())
    assert near[True] > near[False] + 2


def test_it_is_kept_on_disk_and_in_checkpoints(tmp_path: Path) -> None:
    root, canonical = fallen()
    clip = shown(root, canonical, len(FALL))
    views = build_views([clip], creature()[1], Recurrence(), mirror_weight=0.0, device=CPU)
    cfg = replace(TINY, nodes=40, root=True, gaussians=800)

    def fit() -> Fit:
        return Fit(cfg, views, TrainableAsset(surface_points(creature()[1], 800), cfg))

    first, second = fit(), fit()
    first.run(tmp_path / "a", Silent(), StopFlag())
    second.load_state(first.state())
    for t in (0.0, 0.4, 1.0):
        torch.testing.assert_close(second.model.at(t).means, first.model.at(t).means)
    asset = first.model.result()
    save_asset(tmp_path, asset)
    loaded = load_asset(tmp_path)
    moved = loaded.at(1.0).means
    torch.testing.assert_close(moved, asset.at(1.0).means)
    assert loaded.motion.field.root is not None
    assert float((moved - loaded.canonical.means).norm(dim=1).mean()) > 0.1
    description = json.loads((tmp_path / "asset.json").read_text())
    assert description["version"] == 4
    for change, says in (({"version": 3}, "root motion of 12"), ({}, "expected 5 keys")):
        damaged = json.loads(json.dumps(description)) | change
        if not change:
            damaged["field"]["root"] = 5
        (tmp_path / "asset.json").write_text(json.dumps(damaged))
        with pytest.raises(InputError, match=says):
            load_asset(tmp_path)
