"""The object at rest that a text names: that it is seen as one that is given is."""

from __future__ import annotations

import json
import math
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from orster_cli.commands.condition_options import ConditionOptions
from orster_cli.config.sample import SampleConfig
from orster_cli.core.errors import InputError
from orster_cli.core.frames import resize
from orster_cli.core.reporting import Silent
from orster_cli.diffusion.bundle import Bundle, WholeBundle, load_bundle, save_bundle
from orster_cli.diffusion.known_inputs import KnownInputs
from orster_cli.diffusion.known_texts import KnownTexts
from orster_cli.diffusion.mini_encoder import new_mini
from orster_cli.inputs.models import SHIPPED, SHIPPED_OBJECT, OpenedModel, model_folder
from orster_cli.inputs.prompts import check_prompt
from orster_cli.inputs.sampling_plan import SamplingPlan
from orster_cli.inputs.sampling_request import Requests
from orster_cli.io.tensors import read_tensors, write_tensors
from orster_cli.sampling.objects import open_object
from orster_cli.sampling.rest_surface import regressed_object
from orster_cli.sampling.sample_clips import Sampler, cameras_for
from orster_cli.training.prepared import Models
from orster_cli.training.start_model import start_or_new
from tests.helpers.recording import Recorder
from tests.helpers.rigs import DONE, RIGS, STARTS, SUBJECTS
from tests.helpers.solids import ball_and_sheet, color, half_axes, solids, taught_rest
from tests.helpers.training import CFG, SIDE, bundle, merged, tiny_vae
from tools.rest_data import PLACES, SHEET, SOLID, gathered, quietest, sampled
from tools.train_rest import train_texts

CPU = torch.device("cpu")
WIDTH = 12  # of the tiny encoder's


@pytest.fixture(scope="module")
def taught() -> WholeBundle:
    """A model with a regressor that was taught six objects."""
    made = merged("4d")
    rest = taught_rest(solids(SUBJECTS, RIGS, STARTS, DONE), WIDTH)
    assert train_texts(rest, made, seed=0) < 0.1
    return replace(made, rest=rest)


def test_places_around_an_object_are_told_from_its_surface() -> None:
    """Of a ball with a sheet above it: inside it distances are negative, and the sheet is not lost."""
    mesh = ball_and_sheet()
    found = sampled(mesh)
    places, far = found["places"].float(), found["distances"].float()
    ball = places.norm(dim=-1) - 0.3
    near_ball = (places[:, 2] < 0.3) & (ball.abs() < 0.08)
    wrong = far[near_ball] - (ball[near_ball] - SOLID)
    assert float(wrong.abs().mean()) < 0.004
    above = places[:, 2] - 0.45
    over = (places[:, :2].abs() < 0.15).all(dim=-1) & (above.abs() < 0.05)
    wrong = far[over] - (above[over].abs() - SHEET)
    assert float(wrong.abs().mean()) < 0.004
    colors = found["colors"].float() / 255
    red = torch.tensor([1.0, 0.0, 0.0])
    assert float((colors[over] - red).abs().mean()) < 0.01  # unlit


def test_what_an_object_was_seen_doing_is_what_its_clips_show_that_are_trained_on() -> None:
    row = {"split": "train", "who": "a green frog|a frog", "file": "critter_frog.glb"}
    clips = {
        "critter_frog.glb": [
            {**row, "clip": "0", "use": "1", "what": "jumping|jumps"},
            {**row, "clip": "1", "use": "0", "what": "attacking"},
        ],
        "critter_snake.glb": [
            {**row, "file": "critter_snake.glb", "clip": "0", "use": "1", "what": "attacking"},
        ],
    }
    found = gathered(clips, [dict.fromkeys(PLACES, torch.zeros(1))] * 2)
    assert [start.phrases for start in found.starts] == [("attacking",), ("jumping", "jumps")]
    assert found.done == ((1,), (0,))
    assert found.rigs == (0, 0)
    assert found.phrases[0] == ("a green frog", "a frog")


@torch.no_grad()
def test_texts_give_their_own_object_and_a_text_for_several_a_blend(taught: WholeBundle) -> None:
    for number, phrases in enumerate(SUBJECTS):
        mesh = regressed_object(taught, phrases[0]).mesh()
        axes = half_axes(number).numpy()
        size = np.ptp(mesh.vertices, axis=0)  # placed: the longest side is 1
        np.testing.assert_allclose(size, axes / axes.max(), atol=0.08)
        texture = mesh.materials[0].texture
        assert texture is not None
        shown = texture.levels[0][..., :3].mean(axis=(0, 1)) / 255
        colors = np.stack([color(k).numpy() for k in range(len(SUBJECTS))])
        assert np.abs(colors - shown).sum(axis=1).argmin() == number
        assert float((mesh.normals * mesh.vertices).sum(axis=1).mean()) > 0  # outwards
    rest = taught.rest
    assert rest is not None
    shares = rest.named(rest.read(taught.encoder.text(["a zombie"]))).softmax(dim=-1)[0]
    assert sorted(shares.argsort(descending=True)[:2].tolist()) == [2, 3]
    assert float(shares[2:4].min()) > 0.25


