"""The pictures beside a sampled clip show its object, not the margin around it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from orster_cli.construction.preview import write_sheet
from orster_cli.core.frames import resize
from orster_cli.core.reporting import Silent
from orster_cli.io.clip_files import write_clip
from orster_cli.io.images import PADDING, contact_sheet, cut_to_object, read_image
from orster_cli.io.video import read_video
from orster_cli.sampling.sample_clips import SampledClip
from orster_cli.sampling.sampled_clip import sampled_sheet
from tests.helpers.clips import disc_clip

OFF_WHITE = 0.93


def test_frames_are_cut_to_the_object_and_on_white() -> None:
    clip = disc_clip(4, width=64, height=64)
    assert clip.alpha is not None
    cut = cut_to_object(clip.frames * clip.alpha + (1 - clip.alpha) * OFF_WHITE)
    assert len(cut) == 4
    seen = clip.alpha.amax((0, 1)) > 0.5  # of all frames together
    width = int(seen.any(0).sum())
    assert width >= int(seen.any(1).sum())
    assert {tuple(one.shape) for one in cut} == {(3, width + 2 * PADDING, width + 2 * PADDING)}
    assert all(float(one[:, 0, 0].min()) == 1.0 for one in cut)
    assert all((one[1] < 0.5).sum() == (clip.alpha[i] > 0.5).sum() for i, one in enumerate(cut))


def test_frames_without_an_object_stay_as_they_are() -> None:
    noise = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert torch.equal(torch.stack(cut_to_object(noise)), noise)


def test_the_sheet_has_the_static_orbit_and_the_given_image() -> None:
    clip = disc_clip(8, width=64, height=64)
    image = torch.zeros(3, 64, 64)
    image[0] = 1
    sampled = SampledClip(clip=clip, priors={}, seed=0, static=disc_clip(8, width=64, height=64))
    sheet = sampled_sheet(sampled, image)
    alone = sampled_sheet(SampledClip(clip=clip, priors={}, seed=0), None)
    assert sheet.shape[2] == alone.shape[2]
    rows = [round(one.shape[1] / alone.shape[1]) for one in (sheet, alone)]
    assert rows == [3, 1]
    tile = sheet[:, -70, 40]
    assert torch.equal(tile, torch.tensor([1.0, 0, 0]))


def test_both_rows_of_a_sheet_have_one_scale() -> None:
    """Also where the object's own pictures are larger than the clip's."""
    clip, large = (replace(disc_clip(8, width=w, height=w), prompt="x") for w in (32, 64))
    large = replace(large, frames=resize(clip.frames, 64, 64), alpha=None)
    sheet = sampled_sheet(SampledClip(clip=clip, priors={}, seed=0, static=large), None)
    middle = sheet.shape[1] // 2
    widths = [
        int(((half - 1).abs().amax(0) > 0.3)[20:-20, :130].any(0).sum())
        for half in (sheet[:, :middle], sheet[:, middle:])
    ]
    assert widths[0] > 40
    assert abs(widths[0] - widths[1]) <= 4


def test_the_sheet_of_an_asset_is_cut_to_the_object_and_hides_nothing(tmp_path: Path) -> None:
    clip = disc_clip(8, width=64, height=64)
    given = clip.over()
    faint = given.clone()
    faint[:, :, 32, 32:40] = 0.95  # a flaw that is hardly visible
    write_sheet(tmp_path / "a.png", clip, faint)
    sheet = read_image(tmp_path / "a.png")
    whole = contact_sheet([list(given), list(faint)], ["given", "constructed"])
    objects = [int(((one - 1).abs().amax(0) > 0.3).sum()) for one in (sheet, whole)]
    assert objects[0] > 2 * objects[1]  # the object fills its tile
    below = sheet[:, sheet.shape[1] // 2 :]
    assert bool(((below - 0.95).abs().amax(0) < 0.01).any())


def test_the_preview_is_large_and_loops(tmp_path: Path) -> None:
    write_clip(tmp_path / "a", disc_clip(4, width=20, height=20), side=50, loops=3)
    frames = read_video(tmp_path / "a" / "preview.mp4", Silent())
    assert frames.shape == (12, 3, 60, 60)
    assert float((frames[0] - frames[4]).abs().mean()) < 0.02
    assert float((frames[0] - frames[2]).abs().mean()) > 0.02
