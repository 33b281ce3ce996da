"""A fit whose object is shown by moving frames alone: its motion begins sooner."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from orster_cli.config.construct import ConstructConfig
from orster_cli.construction.fit_asset import ConstructInput, construct, without_static_orbit
from orster_cli.core.reporting import Silent
from orster_cli.core.stopping import StopFlag
from tests.helpers.constructing import CPU, TINY, creature_views

CFG = replace(TINY, static_steps=100, coarse_steps=20, fine_steps=20, gaussians=300)


class Stages(Silent):
    """Counts the reports of each stage of a fit, one every ten steps."""

    def __init__(self) -> None:
        super().__init__()
        self.reports: dict[str, int] = {}

    def step(self, stage: str, done: int, total: int, **figures: float | int | str) -> None:
        del done, figures
        assert total == CFG.static_steps + CFG.coarse_steps + CFG.fine_steps
        self.reports[stage] = self.reports.get(stage, 0) + 1


def test_the_motion_gets_the_steps_that_would_fit_a_blur() -> None:
    cfg = ConstructConfig()
    changed = without_static_orbit(cfg)
    assert changed.static_steps < cfg.static_steps / 2
    assert changed.static_steps + changed.coarse_steps == cfg.static_steps + cfg.coarse_steps
    assert replace(changed, static_steps=cfg.static_steps, coarse_steps=cfg.coarse_steps) == cfg


@pytest.mark.slow
@pytest.mark.parametrize(("given", "static"), [(True, 10), (False, 3)])
def test_only_where_no_static_orbit_is_given(tmp_path: Path, given: bool, static: int) -> None:
    clips = creature_views()
    stages = Stages()
    construct(
        ConstructInput(clips=[clips["dynamic"]], static=clips["static"] if given else None),
        CFG,
        folder=tmp_path,
        scratch=tmp_path / "scratch",
        device=CPU,
        reporter=stages,
        stop=StopFlag(),
    )
    assert stages.reports == {
        "construct: static": static,
        "construct: coarse": 12 - static,
        "construct: fine": 2,
    }
