"""What a given object is to do: the action that the text says, of the known object that looks most like
it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from orster_cli.config.load import resolve
from orster_cli.config.sample import SampleConfig
from orster_cli.core.types import OrbitClip
from orster_cli.diffusion.bundle import WholeBundle
from orster_cli.inputs.models import SHIPPED_OBJECT, open_model, sampling_of
from orster_cli.inputs.sampling_plan import plan_sampling
from orster_cli.sampling.known_actions import known_action
from orster_cli.sampling.objects import open_object
from orster_cli.sampling.rest_orbits import regressed_object
from orster_cli.sampling.sample_clips import Sampler, cameras_for
from tests.helpers.cases import REPOSITORY
from tests.helpers.constructing import CREATURE
from tests.helpers.recording import Recorder

HORSE = REPOSITORY / "examples" / "horse.glb"


@pytest.fixture(scope="module")
def shipped() -> WholeBundle:
    return open_model(SHIPPED_OBJECT).load_whole()


def known_orbit(made: WholeBundle, phrase: str, text: str) -> OrbitClip:
    """One of the model's own objects where it begins what the text says."""
    assert made.rest is not None
    begun = made.rest.config.start_of(text, phrase)
    assert begun is not None
    cameras = cameras_for(made.facts, SampleConfig())
    return regressed_object(made, cameras, phrase, begun.pose)(cameras)


@pytest.mark.parametrize(
    ("phrase", "doing"),
    [
        ("a gray wolf", "walking"),
        ("a blocky gray wolf", "walking"),
        ("a cartoon knight in gray armor with a red cape", "walking"),
    ],
)
def test_an_object_that_is_known_does_as_it_was_seen_to(
    shipped: WholeBundle, phrase: str, doing: str
) -> None:
    """Many known objects walk: by the text alone it might be any of them."""
    found = known_action(
        shipped, f"something {doing}", known_orbit(shipped, phrase, f"{phrase} {doing}")
    )
    assert found is not None
    assert found.like == phrase
    assert shipped.rest is not None
    assert doing in shipped.rest.config.starts[found.begun.start].phrases
    assert found.apart < 0.05
    assert found.begun.unlike < 1.3


def test_an_object_that_is_not_known_moves_as_one_that_looks_like_it(shipped: WholeBundle) -> None:
    cameras = cameras_for(shipped.facts, SampleConfig())
    horse = open_object(HORSE)(cameras)
    found = known_action(shipped, "a brown horse walking", horse)
    assert found is not None
    assert shipped.rest is not None
    config = shipped.rest.config
    rig = config.starts[found.begun.start].rig
    alike = {
        phrases[0] for phrases, own in zip(config.subjects, config.rigs, strict=True) if own == rig
    }
    assert found.begun.unlike > 1.5
    assert {"a gray wolf", "a white horse"} & alike, found


def test_an_object_of_a_text_does_also_what_nobody_of_its_rig_was_seen_doing(
    shipped: WholeBundle,
) -> None:
    text, said = "a blocky green zombie in purple shorts dancing", Recorder()
    cfg = resolve(model=sampling_of(SHIPPED_OBJECT)).config.sample
    sampler = Sampler(shipped, cfg, device=torch.device("cpu"), reporter=said)
    request = plan_sampling(open_model(SHIPPED_OBJECT), text=text, reporter=said).condition(sampler)
    assert shipped.rest is not None
    config = shipped.rest.config
    assert config.start_of(text, "a blocky green zombie in purple shorts") is None
    assert request.course is not None
    assert "dancing" in config.starts[request.course.start].phrases
    assert any("it begins to move as" in line and "dancing" in line for line in said.lines)


def test_what_the_model_does_not_know_is_no_known_action(shipped: WholeBundle) -> None:
    cameras = cameras_for(shipped.facts, SampleConfig())
    render = open_object(CREATURE)
    orbit = render(cameras)
    assert known_action(shipped, "a creature filing its taxes", orbit) is None
    assert known_action(shipped, None, orbit) is None
    assert known_action(replace(shipped, course=None), "a creature walking", orbit) is None
    above = cameras_for(shipped.facts, SampleConfig(elevation=30.0))
    assert known_action(shipped, "a creature walking", render(above)) is None
    strange = replace(orbit, frames=torch.rand(orbit.frames.shape), alpha=None)
    assert known_action(shipped, "a creature walking", strange) is None
