"""What may be constructed, what is assumed, and what is refused with a reason."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from orster_cli.artifacts.store import open_artifact
from orster_cli.config.construct import ConstructConfig
from orster_cli.config.prepare import PrepareConfig
from orster_cli.config.schema import Config
from orster_cli.construction.fit_asset import limit_to_clip_detail
from orster_cli.construction.fit_input import beats, picture_travel, prepare_clip
from orster_cli.core.errors import ConfigError, InputError
from orster_cli.core.reporting import Silent
from orster_cli.core.types import OrbitClip
from orster_cli.inputs.clips import open_clip
from orster_cli.inputs.construct_plan import plan_construct
from orster_cli.inputs.prepare_plan import plan_prepare
from orster_cli.inputs.video import (
    VIDEO_FRAMES,
    OrbitFlags,
    clip_from_frames,
    read_frames_clip,
    read_video_clip,
)
from orster_cli.io.clip_files import write_clip
from orster_cli.io.images import write_png
from orster_cli.io.transforms_json import TRANSFORMS, write_transforms
from orster_cli.io.video import write_video
from tests.helpers.artifacts import make
from tests.helpers.constructing import ball_clip, subset
from tests.helpers.recording import Recorder


def _frames(count: int, side: int = 40) -> torch.Tensor:
    frames = torch.ones(count, 3, side, side)
    for i in range(count):
        frames[i, :, 10:30, 8 + i % 10 : 28 + i % 10] = 0.3
    return frames


def test_a_plain_video_says_its_orbit(tmp_path: Path) -> None:
    path = tmp_path / "object.mp4"
    write_video(path, list(_frames(8)))
    heard = Recorder()
    clip = read_video_clip(path, OrbitFlags(turns=-1, elevation=12), heard)
    assert len(clip) == 8
    assert float(clip.alpha[0].mean()) == pytest.approx(0.25, abs=0.03)
    assert "1 turn(s) clockwise" in " ".join(heard.lines)
    assert "elevation 12 deg" in " ".join(heard.lines)
    assert heard.warnings == []
    position = clip.cameras.positions[2]  # a quarter clockwise: at -X
    assert float(position[0]) == pytest.approx(-2 * math.cos(math.radians(12)), abs=1e-4)


def test_a_still_camera_is_warned_about(tmp_path: Path) -> None:
    heard = Silent()
    clip = clip_from_frames(_frames(5), None, OrbitFlags(turns=0), where="x", reporter=heard)
    assert "cannot be known" in heard.warnings[0]
    assert torch.equal(clip.cameras.w2c[0], clip.cameras.w2c[4])


def test_long_videos_are_thinned_aloud() -> None:
    from orster_cli.inputs.video import thinned

    heard = Silent()
    frames = torch.arange(300.0).reshape(300, 1, 1, 1)
    kept = frames[thinned(len(frames), "long.mp4", heard)]
    assert len(kept) == VIDEO_FRAMES
    assert (kept[0].item(), kept[-1].item()) == (0.0, 299.0)
    assert "300 frames" in heard.warnings[0]


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ({"elevation": 95}, "--elevation"),
        ({"radius": 0.2}, "--radius"),
        ({"radius": float("nan")}, "--radius"),
        ({"fov": 0}, "--fov"),
        ({"turns": 1e9}, "--turns"),
    ],
)
def test_impossible_orbits(flags: dict[str, float], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        OrbitFlags(**flags).check()


def test_one_frame_is_no_clip() -> None:
    with pytest.raises(InputError, match="at least 2"):
        clip_from_frames(_frames(1), None, OrbitFlags(), where="x.mp4", reporter=Silent())


def test_an_empty_mask_is_named() -> None:
    clip = ball_clip(frames=6)
    alpha = clip.alpha.clone()
    alpha[3] = 0
    broken = OrbitClip(frames=clip.frames, alpha=alpha, cameras=clip.cameras, times=clip.times)
    with pytest.raises(InputError, match="mask of frame 3 is empty"):
        prepare_clip(broken, 32, where="clip")


def test_resizing_averages_what_is_seen() -> None:
    """Half-covered pixels keep the object's colour: what lies under the mask does not bleed in."""
    clip = ball_clip(frames=3, side=64)
    frames = torch.where(clip.alpha > 0, clip.frames, torch.tensor(0.9))
    given = OrbitClip(frames=frames, alpha=clip.alpha, cameras=clip.cameras, times=clip.times)
    small = prepare_clip(given, 16, where="clip")
    assert small.frames.shape == (3, 3, 16, 16)
    edge = (small.alpha > 0.1) & (small.alpha < 0.9)
    assert bool(edge.any())
    colours = small.frames.permute(0, 2, 3, 1)[edge[:, 0]]
    assert torch.allclose(colours, torch.full_like(colours, 0.4), atol=1e-4)
    assert torch.allclose(small.cameras.K[0, :2], clip.cameras.K[0, :2] / 4)
    assert prepare_clip(given, 64, where="clip") is given


