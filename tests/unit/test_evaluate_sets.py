"""Distances of sets: what counts, how often, and when they are refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from orster_cli.config.evaluate import EvaluateConfig
from orster_cli.core.reporting import Silent
from orster_cli.evaluation.evaluate_pairs import (
    EvaluationResult,
    PlannedPair,
    UnusedReference,
    evaluate_pairs,
    summary,
)
from orster_cli.evaluation.features import Features
from orster_cli.evaluation.networks import Networks, NetworkSource
from orster_cli.evaluation.videos import GaussianScene, StaticGaussians, Video
from orster_cli.evaluation.views import Condition, EvaluationPair
from orster_cli.metrics.frechet import Moments, frechet_distance
from tests.helpers.clips import blob_gaussians

CFG = EvaluateConfig(least_clips=3, resolution=32, frames=9, grid_views=9, grid_moments=9)


class Colours(Networks):
    """The mean colours of a clip's first frames stand for I3D's logits; frames' mean colours for CLIP's
    vectors: what is tested here is the bookkeeping around the networks."""

    def __init__(self, cfg: EvaluateConfig) -> None:
        super().__init__([], cfg, torch.device("cpu"))
        self.sources = {
            key: NetworkSource(about=key, sha256=key, load=lambda: None) for key in ("i3d", "clip")
        }

    def videos(self, clips: Sequence[Tensor]) -> Tensor:
        return torch.stack([clip[:4].mean(dim=(2, 3)).flatten().float() for clip in clips])

    def images(self, key: str, frames: Tensor) -> Tensor:
        return torch.nn.functional.normalize(frames.mean(dim=(2, 3)), dim=-1)

    def text(self, key: str, text: str) -> Tensor:
        return torch.nn.functional.normalize(torch.tensor([1.0, float(len(text)), 0.0]), dim=0)


def _clip(seed: int, frames: int = 9) -> Video:
    noise = torch.rand(frames, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    return Video(name=f"c{seed}", frames=noise)


def _run(
    pairs: list[EvaluationPair],
    unused: list[Video] | None = None,
    names: tuple[str, ...] = ("fvd",),
) -> EvaluationResult:
    return evaluate_pairs(
        [PlannedPair(name=pair.name, load=lambda pair=pair: pair) for pair in pairs],  # type: ignore[misc]
        [UnusedReference(name=one.name, load=lambda one=one: one) for one in unused or []],  # type: ignore[misc]
        names,
        Features(Colours(CFG), None),
        CFG,
        Silent(),
    )


def _against(ours: Video, reference: Video | None) -> EvaluationPair:
    name = "" if reference is None else reference.name
    return EvaluationPair(name=ours.name, subject=ours, reference=reference, reference_name=name)


def _expected(ours: list[Video], theirs: list[Video]) -> float:
    sides = []
    for clips in (ours, theirs):
        moments = Moments()
        moments.add(Colours(CFG).videos([clip.frames for clip in clips]))
        sides.append(moments)
    return frechet_distance(*sides)


def test_pairs_and_the_rest_of_the_reference_set() -> None:
    ours = [_clip(i) for i in range(4)]
    theirs = [_clip(i) for i in range(10, 17)]
    pairs = [_against(a, b) for a, b in zip(ours, theirs, strict=False)]
    result = _run(pairs, unused=theirs[4:])
    assert result.set_sizes["fvd"] == (4, 7)
    assert result.set_values["fvd"] == pytest.approx(_expected(ours, theirs), rel=1e-9)


def test_without_pairs_the_set_alone_is_the_reference() -> None:
    ours, theirs = [_clip(i) for i in range(4)], [_clip(i) for i in range(10, 15)]
    result = _run([_against(a, None) for a in ours], unused=theirs)
    assert result.set_values["fvd"] == pytest.approx(_expected(ours, theirs), rel=1e-9)
    found = summary(result, ("fvd",), CFG)["fvd"]
    assert (found["objects"], found["reference_objects"], found["interval"]) == (4, 5, None)


def test_a_reference_that_all_share_counts_once_and_is_too_few() -> None:
    one = _clip(9)
    result = _run([_against(_clip(i), one) for i in range(4)])
    assert result.set_values == {}
    assert "needs at least 3 clips on each side, got 4 and 1" in result.unavailable["fvd"]["why"]
    assert "larger --reference" in result.unavailable["fvd"]["get"]


def test_a_share_of_the_sets_has_no_distance() -> None:
    pairs = [_against(_clip(i), _clip(i + 10)) for i in range(4)]
    planned = [PlannedPair(name=pair.name, load=lambda pair=pair: pair) for pair in pairs]
    reporter = Silent()
    features = Features(Colours(CFG), None)
    result = evaluate_pairs(planned, [], ("fvd",), features, CFG, reporter, whole=False)
    assert (result.set_values, result.unavailable, reporter.warnings) == ({}, {}, [])


def test_one_clip_is_too_few() -> None:
    result = _run([_against(_clip(0), _clip(1))], unused=[_clip(2), _clip(3)])
    assert "got 1 and 3" in result.unavailable["fvd"]["why"]
    assert "more subjects" in result.unavailable["fvd"]["get"]


def test_assets_are_a_set_beside_videos_without_cameras() -> None:
    scene = GaussianScene(StaticGaussians(blob_gaussians()))
    cfg = replace(CFG, frames=9, resolution=16)
    pairs = [
        EvaluationPair(name=f"s{i}", subject=scene, reference=_clip(i), reference_name=f"c{i}")
        for i in range(4)
    ]
    planned = [PlannedPair(name=pair.name, load=lambda pair=pair: pair) for pair in pairs]
    features = Features(Colours(cfg), None)
    result = evaluate_pairs(planned, [], ("fvd",), features, cfg, Silent())
    assert result.set_sizes["fvd"] == (4, 4)


def test_clips_of_different_lengths_are_no_one_set() -> None:
    ours = [_against(_clip(i), None) for i in range(4)]
    theirs = [_clip(i, frames=12) for i in range(10, 14)]
    result = _run(ours, unused=theirs)
    assert "different lengths (9, 12 frames)" in result.unavailable["fvd"]["why"]
    short = _run([_against(_clip(i, frames=5), None) for i in range(4)], unused=theirs)
    assert "needs 9 frames or more, a clip has 5" in short.unavailable["fvd"]["why"]


def test_image_matrices_of_scenes() -> None:
    scenes = [GaussianScene(StaticGaussians(blob_gaussians(20, seed=i))) for i in range(6)]
    pairs = [
        EvaluationPair(
            name=f"s{i}", subject=scenes[i], reference=scenes[i + 3], reference_name=f"r{i}"
        )
        for i in range(3)
    ]
    names = ("fvd-f", "fvd-v", "fvd-diag", "fv4d")
    result = _run(pairs, names=names)
    assert result.set_sizes == {
        "fvd-f": (27, 27), "fvd-v": (27, 27), "fvd-diag": (27, 27), "fv4d": (3, 3)
    }  # fmt: skip
    same = [replace(pair, reference=pair.subject) for pair in pairs]
    assert all(v == pytest.approx(0, abs=1e-7) for v in _run(same, names=names).set_values.values())
    clips = _run([_against(_clip(i), _clip(i + 5)) for i in range(3)], names=("fvd-f",))
    assert "an image matrix needs all" in clips.unavailable["fvd-f"]["why"]


def test_azimuths_that_are_held_are_a_video_each() -> None:
    cfg = replace(CFG, azimuths=(15.0, 105.0, 195.0))
    scenes = [GaussianScene(StaticGaussians(blob_gaussians(20, seed=i))) for i in range(2)]
    pair = EvaluationPair(name="s", subject=scenes[0], reference=scenes[1], reference_name="r")
    planned = [PlannedPair(name="s", load=lambda: pair)]
    features = Features(Colours(cfg), None)
    result = evaluate_pairs(planned, [], ("fvd", "fvd-c4d"), features, cfg, Silent())
    assert result.set_sizes["fvd"] == (3, 3)
    own = replace(_clip(0, frames=27), cameras=None)  # a clip's frames are its own, however many
    held = evaluate_pairs(
        [PlannedPair(name="c", load=lambda: EvaluationPair(name="c", subject=own))],
        [],
        ("fvd",),
        features,
        cfg,
        Silent(),
    )
    assert "got 1 and 0" in held.unavailable["fvd"]["why"]


def test_clip_scores_go_by_what_was_asked_for() -> None:
    green = torch.zeros(3, 8, 8)
    green[1] = 1
    ours = _clip(0)
    frames = Colours(CFG).images("clip", ours.frames)
    to_text = float((frames @ Colours(CFG).text("clip", "frog")).mean())
    to_image = float(frames[:, 1].mean())

    def scores(condition: Condition, reference: Video | None = None) -> dict[str, float | None]:
        pair = replace(_against(ours, reference), condition=condition)
        return _run([pair], names=("clip-o",)).subjects[0].mean

    both = scores(Condition(text="frog", image=green))
    assert both == pytest.approx(
        {"clip-o": to_image, "clip-o_image": to_image, "clip-o_text": to_text}
    )
    text = scores(Condition(text="frog"))
    assert text["clip-o"] == pytest.approx(to_text)
    assert text["clip-o_image"] is None
    shown = scores(Condition(), reference=replace(ours, frames=green.expand(9, -1, -1, -1)))
    assert shown["clip-o"] == pytest.approx(to_image)
    result = _run([_against(ours, None)], names=("clip-o",))
    assert "neither the text nor the image" in result.unavailable["clip-o"]["why"]


def test_front_frames_are_known_by_their_cameras() -> None:
    scene = GaussianScene(StaticGaussians(blob_gaussians()))
    result = _run(
        [EvaluationPair(name="s", subject=scene, condition=Condition(text="frog"))],
        names=("clip-f",),
    )
    assert result.subjects[0].mean["clip-f"] is not None
    video = _run([_against(_clip(0), None)], names=("clip-f",))
    assert "no known front view" in video.unavailable["clip-f"]["why"]
