"""Every stage and sampling on a pretended GPU: no mix of devices, and the CPU's numbers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.gpu_steps import STAGES
from orster_cli.config.sample import SampleConfig
from orster_cli.config.train import ModelConfig
from orster_cli.core.reporting import Silent
from orster_cli.core.stopping import StopFlag
from orster_cli.diffusion.bundle import Bundle
from orster_cli.training.build import build_stage
from orster_cli.training.log import read_log
from orster_cli.training.loop import LOG, Run, make_accelerator, train
from orster_cli.training.prepared import Models
from tests.helpers.constructing import CREATURE
from tests.helpers.known_actions import knowing_model, request_of, sampled, sampler_of
from tests.helpers.pretended import GPU, OnGPU, pretended_gpu
from tests.helpers.training import CFG, bundle, dataset, merged, source, teachers, tiny_vae

CPU = torch.device("cpu")
QUICK = ("vae", "encoder")  # the others with --slow


def test_it_refuses_what_a_gpu_refuses() -> None:
    with pretended_gpu() as device:
        here, there = torch.ones(3), torch.ones(3, device=device)
        assert there.device == GPU
        assert (there * 2 + torch.tensor(1.0)).cpu().tolist() == [3.0] * 3
        with pytest.raises(RuntimeError, match="same device"):
            here + there
        with pytest.raises(RuntimeError, match="same device"):
            torch.zeros(()).add_(there.sum())
        with pytest.raises(RuntimeError, match="same device"):
            here[torch.tensor([0], device=device)]
        assert there[torch.tensor([0])].device == GPU  # indices may come from the host
        with pytest.raises(RuntimeError, match="generator"):
            torch.randn(2, device=device, generator=torch.Generator())
        with pytest.raises(TypeError, match="numpy"):
            np.asarray(there)


@pytest.mark.slow
@pytest.mark.parametrize("memory", [0.0, 0.1])
@pytest.mark.usefixtures("new_accelerator")
def test_a_student_of_residuals_keeps_its_best_step(
    memory: float, creature: Path, tmp_path: Path
) -> None:
    """From a grid of views, with the latents read for each batch or held on the device."""
    from accelerate.state import AcceleratorState

    data = dataset(creature, tmp_path / "grid", grid=4)
    form = replace(CFG.model, parametrization="residual")
    own = {"keep": "best", "data_memory": memory, "reference_noise": 0.1, "still": 0.5}
    expected = _losses("pretrain", data, tmp_path, CPU, form, **own)
    AcceleratorState._reset_state(reset_partial_state=True)
    with pretended_gpu() as device:
        found = _losses("pretrain", data, tmp_path, device, form, **own)
    assert found == pytest.approx(expected, rel=1e-4)


def _models(stage: str, folder: Path) -> Models:
    from orster_cli.diffusion.mini_encoder import new_mini

    if stage in ("vae", "encoder"):
        return Models()
    if stage.startswith("teacher"):
        return Models(vae=tiny_vae(), encoder=new_mini(16, 0).eval())
    if stage == "distill":
        return teachers(folder)
    return Models(start=Bundle(**vars(bundle() if stage == "pretrain" else merged("4d"))))


def _losses(
    stage: str,
    data: Path,
    place: Path,
    device: torch.device,
    form: ModelConfig = CFG.model,
    **settings: object,
) -> list[float]:
    command, _, role = stage.partition(" ")
    section = command
    if command in ("vae", "encoder", "teacher"):
        command, role = "pretrain", role or command
    own = replace(getattr(CFG, section), checkpoint_seconds=0.0, held_out=0.5, held_out_every=1)
    own = replace(own, **settings)
    cfg = replace(CFG, model=form, **{section: own})
    torch.manual_seed(0)
    models = _models(stage, place / "teachers")
    ready = build_stage(command, role or "4d", cfg, replace(source(data), device=device), models)
    scratch = place / device.type
    scratch.mkdir(parents=True)
    accelerator = make_accelerator(own, cpu=device.type == "cpu")
    assert accelerator.device.type == device.type
    train(ready.task, ready.feed, Run(own, scratch, accelerator, Silent(), StopFlag(), stage))
    on_gpu = [isinstance(p, OnGPU) for p in ready.task.parameters()]
    assert all(on_gpu) if device.type == "cuda" else not any(on_gpu)
    ready.finish()
    return [row["loss"] for row in read_log(scratch / LOG)]


@pytest.mark.usefixtures("new_accelerator")
@pytest.mark.parametrize(
    "stage",
    [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in STAGES],
)
def test_a_stage_has_the_losses_of_a_cpu(stage: str, tiny_dataset: Path, tmp_path: Path) -> None:
    from accelerate.state import AcceleratorState

    expected = _losses(stage, tiny_dataset, tmp_path, CPU)
    AcceleratorState._reset_state(reset_partial_state=True)
    with pretended_gpu() as device:
        found = _losses(stage, tiny_dataset, tmp_path, device)
    assert found == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("asked", ["text", "image", "rest"])
@pytest.mark.parametrize("offload", [False, True])
def test_a_sample_is_that_of_a_cpu(asked: str, offload: bool) -> None:
    from orster_cli.sampling.sample_clips import Sampler, SampleRequest

    cfg = SampleConfig(
        steps=2, batch=2, offload=offload, through_rest="on" if asked == "rest" else "off"
    )
    image = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(0))
    request = SampleRequest(image=image) if asked == "image" else SampleRequest(text="a creature")

    def sampled(device: torch.device) -> torch.Tensor:
        sampler = Sampler(merged("4d"), cfg, device=device, reporter=Silent())
        clips = list(sampler.sample(request, [0, 1]))
        assert not any(isinstance(clip.clip.frames, OnGPU) for clip in clips)
        return torch.stack([clip.clip.frames for clip in clips])

    expected = sampled(CPU)
    with pretended_gpu() as device:
        found = sampled(device)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize("offload", [False, True])
@pytest.mark.parametrize("given", [CREATURE, None])
def test_a_text_whose_object_or_action_is_known_gives_the_clip_of_a_cpu(
    offload: bool, given: Path | None
) -> None:
    def made(device: torch.device) -> torch.Tensor:
        sampler = sampler_of(knowing_model(), device, course=0.5, offload=offload)
        request = request_of(sampler, given=given)
        assert request.object_orbit is not None
        assert given is None or request.course is not None
        return sampled(sampler, request)

    expected = made(CPU)
    with pretended_gpu() as device:
        found = made(device)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)


def test_networks_measure_as_on_a_cpu() -> None:
    from orster_cli.config.evaluate import EvaluateConfig
    from orster_cli.evaluation.networks import Networks
    from orster_cli.inputs.models import SHIPPED

    frames = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))

    def measured(device: torch.device) -> torch.Tensor:
        networks = Networks(["mini"], EvaluateConfig(), device, shipped=SHIPPED)
        text = networks.text("mini", "a frog jumping")
        return networks.images("mini", frames) @ text

    expected = measured(CPU)
    with pretended_gpu() as device:
        found = measured(device)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
