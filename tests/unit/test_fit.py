"""The fit on a real small clip: it learns, resumes to the same bytes, and survives NaN."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from orster_cli.core.errors import NumericalError, Preempted
from orster_cli.core.reporting import Silent
from orster_cli.core.stopping import StopFlag
from orster_cli.io.checkpoints import load_latest, save_checkpoint
from tests.helpers.constructing import TINY, mean_psnr, tiny_fit


class _StopAt(StopFlag):
    """A stop that is requested when the fit has looked `after` times."""

    def __init__(self, after: int) -> None:
        self._left = after
        self.requested = False

    @property
    def requested(self) -> bool:
        self._left -= 1
        return self._left < 0

    @requested.setter
    def requested(self, value: bool) -> None:
        pass


def test_it_learns_the_object_and_its_motion(tmp_path: Path) -> None:
    fit = tiny_fit()
    at_start = mean_psnr(fit, fit.views.static)
    fit.run(tmp_path, Silent(), StopFlag())
    still = fit.model.canonical(frozen=True)
    moving = mean_psnr(fit, fit.views.driving)
    at_rest = mean_psnr(fit, [replace(view, phase=None) for view in fit.views.driving])
    assert moving > at_start + 3
    assert moving > at_rest + 1.5
    moved = fit.model.at(0.5, frozen_canonical=True)
    assert float((moved.means - still.means).detach().norm(dim=1).max()) > 0.01


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    """The state at the end of a fit that nothing interrupts."""
    fit = tiny_fit()
    fit.run(tmp_path_factory.mktemp("whole"), Silent(), StopFlag())
    return fit.state()


@pytest.mark.parametrize("stop_at", [[60, 30], [125, 20, 15]])
def test_interrupted_is_uninterrupted(
    tmp_path: Path, stop_at: list[int], whole_run: dict[str, torch.Tensor]
) -> None:
    """Stopped in every phase and gone on from its checkpoints, it ends in the same bytes."""
    for after in stop_at:
        with pytest.raises(Preempted):
            tiny_fit().run(tmp_path / "b", Silent(), _StopAt(after))
    last = tiny_fit()
    last.run(tmp_path / "b", Silent(), StopFlag())
    first, second = whole_run, last.state()
    assert first.keys() == second.keys()
    different = [name for name in first if not torch.equal(first[name], second[name])]
    assert different == []


def test_nan_rolls_back(tmp_path: Path) -> None:
    """A NaN that appears once costs a rollback and half the rates, not the run."""
    fit = tiny_fit()

    class Poison(_StopAt):
        done = False

        @property
        def requested(self) -> bool:
            if fit.step == 130 and not self.done:
                self.done = True
                fit.model.params["means"].data[3, 1] = float("nan")
            return False

        @requested.setter
        def requested(self, value: bool) -> None:
            pass

    said = Silent()
    fit.run(tmp_path, said, Poison(0))
    assert fit.step == fit.total
    assert fit.model.rate_scale == 0.5
    assert any("means" in text and "half the learning rates" in text for text in said.warnings)
    fit.model.check_finite()


def test_divergence_for_good_is_an_error(tmp_path: Path) -> None:
    """NaN in the views cannot be cured: the error comes, and no endless loop."""
    fit = tiny_fit()
    for view in fit.views.static:
        view.rgb[0, 0, 0] = float("nan")
    with pytest.raises(NumericalError):
        fit.run(tmp_path, Silent(), StopFlag())


def test_checkpoints_keep_two_and_skip_a_broken_one(tmp_path: Path) -> None:
    for step in (5, 10, 15):
        save_checkpoint(tmp_path, step, {"x": torch.full((3,), float(step))})
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["step-00000010.safetensors", "step-00000015.safetensors"]
    (tmp_path / names[1]).write_bytes(b"cut short")
    step, tensors = load_latest(tmp_path)
    assert step == 10
    assert tensors["x"].tolist() == [10.0] * 3
    assert load_latest(tmp_path / "nothing") is None


def test_density_grows_within_its_bound(tmp_path: Path) -> None:
    fit = tiny_fit(replace(TINY, static_steps=150, grow_gradient=1e-7, max_gaussians=900))
    before = len(fit.model.params["means"])
    fit.run(tmp_path, Silent(), StopFlag())
    after = len(fit.model.params["means"])
    assert before <= 800
    assert before < after <= 900
    lengths = {len(value) for value in fit.model.params.values()}
    assert lengths == {after}
