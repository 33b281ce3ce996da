"""Where a given object stands in the picture: as in clips with the text's words."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial import ConvexHull

from orster_cli.config.prepare import PrepareConfig
from orster_cli.config.sample import SampleConfig
from orster_cli.core.errors import InputError
from orster_cli.core.frames import resize
from orster_cli.core.reporting import Silent
from orster_cli.core.types import Cameras, OrbitClip
from orster_cli.dataset.reader import Dataset
from orster_cli.dataset.views import framing_of, normalize_object, normalize_pose, render_view
from orster_cli.diffusion.known_inputs import KnownInputs, load_known, save_known
from orster_cli.diffusion.known_texts import KNOWN
from orster_cli.diffusion.motion_words import FramingWords
from orster_cli.geometry.mesh import Mesh
from orster_cli.geometry.orbit import orbit_azimuths, orbit_cameras
from orster_cli.geometry.similarity import Similarity
from orster_cli.gltf.load import load_gltf
from orster_cli.gltf.normalization import place_points
from orster_cli.inputs.models import OpenedModel
from orster_cli.inputs.sampling_plan import SamplingPlan
from orster_cli.inputs.sampling_request import Requests
from orster_cli.inputs.starts import OpenedStart
from orster_cli.sampling.objects import open_object, partly, room, seen_whole
from orster_cli.sampling.sample_clips import Sampler, cameras_for
from orster_cli.sampling.shown import rendered
from orster_cli.training.known_data import known_data
from tests.helpers.animated import moving_asset
from tests.helpers.constructing import CREATURE
from tests.helpers.training import dataset, merged

SUBJECTS = ("red fox", "green frog", "tall man", "blue fish", "old robot", "small dog")
# the factor on the cameras' distance, and where they look: a fall forwards has room in front (-y)
FRAMINGS = {"waving": (1.0, 0.0, 0.0, 0.0), "falling over": (1.2, 0.0, -0.3, -0.1)}
FOUND = FramingWords.of(
    ([f"a {who} {what}", f"the {who} {what}"], framing)
    for who in SUBJECTS
    for what, framing in FRAMINGS.items()
)
assert FOUND is not None
CPU = torch.device("cpu")


def test_an_action_has_its_framing_whoever_does_it() -> None:
    for what, (far, *point) in FRAMINGS.items():
        framing = FOUND.framing(f"a purple wizard {what}")
        assert framing is not None
        assert framing.scale == pytest.approx(far, rel=0.1)
        looked_at = [-framing.scale * one for one in framing.center]
        np.testing.assert_allclose(looked_at, point, atol=0.12)
    assert FOUND.framing("quietly") is None
    assert FramingWords.of([(["a fox"], None), ([], (1.0, 0.0, 0.0, 0.0))]) is None


def test_a_clips_own_framing_shows_its_first_moment_as_the_clip_does() -> None:
    """The object normalised by its pose alone, from moved cameras, is the object in the clip."""
    cfg = PrepareConfig(resolution=48, supersample=2)
    scene = load_gltf(CREATURE)
    for clip in range(len(scene.clips)):
        placed = normalize_object(scene, clip, cfg)
        words = FramingWords.of([(["it moves"], framing_of(placed, cfg))] * 40)
        assert words is not None
        framing = words.framing("it moves")
        assert framing is not None
        model = merged("4d")
        cameras = cameras_for(model.facts, SampleConfig()).resized(48, 48)
        still = torch.zeros(len(cameras))
        wanted = render_view(placed, cameras, still, cfg, None).over()
        pose = normalize_pose(scene, clip, cfg)
        made = render_view(pose, framing.cameras(cameras), still, cfg, None).over()
        off = (resize(made, 12, 12) - resize(wanted, 12, 12)).abs().mean()
        plain = render_view(pose, cameras, still, cfg, None).over()
        assert float(off) < 0.01
        assert float(off) <= float((resize(plain, 12, 12) - resize(wanted, 12, 12)).abs().mean())


def test_an_object_that_would_be_cut_off_is_moved_less() -> None:
    render = open_object(CREATURE)
    cameras = cameras_for(merged("4d").facts, SampleConfig())
    assert room(render, cameras, None) == Similarity()
    little = Similarity(scale=1.1, center=(0.05, 0.0, 0.0))
    assert room(render, cameras, little) == partly(little, 1.0)
    far = Similarity(scale=1.0, center=(0.9, 0.0, 0.0))
    moved = room(render, cameras, far).cameras(cameras)
    shown = render(moved.resized(64, 64)).over()
    border = torch.cat([shown[..., 0, :], shown[..., -1, :], shown[..., 0], shown[..., -1]])
    assert float(border.min()) > 0.9
    whole = partly(far, 1.0)
    assert whole.scale == far.scale
    assert whole.center == pytest.approx(far.center)
    assert partly(far, 0.0) == Similarity()


def test_what_is_seen_from_above_is_seen_whole() -> None:
    side = np.linspace(-0.5, 0.5, 2)
    corners = np.stack(np.meshgrid(side, side, side, indexing="ij"), axis=-1).reshape(-1, 3)
    hull = ConvexHull(corners).simplices.astype(np.int32)
    box = Mesh(
        vertices=corners,
        normals=corners / np.linalg.norm(corners, axis=1, keepdims=True),
        colors=np.tile(np.float32([0.2, 0.2, 0.2, 1]), (8, 1)),
        uvs=np.zeros((8, 4), np.float32),
        triangles=np.concatenate([hull, hull[:, ::-1]]),
        material_ids=np.zeros(2 * len(hull), np.int32),
    )
    placed = place_points(box.vertices)
    box = box.transformed(placed.scale, placed.offset)

    def render(cameras: Cameras) -> OrbitClip:
        return rendered(box, cameras)

    for elevation, further in ((0.0, False), (45.0, True), (-45.0, True)):
        cameras = orbit_cameras(orbit_azimuths(8), elevation=elevation, width=64, height=64)
        moves = seen_whole(render, cameras)
        assert (moves.scale > 1) == further
        shown = render(moves.cameras(cameras)).over()
        border = torch.cat([shown[..., 0, :], shown[..., -1, :], shown[..., 0], shown[..., -1]])
        assert float(border.min()) > 0.9


def test_the_clip_has_the_cameras_that_saw_the_object() -> None:
    bundle = replace(merged("4d"), known=KnownInputs(framing=FOUND))
    text = "a creature falling over"
    plan = SamplingPlan(
        model=OpenedModel(Path()), text=text, image=None, static_object=CREATURE, object_name=""
    )
    made = {}
    for framing in ("text", "middle"):
        cfg = SampleConfig(steps=1, framing=framing)
        sampler = Sampler(bundle, cfg, device=CPU, reporter=Silent())
        request = Requests(plan, sampler).condition()
        made[framing] = next(sampler.sample(request, [0]))
        static, clip = made[framing].static, made[framing].clip
        assert static is not None
        torch.testing.assert_close(static.cameras.w2c, clip.cameras.w2c)
        side = static.cameras.width
        again = open_object(CREATURE)(clip.cameras.resized(side, side))
        torch.testing.assert_close(again.frames, static.frames)
    usual = cameras_for(bundle.facts, SampleConfig())
    torch.testing.assert_close(made["middle"].clip.cameras.w2c, usual.w2c)
    framing = FOUND.framing(text)
    assert framing is not None
    moved = framing.cameras(usual).w2c
    torch.testing.assert_close(made["text"].clip.cameras.w2c, moved)
    sampler = Sampler(bundle, SampleConfig(), device=CPU, reporter=Silent())
    for unknown in ("quietly", None):
        assert sampler.framing_of(unknown) is None


def test_another_orbit_of_an_asset_is_framed_alike() -> None:
    """Its start is rendered by the cameras that see the object, and the model is told the usual ones."""
    bundle = replace(merged("4d"), known=KnownInputs(framing=FOUND))
    start = OpenedStart(asset=moving_asset())
    plan = SamplingPlan(
        model=OpenedModel(Path()),
        text="a creature falling over",
        image=None,
        static_object=CREATURE,
        object_name="",
        start=start,
    )
    cfg = SampleConfig(steps=2, azimuth_start=90.0, strength=0.5)
    sampler = Sampler(bundle, cfg, device=CPU, reporter=Silent())
    request = Requests(plan, sampler).condition()
    usual, framing = cameras_for(bundle.facts, cfg), sampler.framing_of(plan.text)
    assert framing is not None
    assert request.start is not None
    torch.testing.assert_close(request.start.cameras.w2c, framing.cameras(usual).w2c)
    made = next(sampler.sample(request, [0]))
    torch.testing.assert_close(made.clip.cameras.w2c, request.start.cameras.w2c)


def test_a_dataset_says_it_and_a_model_keeps_it(tmp_path: Path, creature: Path) -> None:
    captions = ("a teal creature walking", "a teal creature waving")
    data = Dataset.read(dataset(creature, tmp_path / "data", captions=captions))
    for key in data.keys():  # noqa: SIM118
        far, *point = data.info(key)["framing"]
        assert 0.5 < far < 2
        assert len(point) == 3
    keys = data.keys() * 3
    known = known_data(data, keys, merged("4d").encoder, view="dynamic", resolution=16)
    assert known.framing is not None
    save_known(known, tmp_path)
    again = load_known(tmp_path)
    assert again is not None
    assert again.framing == known.framing
    later = FramingWords.of([(["a fox waving"], (2.0, 0.0, 0.0, 0.0))] * 9)
    both = known.merged(KnownInputs(framing=later)).framing
    assert both is not None
    assert both.found.words["walking"] == known.framing.found.words["walking"]
    assert both.found.words["waving"] != known.framing.found.words["waving"]


@pytest.mark.parametrize(
    "value", [[], {"base": [1.0] * 4}, {"base": [1.0] * 3, "words": {}}, {"base": [1e9] * 4, "words": {}},
              {"base": [1.0] * 4, "words": {"a": 1.0}}],
)  # fmt: skip
def test_what_is_no_framing_is_refused(tmp_path: Path, value: object) -> None:
    save_known(KnownInputs(framing=FOUND), tmp_path)
    content = json.loads((tmp_path / KNOWN).read_text())
    (tmp_path / KNOWN).write_text(json.dumps(content | {"framing": value}))
    with pytest.raises(InputError, match=r"known\.json: framing: expected"):
        load_known(tmp_path)
