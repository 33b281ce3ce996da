"""Muon: whole directions of a matrix are learned alike, and all else as with AdamW."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from orster_cli.config.train import TrainConfig
from orster_cli.core.errors import ConfigError, Preempted
from orster_cli.training.loop import make_accelerator, train
from orster_cli.training.muon import RMS, orthogonalized
from orster_cli.training.optimizer import make_optimizer, split_matrices
from tests.helpers.diffusion import shaken
from tests.unit.test_training_loop import CFG, Numbers, Regression, _run

MUON = TrainConfig(optimizer="muon", lr=1e-2)


class InTrunk(nn.Module):
    """A module under the name that Muon looks for."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.trunk = nn.ModuleDict({"layer": layer})


class Trunked(nn.Module):
    """The loop's regression, in a trunk."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = Regression()

    def forward(self, x: Tensor, step: int, places: list[int]) -> tuple[Tensor, dict[str, Tensor]]:
        out: tuple[Tensor, dict[str, Tensor]] = self.trunk(x, step, places)
        return out


@pytest.mark.parametrize("shape", [(3, 16, 16), (2, 8, 24), (2, 24, 8)])
def test_singular_vectors_stay_and_singular_values_become_alike(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    matrices = torch.randn(shape) * torch.logspace(-1, 1, shape[-1])
    found = orthogonalized(matrices)
    u, s, v = torch.linalg.svd(matrices, full_matrices=False)
    along = u.mT @ found @ v.mT
    values = along.diagonal(dim1=1, dim2=2)
    assert bool((values[s > 0.05 * s.amax()] > 0.6).all())
    assert bool((values < 1.3).all())
    assert float((along - torch.diag_embed(values)).abs().max()) < 1e-3
    assert not bool(orthogonalized(torch.zeros(shape)).any())
    rough = orthogonalized(matrices, half=True)
    assert float((rough - found).norm() / found.norm()) < 0.1


def test_an_update_is_as_large_as_one_of_adamw_and_decays_weights_alike() -> None:
    torch.manual_seed(0)
    for layer in (nn.Linear(64, 32), nn.Conv2d(16, 32, 3)):
        module = InTrunk(layer)
        optimizer = make_optimizer(module, MUON)
        bias, before = layer.bias.detach().clone(), layer.weight.detach().clone()
        layer.weight.grad = torch.randn_like(layer.weight)
        optimizer.step()
        rms = float((layer.weight.detach() - before).square().mean().sqrt()) / MUON.lr
        assert rms == pytest.approx(RMS, rel=0.25)
        assert torch.equal(layer.bias.detach(), bias)  # it has no gradient
    decayed = nn.Linear(8, 8, bias=False)
    cfg = TrainConfig(optimizer="muon", lr=0.1, weight_decay=0.5)
    optimizer = make_optimizer(InTrunk(decayed), cfg)
    weight = decayed.weight
    weight.grad, before = torch.zeros_like(weight), weight.detach().clone()
    optimizer.step()
    torch.testing.assert_close(weight.detach(), before * 0.95)


def test_hidden_matrices_of_the_trunk_are_meant_and_nothing_else() -> None:
    student = shaken()
    names = {id(p): n for n, p in student.named_parameters()}
    matrices, others = ([names[id(p)] for p in part] for part in split_matrices(student, MUON))
    assert len(matrices) + len(others) == len(names)
    for part in ("resnets.0.conv1.weight", "to_q.weight", "temp_convs.0.conv1.2.weight"):
        assert any(part in name for name in matrices), part
    assert all(name.endswith("weight") for name in matrices)
    for part in ("trunk.conv_in.weight", "trunk.conv_out.weight", "time_embedding.linear_1.weight"):
        assert any(part in name for name in others), part
    with pytest.raises(ConfigError, match="none of the 4D-UNet's own weights is trained") as raised:
        split_matrices(Regression(), MUON)
    assert "optimizer=adamw" in str(raised.value.hint)


def test_what_is_no_matrix_is_trained_as_by_adamw() -> None:
    torch.manual_seed(0)
    one = nn.Linear(8, 8)
    other = copy.deepcopy(one)
    grads = torch.randn(8)
    for layer, cfg in ((one, MUON), (other, TrainConfig(lr=MUON.lr))):
        optimizer = make_optimizer(InTrunk(layer), cfg)
        for scale in (1.0, -0.3, 0.2):
            layer.weight.grad, layer.bias.grad = torch.zeros(8, 8), scale * grads
            optimizer.step()
    assert torch.equal(one.bias, other.bias)


def _left(optimizer: str, lr: float) -> float:
    """How far weights are from the wanted ones after 200 steps on inputs whose directions, which are not
    those of the axes, differ thirtyfold in size."""
    torch.manual_seed(0)
    wanted, turned = torch.randn(24, 24), torch.linalg.qr(torch.randn(24, 24))[0]
    inputs = torch.logspace(-1.5, 0, 24)[:, None] * turned
    layer = nn.Linear(24, 24, bias=False)
    made = make_optimizer(InTrunk(layer), TrainConfig(optimizer=optimizer, lr=lr))
    for step in range(200):
        x = torch.randn(64, 24) @ inputs
        (layer(x) - x @ wanted.T).square().mean().backward()
        for group in made.param_groups:
            group["lr"] = lr * (1 - step / 200)
        made.step()
        made.zero_grad()
    return float((layer.weight.detach() - wanted).square().mean())


def test_small_directions_are_learned_as_soon_as_large_ones() -> None:
    """The purpose: whatever AdamW's learning rate, it is further from the wanted weights."""
    rates = (0.03, 0.1, 0.3)
    by_adamw, by_muon = (min(_left(name, lr) for lr in rates) for name in ("adamw", "muon"))
    assert by_muon < 0.5 * by_adamw


@pytest.mark.parametrize("stops", [[1], [4, 3]])
def test_interrupted_and_resumed_it_ends_in_the_same_bytes(
    tmp_path: Path, stops: list[int]
) -> None:
    cfg = TrainConfig(**{**{n: getattr(CFG, n) for n in CFG.__slots__}, "optimizer": "muon"})
    whole, pieces = Trunked(), Trunked()
    train(whole, Numbers(), _run(tmp_path / "whole", cfg))
    for stop in stops:
        with pytest.raises(Preempted):
            train(Trunked(), Numbers(), _run(tmp_path / "pieces", cfg, stop_after=stop))
    train(pieces, Numbers(), _run(tmp_path / "pieces", cfg))
    for name, value in whole.state_dict().items():
        assert torch.equal(value, pieces.state_dict()[name]), name
    assert not torch.equal(whole.trunk.layer.weight, Trunked().trunk.layer.weight)


def test_sharded_weights_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from accelerate import Accelerator
    from accelerate.utils import DistributedType

    kind = property(lambda _: DistributedType.FSDP)
    monkeypatch.setattr(Accelerator, "distributed_type", kind)
    with pytest.raises(ConfigError, match="needs whole matrices, and FSDP shards them"):
        make_accelerator(MUON, cpu=True)
    make_accelerator(TrainConfig(), cpu=True)
