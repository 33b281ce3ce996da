"""Cameras of any scale and centre come to our conventions, and the way back is kept."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from orster_cli.config.schema import Config
from orster_cli.construction.hull import EXTENT, surface_points
from orster_cli.construction.normalize_cameras import find_similarity
from orster_cli.core.errors import InputError
from orster_cli.core.reporting import Silent
from orster_cli.core.types import OrbitClip
from orster_cli.geometry.projection import project
from orster_cli.geometry.similarity import Similarity
from orster_cli.inputs.clips import open_clip
from orster_cli.inputs.construct_plan import plan_construct
from orster_cli.inputs.video import OrbitFlags
from orster_cli.io.images import write_png
from orster_cli.io.transforms_json import write_transforms
from tests.helpers.cases import case
from tests.helpers.constructing import ball_clip, creature_views
from tests.helpers.marks import slow

PLACES = [
    (4.0, (0, 0, 0)),
    (2.0, (0, 0, 0)),
    (0.2, (0, 0, 0)),
    (1.0, (0.5, 0, 0.5)),
    (3, (9, -7, 2)),
]


def _in_world(clip: OrbitClip, scale: float, center: tuple[float, ...]) -> OrbitClip:
    """`clip` in a world where the object is `scale` long and stands at `center`."""
    theirs = Similarity(scale=1 / scale, center=center).inverse()
    return replace(clip, cameras=theirs.cameras(clip.cameras))


def test_a_similarity_keeps_what_cameras_see() -> None:
    clip = ball_clip(5)
    there = Similarity(scale=0.3, center=(1.0, -2.0, 0.5))
    points = torch.randn(40, 3, generator=torch.Generator().manual_seed(0)) * 0.3
    moved = there.cameras(clip.cameras)
    for i in range(5):
        before, after = project(points, clip.cameras, i), project(there.points(points), moved, i)
        assert torch.allclose(before[0], after[0], atol=1e-3)
        assert torch.allclose(0.3 * before[1], after[1], atol=1e-5)
    back = there.inverse().cameras(moved)
    assert torch.allclose(back.w2c, clip.cameras.w2c, atol=1e-6)
    assert torch.allclose(there.inverse().points(there.points(points)), points, atol=1e-6)


@pytest.mark.parametrize(
    ("scale", "center"), [*PLACES[:2], *(slow(*place) for place in PLACES[2:])]
)
def test_any_scale_and_centre_becomes_ours(scale: float, center: tuple[float, ...]) -> None:
    true = creature_views()["dynamic"]
    given = _in_world(true, scale, center)
    found = find_similarity(given)
    assert found is not None
    assert found.scale * scale == pytest.approx(1, rel=0.12)
    assert torch.allclose(
        torch.tensor(found.center) / scale, torch.tensor(center) / scale, atol=0.06
    )
    ours = replace(given, cameras=found.cameras(given.cameras))
    # the hull is whole: inside its box, which cut it before
    points = surface_points(ours, 500, misses=6).positions
    assert float(points.abs().max()) < EXTENT - 0.02
    assert find_similarity(ours) is None


def test_cameras_that_follow_our_conventions_stay() -> None:
    for name in ("dynamic", "static"):
        assert find_similarity(creature_views()[name]) is None
    still = creature_views()["front"]
    assert find_similarity(_in_world(still, 3.0, (0, 0, 0))) is None  # its depth is not known


@pytest.mark.parametrize(
    ("name", "place"),
    [("transforms_scale4", (0.0, 0.0, 0.0)), ("transforms_off_centre", (2.0, 0.0, 2.0))],
)
def test_public_cases(name: str, place: tuple[float, ...]) -> None:
    heard = Silent()
    opened = open_clip(str(case(name)), OrbitFlags(), heard)
    longest = 4.0 if name.endswith("4") else 1.0
    assert opened.similarity.scale * longest == pytest.approx(1, rel=0.12)
    assert torch.tensor(opened.similarity.center).tolist() == pytest.approx(
        place, abs=0.06 * longest
    )
    radii = opened.clip.cameras.positions.norm(dim=1)
    assert float(radii.mean()) == pytest.approx(2.0, rel=0.12)
    assert "the manifest keeps how" in heard.warnings[0]


def _write(folder: Path, clip: OrbitClip) -> None:
    folder.mkdir()
    files = [f"{i}.png" for i in range(len(clip))]
    for file, frame, alpha in zip(files, clip.frames, clip.alpha, strict=True):
        write_png(folder / file, torch.cat([frame, alpha]))
    write_transforms(folder / "transforms.json", clip, files)


def test_a_still_camera_of_another_scale_is_said(tmp_path: Path) -> None:
    still = creature_views()["front"]
    heard = Silent()
    for name, scale in (("ours", 1.0), ("theirs", 4.0)):
        _write(tmp_path / name, _in_world(still, scale, (0, 0, 0)))
        open_clip(str(tmp_path / name), OrbitFlags(), heard)
    (said,) = heard.warnings
    assert said.startswith("theirs: the object's hull touches")


def test_cameras_with_axes_of_opencv_are_refused(tmp_path: Path) -> None:
    _write(tmp_path / "c", creature_views()["dynamic"])
    path = tmp_path / "c" / "transforms.json"
    value = json.loads(path.read_text())
    for frame in value["frames"]:
        frame["transform_matrix"] = [
            [x, -y, -z, t] for x, y, z, t in frame["transform_matrix"][:3]
        ] + [[0, 0, 0, 1]]
    path.write_text(json.dumps(value))
    with pytest.raises(InputError, match="behind all") as caught:
        open_clip(str(tmp_path / "c"), OrbitFlags(), Silent())
    assert "second and third column" in (caught.value.hint or "")


def test_masks_beside_the_images_are_not_left_out_silently(tmp_path: Path) -> None:
    clip = creature_views()["dynamic"]
    _write(tmp_path / "c", clip)
    path = tmp_path / "c" / "transforms.json"
    value = json.loads(path.read_text())
    for frame in value["frames"]:
        frame["mask_path"] = "masks/0.png"
    path.write_text(json.dumps(value))
    heard = Silent()
    open_clip(str(tmp_path / "c"), OrbitFlags(), heard)
    assert f"mask_path of {len(clip)} frames is not read" in heard.warnings[0]


def test_clips_of_one_motion_share_a_world(tmp_path: Path) -> None:
    views = creature_views()
    for name in ("dynamic", "static"):
        _write(tmp_path / name, _in_world(views[name], 2.5, (1.0, 1.0, 0.0)))
    opened = [open_clip(str(tmp_path / n), OrbitFlags(), Silent()) for n in ("dynamic", "static")]
    plan = plan_construct(
        [opened[0]], Config(), static_orbit=opened[1], orbit=OrbitFlags(), reporter=Silent()
    )
    shared = plan.clips[0].similarity
    assert plan.static_orbit.similarity == shared
    same = views["dynamic"].cameras.w2c - views["static"].cameras.w2c
    found = plan.clips[0].clip.cameras.w2c - plan.static.cameras.w2c
    assert torch.allclose(found, same, atol=1e-4)
    assert json.dumps(shared.value()) != json.dumps(Similarity().value())
