"""What an object is to do: what the text says, as the known object of most like shape does it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from orster_cli.config.load import resolve
from orster_cli.config.prepare import PrepareConfig
from orster_cli.dataset.views import normalize_pose
from orster_cli.diffusion.bundle import WholeBundle
from orster_cli.geometry.mesh import Mesh
from orster_cli.gltf.load import load_gltf
from orster_cli.inputs.models import SHIPPED_OBJECT, open_model, sampling_of
from orster_cli.inputs.sampling_plan import plan_sampling
from orster_cli.inputs.sampling_request import Requests
from orster_cli.sampling.known_actions import known_actions
from orster_cli.sampling.moving import moving
from orster_cli.sampling.objects import open_object
from orster_cli.sampling.sample_clips import Sampler
from tests.helpers.cases import REPOSITORY, known_object
from tests.helpers.constructing import CREATURE
from tests.helpers.recording import Recorder

HORSE = REPOSITORY / "examples" / "horse.glb"


@pytest.fixture(scope="module")
def shipped() -> WholeBundle:
    return open_model(SHIPPED_OBJECT).load_whole()


def posed(path: Path, clip: int | None) -> Mesh:
    """The object in the file where a clip begins (None: in its bind pose)."""
    return normalize_pose(load_gltf(path), clip, PrepareConfig()).mesh(0.0)


@pytest.mark.parametrize(
    ("file", "clip", "phrase", "doing"),
    [
        ("cubeanimal_wolf.glb", 6, "a blocky gray wolf", "running"),
        ("critter_frog.glb", 3, "a green frog", "jumping"),
        ("kaykit_knight.glb", 17, "a cartoon knight in gray armor with a red cape", "walking"),
        ("kaykit_knight.glb", None, "a cartoon knight in gray armor with a red cape", "walking"),
    ],
)
def test_an_object_that_is_known_does_as_it_was_seen_to(
    shipped: WholeBundle, file: str, clip: int | None, phrase: str, doing: str
) -> None:
    """Many known objects do that: by the text alone it might be any of them."""
    found = known_actions(shipped, f"something {doing}", posed(known_object(file), clip))[0]
    assert shipped.rest is not None
    config = shipped.rest.config
    rig = config.rigs[[phrases[0] for phrases in config.subjects].index(phrase)]
    assert config.starts[found.start].rig == rig
    assert any(doing in one for one in config.starts[found.start].phrases)
    assert found.apart < 0.2


@pytest.mark.parametrize(
    ("file", "clip", "share"),
    [("critter_frog.glb", 3, 0.2), ("cubeanimal_wolf.glb", 6, 0.2), ("kaykit_knight.glb", 17, 0.2)],
)
def test_its_surface_goes_where_it_goes_in_truth(
    shipped: WholeBundle, file: str, clip: int, share: float
) -> None:
    """Squared distances of vertices to where they are in the file's own animation, of those at rest."""
    assert shipped.rest is not None
    assert shipped.course is not None
    placed = normalize_pose(load_gltf(known_object(file)), clip, PrepareConfig())
    meshes = [placed.mesh(k / 15) for k in range(16)]
    rest = torch.from_numpy(meshes[0].vertices)
    true = torch.stack([torch.from_numpy(mesh.vertices) for mesh in meshes])
    doing = {3: "jumping", 6: "running", 17: "walking"}[clip]
    found = known_actions(shipped, doing, meshes[0])[0]
    goes = moving(shipped.course, meshes[0], found.start)
    made = torch.stack([torch.from_numpy(goes.at(k / 15).vertices) for k in range(16)])
    assert float((made - true).square().mean()) < share * float((rest - true).square().mean())


def test_an_object_that_is_not_known_moves_as_one_that_is_built_like_it(
    shipped: WholeBundle,
) -> None:
    found = known_actions(shipped, "a brown horse walking", open_object(HORSE).mesh())[0]
    assert shipped.rest is not None
    config = shipped.rest.config
    rig = config.starts[found.start].rig
    alike = {
        phrases[0] for phrases, own in zip(config.subjects, config.rigs, strict=True) if own == rig
    }
    assert {"a gray wolf", "a white horse"} & alike, found


def test_an_object_of_a_text_does_also_what_nobody_of_its_rig_was_seen_doing(
    shipped: WholeBundle,
) -> None:
    text, said = "a blocky green zombie in purple shorts dancing", Recorder()
    cfg = resolve(model=sampling_of(SHIPPED_OBJECT)).config.sample
    sampler = Sampler(shipped, cfg, device=torch.device("cpu"), reporter=said)
    request = Requests(
        plan_sampling(open_model(SHIPPED_OBJECT), text=text, reporter=said), sampler
    ).condition()
    assert shipped.rest is not None
    config = shipped.rest.config
    assert config.start_of(text, "a blocky green zombie in purple shorts") is None
    assert request.course is not None
    assert any("it begins to move as" in line and "dancing" in line for line in said.lines)


def test_of_what_the_model_does_not_know_something_quiet_is_taken(shipped: WholeBundle) -> None:
    mesh = open_object(CREATURE).mesh()
    assert shipped.rest is not None
    config = shipped.rest.config
    for text in ("a creature filing its taxes", "a creature", "a creature not jumping"):
        found = known_actions(shipped, text, mesh)
        assert found
        assert {one.start for one in found} <= config.quiet()
    loud = {"attacking", "falling", "jumping", "running", "punching", "shooting", "reacting"}
    for number in config.quiet():
        assert not loud & {
            word for phrase in config.starts[number].phrases for word in phrase.split()
        }
    for phrases in config.subjects:
        start = config.quiet_of(phrases[0])
        assert start is not None
        assert config.rigs[config.numbers_of(phrases[0])[0]] == config.starts[start].rig
    assert not known_actions(shipped, None, mesh)
    assert not known_actions(replace(shipped, course=None), "a creature walking", mesh)
