"""Blurred frames count less, and a fit that keeps the object as it was given."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import pad

from orster_cli.config.construct import ConstructConfig
from orster_cli.construction.asset import load_asset
from orster_cli.construction.fit import Fit
from orster_cli.construction.fit_asset import ConstructInput, construct
from orster_cli.construction.frame_detail import SHARP, SMUDGE, detail, frame_weights
from orster_cli.construction.hull import surface_points
from orster_cli.construction.recurrence import Recurrence
from orster_cli.construction.trainable_asset import TrainableAsset
from orster_cli.construction.training_views import build_views
from orster_cli.core.errors import InputError
from orster_cli.core.frames import resize_straight
from orster_cli.core.reporting import Reporter, Silent
from orster_cli.core.stopping import StopFlag
from orster_cli.core.types import OrbitClip
from orster_cli.metrics.psnr import psnr
from orster_cli.splatting.render_asset import render_clip
from tests.helpers.constructing import CPU, TINY, creature_views, mean_psnr, subset
from tests.helpers.recording import Recorder


def blurred(clip: OrbitClip, frames: list[int], sigma: float = 3.0) -> OrbitClip:
    """A clip whose `frames` are blurred, as a model does that is not sure of them."""
    from torchvision.transforms.functional import gaussian_blur

    assert clip.alpha is not None
    rgb, alpha = clip.frames.clone(), clip.alpha.clone()
    alpha[frames] = gaussian_blur(clip.alpha[frames], 13, sigma)
    covered = gaussian_blur(clip.frames[frames] * clip.alpha[frames], 13, sigma)
    rgb[frames] = covered / alpha[frames].clamp_min(1e-4)
    return replace(clip, frames=rgb, alpha=alpha)


def test_detail_falls_where_a_frame_is_blurred_and_nowhere_else() -> None:
    views = creature_views()
    clip, static = views["dynamic"], views["static"]
    plain = detail(clip, static)
    assert bool((plain > 0.8).all())
    assert bool((plain < 1.25).all())  # it moves: the same detail elsewhere
    found = detail(blurred(clip, [2, 5]), static)
    assert bool((found[[2, 5]] < SMUDGE + 0.05).all())
    kept = [i for i in range(len(clip)) if i not in (2, 5)]
    torch.testing.assert_close(found[kept], plain[kept], atol=0.02, rtol=0)
    # the static orbit's frames may be other ones, in another order
    order = list(range(len(static)))[::-2]
    other = detail(clip, subset(static, order))
    assert bool(((other > 0.6) & (other < 1.5)).all())


def test_an_object_that_is_smaller_than_at_rest_is_no_smudge() -> None:
    """Half as large, as one that moves away: its edges are half as long. Blurred, it counts as blurred."""
    views = creature_views(side=96)
    clip, static = views["dynamic"], views["static"]
    assert clip.alpha is not None
    rgb, alpha = resize_straight(clip.frames, clip.alpha, 48, 48)
    small = replace(clip, frames=pad(rgb, [24] * 4), alpha=pad(alpha, [24] * 4))
    assert bool((detail(small, static) > SHARP).all())
    every = list(range(len(clip)))
    assert bool((detail(blurred(small, every), static) < (SMUDGE + SHARP) / 2).all())


def test_weights_rise_from_the_least_to_one() -> None:
    shares = torch.tensor([0.0, SMUDGE, (SMUDGE + SHARP) / 2, SHARP, 1.3])
    torch.testing.assert_close(frame_weights(shares, 0.1), torch.tensor([0.1, 0.1, 0.55, 1.0, 1.0]))
    assert torch.equal(frame_weights(shares, 1.0), torch.ones(5))


def _fitted(tmp_path: Path, clip: OrbitClip, *, keep: bool, weights: Tensor | None) -> Fit:
    static = creature_views()["static"]
    cfg = replace(TINY, coarse_steps=120, fine_steps=240, nodes=60)
    views = build_views(
        [clip],
        static,
        Recurrence(),
        mirror_weight=0.0,
        weights=None if weights is None else [weights],
        only_static_shapes=keep,
        device=CPU,
    )
    fit = Fit(cfg, views, TrainableAsset(surface_points(static, cfg.gaussians), cfg))
    fit.run(tmp_path / f"{keep} {weights is None}", Silent(), StopFlag())
    return fit


def _colour(fit: Fit) -> float:
    """How far red, green and blue are apart, on average over what the frames show of the object."""
    total = 0.0
    with torch.no_grad():
        for view in fit.views.driving:
            out = fit.render(fit.model.at(view.phase), view)
            total += float((out.rgb[0].amax(-1) - out.rgb[0].amin(-1)).sum() / out.alpha.sum())
    return total / len(fit.views.driving)


def test_the_object_keeps_its_colours_whatever_the_frames_show(tmp_path: Path) -> None:
    """The purpose of construct.canonical = static: grey frames move the object, and do not repaint it."""
    clip = creature_views()["dynamic"]
    grey = clip.frames.mean(dim=1, keepdim=True).expand(-1, 3, -1, -1)
    kept = _fitted(tmp_path, replace(clip, frames=grey.contiguous()), keep=True, weights=None)
    view = kept.views.static[0]
    true = float((view.rgb.amax(-1) - view.rgb.amin(-1)).sum() / view.alpha.sum())
    assert _colour(kept) > 0.8 * true
    moved = build_views([clip], None, Recurrence(), mirror_weight=0.0, device=CPU).driving
    at_rest = [replace(view, phase=None) for view in moved]
    assert mean_psnr(kept, moved) > mean_psnr(kept, at_rest) + 1.5
    free = _fitted(tmp_path, replace(clip, frames=grey.contiguous()), keep=False, weights=None)
    assert _colour(free) < 0.65 * true


def _distorted(fit: Fit, phases: list[float]) -> float:
    """How much distances between neighbouring Gaussians differ from those at rest: mean |logarithm|."""
    rest = fit.model.canonical(detach=True).means
    near = torch.cdist(rest, rest).topk(5, largest=False).indices[:, 1:]

    def lengths(means: Tensor) -> Tensor:
        return (means[:, None] - means[near]).norm(dim=-1).clamp_min(1e-4)

    with torch.no_grad():
        found = [
            (lengths(fit.model.at(phase).means) / lengths(rest)).log().abs().mean()
            for phase in phases
        ]
    return float(torch.stack(found).mean())


def test_the_object_stays_whole_where_frames_are_blurred(tmp_path: Path) -> None:
    """The purpose of construct.blurred, on a clip whose middle is blurred. It costs motion: what is left is
    nearer to the truth than the object at rest is."""
    clip = creature_views()["dynamic"]
    lost = list(range(4, len(clip) - 4))
    smudged = blurred(clip, lost)
    weights = frame_weights(detail(smudged, creature_views()["static"]), 0.05)
    taken = _fitted(tmp_path, smudged, keep=True, weights=None)
    doubted = _fitted(tmp_path, smudged, keep=True, weights=weights)
    true = build_views([clip], None, Recurrence(), mirror_weight=0.0, device=CPU).driving
    missing = [true[i] for i in lost]
    phases = [view.phase for view in missing if view.phase is not None]
    assert _distorted(doubted, phases) < 0.5 * _distorted(taken, phases)
    at_rest = [replace(view, phase=None) for view in missing]
    assert mean_psnr(doubted, missing) > mean_psnr(doubted, at_rest) + 0.3


@pytest.mark.parametrize("keep", [True, False])
def test_which_views_shape_the_object(keep: bool) -> None:
    clips = creature_views()
    views = build_views(
        [clips["dynamic"]],
        clips["static"],
        Recurrence(looping=True, mirror_azimuth=0.0),
        mirror_weight=0.5,
        weights=[torch.linspace(0, 1, len(clips["dynamic"]))],
        only_static_shapes=keep,
        device=CPU,
    )
    assert all(view.shapes != keep for view in views.driving)
    assert all(view.shapes for view in views.static)
    assert not any(view.shapes for view in views.moving if view.mirrored)
    assert [view.weight for view in views.driving] == pytest.approx(
        torch.linspace(0, 1, len(views.driving)).tolist()
    )
    alone = build_views(
        [clips["dynamic"]],
        None,
        Recurrence(),
        mirror_weight=0.0,
        only_static_shapes=keep,
        device=CPU,
    )
    assert all(view.shapes for view in alone.driving)  # nothing else shows the object


def _constructed(
    clip: OrbitClip, static: OrbitClip, cfg: ConstructConfig, place: Path, reporter: Reporter
) -> Path:
    """The folder of the asset of `clip`, below `place`."""
    folder, scratch = place / "asset", place / "scratch"
    for path in (folder, scratch):
        path.mkdir(parents=True)
    inputs = ConstructInput(clips=[clip], static=static)
    where = {"folder": folder, "scratch": scratch}
    construct(inputs, cfg, **where, device=CPU, reporter=reporter, stop=StopFlag())
    return folder


def test_a_finer_static_orbit_makes_a_finer_object(tmp_path: Path) -> None:
    """The clip has 32 pixels, the object's own pictures 64: they alone say how it looks."""
    clip, static = creature_views(0, 32)["dynamic"], creature_views(0, 64)["static"]
    found = {}
    for canonical in ("all", "static"):
        cfg = replace(TINY, resolution=32, nodes=60, canonical=canonical, static_steps=200)
        asset = load_asset(_constructed(clip, static, cfg, tmp_path / canonical, Silent()))
        assert asset.canonical.fitted is not None
        wide = 2 if canonical == "static" else 1
        assert asset.canonical.fitted.focal == pytest.approx(wide * float(clip.cameras.K[0, 0, 0]))
        seen = render_clip(asset, static.cameras, torch.zeros(len(static))).frames
        found[canonical] = float(psnr(seen, static.over(torch.ones(3))).mean())
    assert found["static"] > found["all"] + 2