def test_small_frames_get_as_many_gaussians_for_each_pixel() -> None:
    cfg = ConstructConfig(resolution=128, gaussians=6000, max_gaussians=8000, time_resolution=3)
    small, large = ball_clip(4, side=32), ball_clip(4, side=64)
    shrunk = limit_to_clip_detail(cfg, [small, large], Silent())
    assert (shrunk.gaussians, shrunk.max_gaussians) == (1500, 2000)  # the larger frames decide
    tiny = limit_to_clip_detail(cfg, [small], Silent())
    assert (tiny.gaussians, tiny.max_gaussians) == (375, 500)
    for resolution in (0, 64, 48):  # nothing is enlarged
        same = replace(cfg, resolution=resolution)
        assert limit_to_clip_detail(same, [large], Silent()) is same
    few = replace(cfg, gaussians=100, max_gaussians=200)
    assert (limit_to_clip_detail(few, [small], Silent()).gaussians) == 100


def test_few_moments_get_few_cells_in_time() -> None:
    cfg = ConstructConfig(resolution=32, time_resolution=16)
    eight, many = ball_clip(8, side=32), ball_clip(24, side=32)
    assert limit_to_clip_detail(cfg, [eight], Silent()).time_resolution == 6
    assert (
        limit_to_clip_detail(cfg, [eight, eight], Silent()).time_resolution == 6
    )  # the same moments again
    assert limit_to_clip_detail(cfg, [ball_clip(2, side=32)], Silent()).time_resolution == 2
    assert limit_to_clip_detail(cfg, [many], Silent()) is cfg


def _swinging(moments: int, swings: int) -> OrbitClip:
    """A ball that swings from side to side."""
    clip = ball_clip(moments, side=32)
    return _shifted(
        clip, (6 * torch.sin(2 * math.pi * swings * clip.times)).round().long().tolist()
    )


def test_by_default_cells_in_time_follow_moments_and_motion_up_and_down() -> None:
    cfg = ConstructConfig(resolution=32)
    for moments, slow, quick in ((2, 2, 2), (8, 6, 6), (72, 16, 54), (400, 16, 256)):
        for swings, cells in ((1, slow), (8, quick)):
            clip = _swinging(moments, swings)
            found = limit_to_clip_detail(cfg, [clip], Silent()).time_resolution
            assert found == cells, (moments, swings)


def _shifted(clip: OrbitClip, places: list[int]) -> OrbitClip:
    moved = [
        torch.stack([x.roll(p, -1) for x, p in zip(v, places, strict=True)])
        for v in (clip.frames, clip.alpha)
        if v is not None
    ]
    return replace(clip, frames=moved[0], alpha=moved[1])


def _flapping(moments: int) -> OrbitClip:
    """A ball with two wings, above in one frame and below in the next."""
    clip = ball_clip(moments, side=32)
    assert clip.alpha is not None
    alpha = clip.alpha.clone()
    for k in range(moments):
        row = 16 + (-1) ** k * 4
        alpha[k, :, row - 2 : row + 2, 6:26] = 1
    return replace(clip, alpha=alpha)


def test_a_beat_that_its_frames_skip_is_said_and_gets_cells_of_its_own() -> None:
    reporter = Silent()
    said: list[str] = []
    reporter.note = said.append  # type: ignore[method-assign]
    clip = _flapping(24)
    for asked, cells in ((0, 48), (40, 40), (99, 48)):
        cfg = ConstructConfig(resolution=32, time_resolution=asked)
        found = limit_to_clip_detail(cfg, [clip], reporter, beating=beats(clip))
        assert found.time_resolution == cells
    assert len(said) == 3
    assert "beats faster than its frames show" in said[0]
    steadied = ConstructConfig(resolution=32, nodes=60)
    assert limit_to_clip_detail(steadied, [clip], reporter, beating=True).time_resolution <= 18
    assert len(said) == 3


def test_what_moves_slowly_or_shakes_beats_not_nor_what_few_frames_show() -> None:
    still = ball_clip(24, side=32)
    assert still.alpha is not None
    draw = torch.Generator().manual_seed(0)
    noisy = (still.alpha + 0.1 * torch.randn(still.alpha.shape, generator=draw)).clamp(0, 1)
    shaken = [int(k) for k in torch.randint(-6, 7, (24,), generator=draw)]
    assert not beats(still)
    assert not beats(replace(still, alpha=noisy))
    assert not beats(_shifted(still, shaken))
    assert not beats(_swinging(24, 3))
    assert not beats(_flapping(12))  # the camera turns by 30 degrees a frame
    assert not beats(ball_clip(2, side=32))


def test_cameras_of_another_scale_see_the_beat_as_well() -> None:
    clip = _flapping(24)
    far = replace(clip.cameras, w2c=clip.cameras.w2c * 0.5)
    assert beats(replace(clip, cameras=far))


