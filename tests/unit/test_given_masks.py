"""Masks that are none, inverted, empty or full, shadows, bars and fades: what is made of them, and what is
said."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from orster_cli.core.errors import InputError
from orster_cli.core.reporting import Silent
from orster_cli.core.types import OrbitClip
from orster_cli.inputs.video import OrbitFlags, clip_from_frames, read_frames_clip
from orster_cli.io.borders import cut_bars, without_fades
from orster_cli.io.images import read_image
from orster_cli.io.masks import check_masks
from orster_cli.io.matting import matte
from orster_cli.io.shadows import shadow_share
from tests.helpers.cases import case
from tests.helpers.clips import disc_clip
from tests.helpers.constructing import ball_clip

GIVEN = OrbitFlags(turns=1.0)


def _checked(clip: OrbitClip) -> tuple[OrbitClip, list[str]]:
    heard = Silent()
    return check_masks(clip, "clip", heard), heard.warnings


def test_an_opaque_alpha_is_no_mask() -> None:
    folder, heard = case("opaque_rgba"), Silent()
    clip = read_frames_clip(folder, GIVEN, heard)
    rgb = torch.stack([read_image(folder / f"{i:04d}.png")[:3] for i in range(24)])
    assert torch.equal(clip.alpha, matte(rgb, where="rgb").alpha)
    assert 0.05 < float(clip.alpha.mean()) < 0.5
    assert "all 24 frames, so it is no mask" in heard.warnings[0]


def test_an_almost_opaque_alpha_of_a_camera_file_is_no_mask() -> None:
    clip = ball_clip(4)
    found, said = _checked(replace(clip, alpha=torch.full_like(clip.alpha, 254 / 255)))
    assert found.alpha is None
    assert "opaque everywhere in all 4 frames" in said[0]


def test_inverted_masks_are_turned_round() -> None:
    clip = ball_clip(6)
    found, said = _checked(replace(clip, alpha=1 - clip.alpha))
    assert torch.equal(found.alpha, clip.alpha)
    assert "the masks of 6 of 6 frames cover the border" in said[0]


def test_single_masks_that_fill_or_invert_are_named() -> None:
    clip = ball_clip(6)
    full, inverted = clip.alpha.clone(), clip.alpha.clone()
    full[[2, 4]] = 1
    inverted[3] = 1 - inverted[3]
    with pytest.raises(InputError, match=r"masks of 2 of 6 frames fill .*frame 2"):
        _checked(replace(clip, alpha=full))
    with pytest.raises(InputError, match=r"masks of 1 of 6 frames cover .*frame 3"):
        _checked(replace(clip, alpha=inverted))


def test_empty_masks_are_left_out_and_the_others_stay_where_they_are() -> None:
    clip = ball_clip(6)
    alpha = clip.alpha.clone()
    alpha[[0, 3]] = 0
    heard = Silent()
    found = clip_from_frames(clip.frames, alpha, GIVEN, where="clip", reporter=heard)
    assert [round(a) for a in (found.cameras.azimuths % 360).tolist()] == [60, 120, 240, 300]
    assert found.times.tolist() == pytest.approx([0, 0.25, 0.75, 1])
    assert "2 frames of 6 without the object left out, the first is frame 0" in heard.warnings[0]
    alpha[[1, 2]] = 0
    with pytest.raises(InputError, match="masks of 4 of 6 frames are empty"):
        _checked(replace(clip, alpha=alpha))


def test_an_object_that_leaves_the_frame_is_said() -> None:
    clip = ball_clip(6)
    alpha = clip.alpha.clone()
    alpha[4] = alpha[4].roll(28, dims=-1)
    alpha[4, :, :, :28] = 0
    found, said = _checked(replace(clip, alpha=alpha))
    assert len(found) == 6
    assert "cut off by the frame in 1 of 6 frames (the first is frame 4)" in said[0]
    assert _checked(clip)[1] == []


def _on_floor(shadow: bool, shade: float = 0.35) -> torch.Tensor:
    """A red box on white, with or without a soft grey shadow below it."""
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    frame = torch.ones(3, 64, 64)
    if shadow:
        far = ((x - 32) / 22) ** 2 + ((y - 48) / 8) ** 2
        frame -= shade * (1 - far).clamp(0, 1)
    box = (x > 24) & (x < 40) & (y > 16) & (y < 48)
    frame[:, box] = torch.tensor([0.8, 0.2, 0.1])[:, None]
    return frame.expand(3, 3, 64, 64).clone()


def test_a_soft_shadow_is_said_and_a_grey_object_is_not() -> None:
    shares = {}
    grey = _on_floor(False)
    grey[:, :, 16:48, 25:40] = 0.6
    for name, frames in (("shadow", _on_floor(True)), ("none", _on_floor(False)), ("grey", grey)):
        found = matte(frames, where=name)
        shares[name] = shadow_share(frames, found.alpha, found.behind)
        heard = Silent()
        clip_from_frames(frames, None, GIVEN, where=name, reporter=heard)
        assert any("shadow" in text for text in heard.warnings) == (name == "shadow")
    assert shares["shadow"] > 0.2
    assert shares["none"] == shares["grey"] == 0


def test_pillar_boxes_are_cut_off() -> None:
    frames = disc_clip(5, alpha=False).frames
    boxed = torch.zeros(5, 3, 24, 60)
    boxed[..., 12:44] = frames
    heard = Silent()
    assert torch.equal(cut_bars(boxed, "v", heard), frames)
    assert "bars of 12 and 16 columns" in heard.warnings[0]
    clip = clip_from_frames(boxed, None, GIVEN, where="v", reporter=Silent())
    assert (clip.cameras.width, clip.cameras.height) == (32, 24)
    letter = torch.zeros(5, 3, 40, 32)
    letter[:, :, 8:32] = frames
    assert torch.equal(cut_bars(letter, "v", heard), frames)
    assert torch.equal(cut_bars(frames, "v", heard), frames)


def test_fades_are_left_out() -> None:
    frames = disc_clip(12, alpha=False).frames.clone()
    frames[0] *= 0.2
    frames[1] *= 0.6
    frames[11] = 1.0
    heard = Silent()
    assert without_fades(frames, "v", heard).tolist() == [False] * 2 + [True] * 9 + [False]
    assert "3 frames of 12" in heard.warnings[0]
    clip = clip_from_frames(frames, None, GIVEN, where="v", reporter=Silent())
    assert [round(a) for a in (clip.cameras.azimuths % 360).tolist()] == list(range(60, 330, 30))
    whole = disc_clip(12, alpha=False).frames
    assert bool(without_fades(whole, "v", Silent()).all())


def test_masks_of_a_clip_folder_are_checked(tmp_path: Path) -> None:
    from orster_cli.inputs.clips import open_clip
    from orster_cli.io.clip_files import write_clip

    clip = ball_clip(4)
    write_clip(tmp_path / "clip", replace(clip, alpha=torch.ones_like(clip.alpha)))
    heard = Silent()
    assert open_clip(str(tmp_path / "clip"), OrbitFlags(), heard).clip.alpha is None
    assert "no mask" in heard.warnings[0]