def test_what_has_no_surface_is_said(taught: WholeBundle) -> None:
    empty = deepcopy(taught)
    assert empty.rest is not None
    torch.nn.init.constant_(empty.rest.field[-1].bias, 9.0)
    with pytest.raises(InputError, match="a green frog: the model makes no surface of it"):
        regressed_object(empty, "a green frog").mesh()


def test_it_is_seen_from_any_side_as_a_given_object_is(taught: WholeBundle) -> None:
    usual = cameras_for(taught.facts, SampleConfig())
    far = cameras_for(taught.facts, SampleConfig(radius=2 * taught.facts.radius))
    above = cameras_for(taught.facts, SampleConfig(elevation=80.0))
    show = regressed_object(taught, "a green frog")
    near, small = show(usual).over(), show(far).over()
    inner = slice(SIDE // 4, SIDE - SIDE // 4)
    half = resize(near, SIDE // 2, SIDE // 2)
    assert float((small[..., inner, inner] - half).abs().mean()) < 0.03
    assert float(small[..., 0, :].min()) == 1  # white around it
    shown = [orbit.alpha for orbit in (show(usual), show(above))]
    level, high = (float(alpha.mean()) for alpha in shown if alpha is not None)
    assert high > 0.9 * level  # its long side is seen from above, too


def plan_of(text: str | None, **changes: object) -> SamplingPlan:
    settings = {"image": None, "static_object": None, "object_name": "", **changes}
    return SamplingPlan(model=OpenedModel(Path("tiny")), text=text, **settings)  # type: ignore[arg-type]


def sampler_of(made: WholeBundle, **settings: object) -> Sampler:
    cfg = SampleConfig(steps=1, **settings)  # type: ignore[arg-type]
    return Sampler(made, cfg, device=CPU, reporter=Silent())


def test_a_text_is_sampled_as_if_its_object_were_given(taught: WholeBundle, tmp_path: Path) -> None:
    made = taught
    sampler = sampler_of(made)
    seen = {
        seed: Requests(plan_of("a zombie dancing"), sampler).condition(seed) for seed in range(3)
    }
    cameras = cameras_for(made.facts, sampler.cfg)
    for seed, number in enumerate((2, 3, 2)):
        subject = SUBJECTS[number][0]
        own = regressed_object(made, subject)(cameras)
        orbit = seen[seed].object_orbit
        assert orbit is not None
        torch.testing.assert_close(orbit.frames, own.frames)
    assert seen[0].glb is not None
    (tmp_path / "object.glb").write_bytes(seen[0].glb)
    given = open_object(tmp_path / "object.glb")(cameras).over()
    assert seen[0].object_orbit is not None
    assert float((given - seen[0].object_orbit.over()).abs().max()) < 0.02
    plan = plan_of("a zombie dancing")
    every = [seeds for _, seeds in Requests(plan, sampler).conditions(range(5))]
    assert every == [[0, 2, 4], [1, 3]]
    every = [seeds for _, seeds in Requests(plan_of("a frog"), sampler).conditions(range(3))]
    assert every == [[0, 1, 2]]
    (clip,) = sampler.sample(seen[0], [0])
    assert clip.static is not None
    assert clip.clip.prompt == "a zombie dancing"


def test_the_command_says_what_it_understood_or_what_such_objects_do(
    taught: WholeBundle,
) -> None:
    made = taught
    sampler, said = sampler_of(made), Recorder()
    sampler.reporter = said
    for text in ("a man falling over", "a green frog dying"):
        Requests(plan_of(text), sampler).condition()
    assert said.lines[0] == f"the object is {SUBJECTS[5][0]}, falling over"
    assert said.lines[-1].endswith("of such objects it knows jumping and landing, jumping")


def test_an_object_stands_where_its_course_has_room(taught: WholeBundle) -> None:
    made = taught
    place = sampler_of(made).framing_of("a man falling over", (0.2, 0.0, 0.3, -0.1))
    assert place is not None
    assert place.scale == pytest.approx(math.exp(0.2))
    assert place.center == pytest.approx((0.0, -0.3 / math.exp(0.2), 0.1 / math.exp(0.2)))
    middle = sampler_of(made, framing="middle")
    assert middle.framing_of("a man falling over", (0.2, 0.0, 0.3, -0.1)) is None


def test_what_the_regressor_cannot_make_is_said_or_left_to_the_diffusion(
    taught: WholeBundle, tmp_path: Path
) -> None:
    words = {word: 1 for word in ["frog", "mech", "zombie", "robot", "man", "walking", "waving"]}
    made = replace(taught, known=KnownInputs(texts=KnownTexts(words=words)))
    sampler = sampler_of(made)
    save_bundle(made, tmp_path)
    for text in ("a teapot walking", "waving"):
        with pytest.raises(
            InputError, match="names no object that the model was trained on"
        ) as raised:
            check_prompt(text, tmp_path)
        assert "a frog, a mech, a zombie" in str(raised.value.hint)
        assert "--object" in str(raised.value.hint)
    for how in ("anyway", "with_picture", "with_start"):
        check_prompt("a teapot walking", tmp_path, **{how: True})
    check_prompt("a zombie walking", tmp_path)
    assert Requests(plan_of("a teapot", anyway=True), sampler).condition().object_orbit is not None
    for other in (
        sampler_of(made, through_rest="off"),
        sampler_of(replace(made, rest=None)),
    ):
        assert Requests(plan_of("a frog"), other).condition().object_orbit is None


def test_it_is_kept_with_its_encoder(taught: WholeBundle, tmp_path: Path) -> None:
    made = taught
    assert made.rest is not None
    save_bundle(made, tmp_path / "model")
    again = load_bundle(tmp_path / "model")
    assert again.rest is not None
    assert again.rest.config == made.rest.config
    text = made.encoder.text(["a green frog"])
    with torch.no_grad():
        torch.testing.assert_close(again.rest(text).planes, made.rest(text).planes)
        torch.testing.assert_close(again.rest(text).low, made.rest(text).low)
    save_bundle(made, tmp_path / "half", torch.int8)
    half, size = load_bundle(tmp_path / "half").rest, {}
    assert half is not None
    with torch.no_grad():
        whole, near = made.rest(text).planes, half(text).planes
        torch.testing.assert_close(half(text).high, made.rest(text).high, atol=1e-3, rtol=0)
    assert float((near - whole).square().mean()) < 1e-3 * float(whole.var())
    for name in ("model", "half"):
        size[name] = (tmp_path / name / "rest" / "model.safetensors").stat().st_size
    assert size["half"] < 0.4 * size["model"]
    start = Bundle(**vars(made))
    cases = (({}, True), ({"vae": tiny_vae()}, True), ({"encoder": new_mini(WIDTH, 1)}, False))
    for parts, kept in cases:
        models = Models(start=start, **parts)  # type: ignore[arg-type]
        new = start_or_new(CFG.model, None, models, "4d", 0)  # type: ignore[arg-type]
        assert (new.rest is not None) == kept
    config = tmp_path / "model" / "rest" / "config.json"
    good = json.loads(config.read_text())
    wrong_start = {**good["starts"][0], "framing": [0.0, 0.0]}
    for key, value in (
        ("width", 0),
        ("subjects", ["a frog"]),
        ("version", 5),
        ("rigs", [0]),
        ("starts", [wrong_start]),
        ("starts", [{**good["starts"][0], "phrases": [""]}]),
        ("done", good["done"][:-1]),
        ("done", [*good["done"][:-1], [0]]),
        ("done", [*good["done"][:-1], [3, len(STARTS)]]),
    ):
        config.write_text(json.dumps({**good, key: value}))
        with pytest.raises(InputError, match=str(config)):
            load_bundle(tmp_path / "model")
    config.write_text(json.dumps(good))
    weights = config.with_name("model.safetensors")
    tensors = {name: value.clone() for name, value in read_tensors(weights).items()}
    for low in (-100.0, tensors["boxes"][3]):
        tensors["boxes"][0] = low
        write_tensors(weights, tensors)
        with pytest.raises(InputError, match="boxes: expected low and high corners"):
            load_bundle(tmp_path / "model")
    assert bundle().rest is None


def test_one_model_is_for_texts_objects_and_images() -> None:
    assert model_folder(None) == SHIPPED_OBJECT
    assert model_folder("mini") == SHIPPED
    for asked in (
        ConditionOptions(text="a frog jumping"),
        ConditionOptions(text="a zombie dancing", image=Path("x.png")),
        ConditionOptions(object_="x.glb"),
    ):
        assert asked.model_folder() == SHIPPED_OBJECT


def test_the_pose_is_that_of_the_quietest_animation() -> None:
    rows = [
        {"clip": str(k), "what": what}
        for k, what in enumerate(("falling over", "walking", "standing still|idle", "jumping"))
    ]
    assert quietest(rows)["clip"] == "2"
    assert quietest(rows[:2])["clip"] == "1"
    assert quietest([rows[3], rows[0]])["clip"] == "0"
