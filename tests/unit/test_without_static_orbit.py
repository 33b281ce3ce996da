"""A fit whose object is shown by moving frames alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from orster_cli.config.construct import ConstructConfig
from orster_cli.config.prepare import PrepareConfig
from orster_cli.construction import fit_asset
from orster_cli.construction.asset import load_asset
from orster_cli.construction.fit_asset import ConstructInput, construct, without_static_orbit
from orster_cli.core.reporting import Silent
from orster_cli.core.stopping import StopFlag
from orster_cli.dataset.views import normalize_object, render_view
from orster_cli.geometry.orbit import clip_times, orbit_azimuths, orbit_cameras
from orster_cli.gltf.load import load_gltf
from orster_cli.metrics.psnr import psnr
from orster_cli.splatting.render_asset import render_clip
from tests.helpers.constructing import CPU, CREATURE

SIDE, FRAMES = 48, 24
CFG = ConstructConfig(
    resolution=SIDE,
    gaussians=1200,
    max_gaussians=1600,
    static_steps=300,
    coarse_steps=300,
    fine_steps=500,
)


def test_the_motion_gets_the_steps_that_would_fit_a_blur() -> None:
    cfg = ConstructConfig()
    changed = without_static_orbit(cfg)
    assert changed.static_steps < cfg.static_steps / 2
    assert changed.static_steps + changed.coarse_steps == cfg.static_steps + cfg.coarse_steps
    assert replace(changed, static_steps=cfg.static_steps, coarse_steps=cfg.coarse_steps) == cfg


@pytest.mark.slow
def test_it_is_better_at_the_given_frames_and_from_the_unseen_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare = PrepareConfig(frames=FRAMES, resolution=SIDE, supersample=2)
    placed = normalize_object(load_gltf(CREATURE), 0, prepare)
    times = clip_times(FRAMES).float()
    clips = [
        render_view(
            placed,
            orbit_cameras(orbit_azimuths(FRAMES, start=start), width=SIDE, height=SIDE),
            times,
            prepare,
            None,
        )
        for start in (0.0, 120.0)
    ]
    found = {}
    for name, rule in {"blur first": lambda cfg: cfg, "motion soon": without_static_orbit}.items():
        monkeypatch.setattr(fit_asset, "without_static_orbit", rule)
        folder = tmp_path / name
        folder.mkdir()
        content = construct(
            ConstructInput(clips=clips[:1]),
            CFG,
            folder=folder,
            scratch=folder / "scratch",
            device=CPU,
            reporter=Silent(),
            stop=StopFlag(),
        ).content
        shown = render_clip(load_asset(folder), clips[1].cameras, times).frames
        found[name] = content["psnr"], float(psnr(shown, clips[1].over()).mean())
    print(found)