def _say(clip: OrbitClip, static: OrbitClip, resolution: int, tmp_path: Path) -> list[str]:
    """What a short fit says of the frames' detail."""
    cfg = replace(TINY, resolution=resolution, canonical="static", blurred=0.05)
    cfg = replace(cfg, static_steps=2, coarse_steps=2, fine_steps=2)
    notes = Recorder()
    _constructed(clip, static, cfg, tmp_path, notes)
    return [text for text in notes.notes if "detail" in text]


@pytest.mark.parametrize("resolution", [64, 0])
def test_enlarged_frames_are_no_smudges(resolution: int, tmp_path: Path) -> None:
    """A sharp clip of 32 pixels beside pictures of 64, fitted at 64 or at its own size."""
    clip, static = creature_views(0, 32)["dynamic"], creature_views(0, 64)["static"]
    assert _say(clip, static, resolution, tmp_path) == []


def test_a_blurred_clip_is_said_to_be_one(tmp_path: Path) -> None:
    clip, static = creature_views(0, 32)["dynamic"], creature_views(0, 64)["static"]
    assert len(_say(blurred(clip, list(range(len(clip)))), static, 64, tmp_path)) == 1


def test_a_white_object_on_white_has_no_detail_to_lose() -> None:
    views = creature_views()
    white = {
        name: replace(clip, frames=torch.ones_like(clip.frames)) for name, clip in views.items()
    }
    assert torch.equal(detail(white["dynamic"], white["static"]), torch.ones(len(views["dynamic"])))