def test_travel_does_not_depend_on_the_frame_rate() -> None:
    for swings, low, high in ((1, 2, 5), (8, 15, 33)):
        found = [picture_travel(_swinging(moments, swings)) for moments in (64, 128, 256)]
        assert low < min(found) <= max(found) < high
        assert max(found) < 1.25 * min(found)
    assert picture_travel(ball_clip(8, side=32)) == 0


def test_folders_of_images(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a clip"):
        read_frames_clip(tmp_path, OrbitFlags(), Silent())
    clip = subset(ball_clip(), [0, 1, 2])
    for i in range(3):
        write_png(tmp_path / f"{i}.png", torch.cat([clip.frames[i], clip.alpha[i]]))
    read = read_frames_clip(tmp_path, OrbitFlags(), Silent())
    assert torch.equal(read.alpha, clip.alpha)
    write_png(tmp_path / "3.png", clip.frames[0])
    with pytest.raises(InputError, match="differ in size"):
        read_frames_clip(tmp_path, OrbitFlags(), Silent())


def test_an_orbit_for_a_clip_that_has_cameras_is_said_to_be_ignored(tmp_path: Path) -> None:
    write_clip(tmp_path / "clip", ball_clip(4, side=16))
    write_video(tmp_path / "object.mp4", list(_frames(8)))
    given = OrbitFlags(elevation=10)
    for name, ignored in (("clip", True), ("object.mp4", False)):
        heard = Silent()
        opened = open_clip(str(tmp_path / name), given, heard)
        assert ["is not used" in text for text in heard.warnings] == [True] * ignored
        plan = plan_construct([opened], Config(), orbit=given, reporter=Silent())
        # so the asset is the same with and without the flag
        assert plan.orbit == (OrbitFlags() if ignored else given)
    heard = Silent()
    open_clip(str(tmp_path / "clip"), OrbitFlags(), heard)
    assert heard.warnings == []


def test_a_folder_may_have_a_number_sign_in_its_name(tmp_path: Path) -> None:
    write_clip(tmp_path / "clip#1", ball_clip(4, side=16))
    assert len(open_clip(str(tmp_path / "clip#1"), OrbitFlags(), Silent()).clip) == 4
    with pytest.raises(InputError, match="found nothing of that name"):
        open_clip(str(tmp_path / "clip#2"), OrbitFlags(), Silent())


def _images(folder: Path, clip: OrbitClip) -> None:
    for i, (frame, alpha) in enumerate(zip(clip.frames, clip.alpha, strict=True)):
        write_png(folder / f"{i}.png", torch.cat([frame, alpha]))


def test_the_folder_one_is_in_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "turn" / "inside").mkdir(parents=True)
    _images(tmp_path / "turn", ball_clip(frames=12))
    (tmp_path / "turn" / "notes.txt").touch()
    (tmp_path / "turn" / "3.png").unlink()
    for name in (".", ".."):
        monkeypatch.chdir(tmp_path / "turn" / ("" if name == "." else "inside"))
        heard = Recorder()
        open_clip(name, OrbitFlags(), heard)
        said = [*heard.lines, *heard.warnings]
        assert len(said) > 2
        assert all(text.startswith("turn: ") for text in said)
    made = make(tmp_path / "turn" / "inside" / "clip")
    monkeypatch.chdir(made.path)
    assert open_artifact(Path()).parent().name == "clip"


def _litter(folder: Path) -> None:
    """What may come to lie in a folder of frames, also when its asset is made there."""
    for name in (
        ".asset.draft-0123456789abcdef/scratch/step-1.safetensors",
        ".git/index",
        ".ipynb_checkpoints/0.png",
        "asset/manifest.json",
        "asset/preview.png",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}")


@pytest.mark.parametrize("cameras", ["none", "transforms", "clip"])
def test_an_output_in_the_folder_of_its_frames_is_no_input_of_it(
    cameras: str, tmp_path: Path
) -> None:
    clip = ball_clip(frames=6)
    if cameras == "clip":
        write_clip(tmp_path, clip)
    else:
        _images(tmp_path, clip)
    if cameras == "transforms":
        write_transforms(tmp_path / TRANSFORMS, clip, [f"{i}.png" for i in range(6)])
    before = open_clip(str(tmp_path), OrbitFlags(), Silent()).inputs
    _litter(tmp_path)
    if cameras != "clip":
        (tmp_path / "notes.txt").write_text("this is read by nobody")
    assert open_clip(str(tmp_path), OrbitFlags(), Silent()).inputs == before
    assert len(before) == {"none": 6, "transforms": 7, "clip": 8}[cameras]  # a clip has a preview


def test_hidden_folders_and_artifacts_in_an_objects_folder_are_no_inputs(tmp_path: Path) -> None:
    (tmp_path / "object").mkdir()
    _images(tmp_path / "object", ball_clip(frames=3))
    (tmp_path / "object" / TRANSFORMS).write_text("{}")
    before = plan_prepare([tmp_path], PrepareConfig(), reporter=Silent()).inputs
    _litter(tmp_path / "object")
    assert plan_prepare([tmp_path], PrepareConfig(), reporter=Silent()).inputs == before
    assert len(before) == 4
