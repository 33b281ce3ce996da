"""What `construct` gathers from its clips: priors of all of them, and a static orbit sampled once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from orster_cli.config.load import resolve
from orster_cli.core.reporting import Silent
from orster_cli.inputs import construct_plan
from orster_cli.inputs.clips import OpenedClip
from orster_cli.inputs.construct_plan import joined_prior, plan_construct
from orster_cli.inputs.video import OrbitFlags
from orster_cli.splatting.st_hexplane import MAX_TOKENS
from tests.helpers.constructing import ball_clip


def _opened(tokens: int, width: int = 6, start: float = 0.0) -> OpenedClip:
    priors = {}
    if tokens:
        values = start + torch.arange(tokens, dtype=torch.float32)
        priors["spatial"] = values[:, None].expand(tokens, width).clone()
    return OpenedClip(clip=ball_clip(), static=None, parents=[], inputs=[], priors=priors)


def test_the_priors_of_all_clips_are_used() -> None:
    found = joined_prior([_opened(5), _opened(0), _opened(7, start=100)], "spatial", Silent())
    assert found is not None
    assert found[:, 0].tolist() == [*range(5), *range(100, 107)]
    assert joined_prior([_opened(5)], "temporal", Silent()) is None


def test_more_tokens_than_the_field_takes_are_pooled_clip_by_clip() -> None:
    found = joined_prior([_opened(128), _opened(128, start=1000)], "spatial", Silent())
    assert found is not None
    assert len(found) == MAX_TOKENS
    assert float(found[:64].max()) < 128
    assert float(found[64:].min()) >= 1000


def test_priors_of_another_model_are_left_out_with_a_warning() -> None:
    reporter = Silent()
    found = joined_prior([_opened(5), _opened(5, width=9)], "spatial", reporter)
    assert found is not None
    assert found.shape == (5, 6)
    assert any("1 of 2 clips" in text for text in reporter.warnings)


def test_a_resumed_run_does_not_sample_the_static_orbit_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second start reads the very tensors that the first one sampled."""
    clip = _opened(0)
    config = resolve(template="construct-fast").config
    plan = plan_construct([clip], config, orbit=OrbitFlags(), reporter=Silent())
    sampled: list[Any] = []

    def sample(*_: Any) -> Any:
        g = torch.Generator().manual_seed(len(sampled))
        frames = torch.rand(clip.clip.frames.shape, generator=g)
        sampled.append(replace(clip.clip, frames=frames, times=torch.zeros(len(clip.clip))))
        return sampled[-1]

    monkeypatch.setattr(construct_plan, "_sampled_orbit", sample)
    first, second = (
        construct_plan._sampled_once(plan, None, tmp_path / "scratch", "cpu", Silent())  # type: ignore[arg-type]
        for _ in range(2)
    )
    assert len(sampled) == 1
    assert torch.equal(first.frames, second.frames)
    assert first.alpha is not None
    assert second.alpha is not None
    assert torch.equal(first.alpha, second.alpha)
    assert torch.equal(first.cameras.w2c, second.cameras.w2c)
    assert torch.equal(first.times, second.times)