def test_frames_from_which_a_model_lost_the_object_are_left_out(tmp_path: Path) -> None:
    """A model that does not know where an object went may fade it out."""
    clip, static = creature_views(0, 32)["dynamic"], creature_views(0, 64)["static"]
    cfg = replace(TINY, resolution=32, canonical="static", blurred=0.05)
    cfg = replace(cfg, static_steps=2, coarse_steps=2, fine_steps=2)

    def without(numbers: list[int]) -> OrbitClip:
        assert clip.alpha is not None
        alpha = clip.alpha.clone()
        alpha[numbers] = 0
        return replace(clip, alpha=alpha)

    said = Silent()
    made = load_asset(_constructed(without([2, 3]), static, cfg, tmp_path / "lost", said))
    assert [text for text in said.warnings if f"2 frames of {len(clip)} without the object" in text]
    rest = [number for number in range(len(clip)) if number not in (2, 3)]
    same = load_asset(_constructed(subset(clip, rest), static, cfg, tmp_path / "rest", Silent()))
    assert torch.equal(made.canonical.means, same.canonical.means)
    faded = subset(clip, list(range(len(clip))))  # on white, as a model draws: without a mask
    frames = faded.over(torch.ones(3))
    frames[2], frames[3] = 1.0, 1 - 0.1 * (1 - frames[3])
    told = Silent()
    _constructed(replace(faded, frames=frames, alpha=None), static, cfg, tmp_path / "faded", told)
    assert [text for text in told.warnings if f"2 frames of {len(clip)} without the object" in text]
    most = without(list(range(len(clip) // 2 + 1)))
    with pytest.raises(InputError, match="frames are empty"):
        _constructed(most, static, cfg, tmp_path / "most", Silent())
