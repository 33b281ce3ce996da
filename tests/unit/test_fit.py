"""The fit on a real small clip: it learns, resumes to the same bytes, and survives NaN."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from orster_cli.construction.fit import Fit
from orster_cli.construction.training_views import View
from orster_cli.core.errors import NumericalError, Preempted
from orster_cli.core.live import LATEST
from orster_cli.core.reporting import Silent
from orster_cli.core.stopping import StopFlag
from orster_cli.core.types import Gaussians
from orster_cli.io.checkpoints import load_latest, save_checkpoint
from orster_cli.io.images import read_image
from orster_cli.splatting.deformation import DeformationField
from tests.helpers.constructing import TINY, mean_psnr, tiny_fit
from tests.helpers.marks import slow
from tests.helpers.stops import StopAfter


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Fit, float]:
    """A fit that nothing interrupted, and the PSNR that it had at the start."""
    fit = tiny_fit()
    at_start = mean_psnr(fit, fit.views.static)
    fit.run(tmp_path_factory.mktemp("whole"), Silent(), StopFlag())
    return fit, at_start


def test_it_learns_the_object_and_its_motion(whole_run: tuple[Fit, float]) -> None:
    fit, at_start = whole_run
    still = fit.model.canonical(detach=True)
    moving = mean_psnr(fit, fit.views.driving)
    at_rest = mean_psnr(fit, [replace(view, phase=None) for view in fit.views.driving])
    assert moving > at_start + 3
    assert moving > at_rest + 1.5
    moved = fit.model.at(0.5, detach_canonical=True)
    assert float((moved.means - still.means).detach().norm(dim=1).max()) > 0.01


@pytest.mark.parametrize("stop_at", [[60, 70, 60], slow([125, 20, 15])])
def test_interrupted_is_uninterrupted(
    tmp_path: Path,
    stop_at: list[int],
    whole_run: tuple[Fit, float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Stopped in every phase and gone on from its checkpoints, with pictures drawn at every chance, it ends
    in the same bytes."""
    monkeypatch.setattr("orster_cli.construction.fit.PICTURE_SECONDS", -1.0)
    for after in stop_at:
        with pytest.raises(Preempted):
            tiny_fit().run(tmp_path / "b", Silent(), StopAfter(after))
    last = tiny_fit()
    last.run(tmp_path / "b", Silent(), StopFlag())
    first, second = whole_run[0].state(), last.state()
    assert first.keys() == second.keys()
    different = [name for name in first if not torch.equal(first[name], second[name])]
    assert different == []
    shown = read_image(tmp_path / "b" / LATEST)
    assert shown.shape == (3, 48, 96)
    given, fitted = shown[..., :48], shown[..., 48:]
    assert float((given - fitted).square().mean()) < 0.02, "the same moment from the same place"
    assert float(given.std()) > 0.1


def test_without_a_step_that_moves_anything_the_asset_is_still(tmp_path: Path) -> None:
    for static_steps in (0, 3):
        steps = {"static_steps": static_steps, "coarse_steps": 0, "fine_steps": 0}
        fit = tiny_fit(replace(TINY, **steps))
        fit.run(tmp_path / str(static_steps), Silent(), StopFlag())
        asset = fit.model.result()
        assert torch.allclose(asset.at(0.5).means, asset.canonical.means, atol=1e-5)


def test_depth_smoothness_now_and_then_weighs_what_it_weighs_always() -> None:
    fit = tiny_fit()
    steps = range(fit.total - 20, fit.total)
    weights = [fit._loss_weights(step).depth for step in steps]
    assert sum(weights) / len(weights) == pytest.approx(TINY.depth)
    assert fit._loss_weights(TINY.static_steps).depth == 0


def test_every_view_is_seen_once_before_any_is_seen_again() -> None:
    fit = tiny_fit()
    fit.cfg = replace(fit.cfg, static_steps=1000, coarse_steps=1000)
    for pool, first in ((fit.views.static, 0), (fit.views.moving, 1000)):
        size = len(pool)
        turn = -(-first // size) * size  # where the next turn begins
        turns = [[fit._sample_view(step + turn + i * size) for step in range(size)] for i in (0, 1)]
        places = [
            [next(i for i, one in enumerate(pool) if one is view) for view in seen]
            for seen in turns
        ]
        for seen in turns:
            assert len({id(view) for view in seen}) == len({id(view) for view in pool})
        assert places[0] != places[1]
    last = {id(fit._sample_view(1999 + TINY.fine_steps - step)) for step in range(10)}
    assert last <= {id(view) for view in fit.views.observed}


class _Apart(DeformationField):
    """Moves what lies at x > 0 away, later."""

    def forward(self, gaussians: Gaussians, t: float) -> Gaussians:
        right = (gaussians.means[:, :1] > 0).float()
        return replace(gaussians, means=gaussians.means + t * right * torch.tensor([1.0, 0, 0]))


def test_what_moves_apart_is_no_longer_neighbours() -> None:
    """The two halves of the creature touch at rest."""
    fit = tiny_fit()
    fit.model.start_motion(fit.views.timeline)
    right = fit.model.params["means"][:, 0] > 0

    def across() -> int:
        assert fit.model.neighbours is not None
        return int((right[fit.model.neighbours] != right[:, None]).sum())

    assert across() > 50
    assert fit.model.motion is not None
    field = fit.model.motion.field
    fit.model.motion.field = _Apart(field.config, field.features.planes.aabb)
    fit.model.renew_neighbours()
    assert across() == 0


@pytest.mark.slow
def test_a_fit_with_control_nodes_learns_and_resumes_to_the_same_bytes(tmp_path: Path) -> None:
    """Stopped while the nodes alone move, and after Gaussians may leave them."""
    cfg = replace(TINY, nodes=60, leave=0.01)
    whole = tiny_fit(cfg)
    whole.run(tmp_path / "a", Silent(), StopFlag())
    for after in (140, 60):
        with pytest.raises(Preempted):
            tiny_fit(cfg).run(tmp_path / "b", Silent(), StopAfter(after))
    last = tiny_fit(cfg)
    last.run(tmp_path / "b", Silent(), StopFlag())
    first, second = whole.state(), last.state()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []
    moving = mean_psnr(whole, whole.views.driving)
    at_rest = mean_psnr(whole, [replace(view, phase=None) for view in whole.views.driving])
    assert moving > at_rest + 1.5
    motion = whole.model.motion
    assert motion is not None
    assert motion.field.nodes is not None
    shown = whole.model.at(0.4, detach_canonical=True)
    motion.field.residual = False
    followed = whole.model.at(0.4, detach_canonical=True)
    away = (shown.means - followed.means).detach().abs().max()
    assert 0 < float(away) <= 0.01 + 1e-6


def test_what_the_frames_lose_is_kept(tmp_path: Path) -> None:
    """Its purpose. The frames of half the motion show nothing above the middle, as those of a model that
    loses a head: without a limit to their size the Gaussians there go, with it most stay."""

    def left(resize: float) -> float:
        """The share of the upper half that is still seen."""
        fit = tiny_fit(replace(TINY, nodes=60, resize=resize))
        upper = slice(0, fit.views.driving[0].rgb.shape[0] // 2)

        def cut(view: View) -> View:
            if view.phase is None or not 0.2 < view.phase < 0.8:
                return view
            rgb, alpha = view.rgb.clone(), view.alpha.clone()
            rgb[upper], alpha[upper] = 1.0, 0.0
            return replace(view, rgb=rgb, alpha=alpha)

        parts = {
            n: [cut(v) for v in getattr(fit.views, n)] for n in ("observed", "moving", "driving")
        }
        fit.views = replace(fit.views, **parts)
        fit.run(tmp_path / str(resize), Silent(), StopFlag())
        view = fit.views.driving[0]
        with torch.no_grad():
            seen = [
                float(fit.render(fit.model.at(phase), view).alpha[0, upper].sum())
                for phase in (None, 0.5)
            ]
        return seen[1] / seen[0]

    assert left(0.1) > 1.1 * left(0.0)


class _Poison(StopFlag):
    """Writes `value` into one number of the parameter `name` when the fit is at `step`, the first
    `times` times."""

    def __init__(
        self, fit: Fit, name: str, value: float, *, step: int = 130, times: int = 1
    ) -> None:
        self._fit, self._name, self._value = fit, name, value
        self._step, self._left = step, times

    @property
    def requested(self) -> bool:
        if self._fit.step == self._step and self._left:
            self._left -= 1
            self._fit.model.params[self._name].data[3, 1] = self._value
        return False

    @requested.setter
    def requested(self, value: bool) -> None:
        pass


def test_a_perceptual_loss_now_and_then_weighs_what_it_weighs_always() -> None:
    """The mean weight over the steps is the configured one, however seldom it is evaluated."""
    for every in (1, 4, 5):
        fit = tiny_fit(replace(TINY, lpips=0.2, lpips_every=every))
        steps = range(fit.total - 20, fit.total)
        weights = [fit._loss_weights(step).lpips for step in steps]
        assert sum(weights) / len(weights) == pytest.approx(0.2)
        assert sum(weight > 0 for weight in weights) == 20 / every


def test_nan_rolls_back(tmp_path: Path) -> None:
    """A NaN that appears once costs a rollback and half the rates, not the run."""
    fit, reporter = tiny_fit(), Silent()
    fit.run(tmp_path, reporter, _Poison(fit, "means", math.nan))
    assert fit.step == fit.total
    assert fit.model.rate_scale == 0.5
    assert any("means" in text and "half the learning rates" in text for text in reporter.warnings)
    fit.model.check_finite()


def test_an_exploded_scale_rolls_back(tmp_path: Path) -> None:
    """The loss stays finite, so that only the check at a snapshot finds it."""
    fit, reporter = tiny_fit(), Silent()
    fit.run(tmp_path, reporter, _Poison(fit, "scales", 5.0))
    assert fit.step == fit.total
    assert fit.model.rate_scale == 0.5
    assert any("scales" in text and "back to step 100" in text for text in reporter.warnings)
    fit.model.check_finite()


def test_each_failure_halves_the_rates_again(tmp_path: Path) -> None:
    """Also after a resume: the state that a rollback restores does not hold the count."""
    fit, reporter = tiny_fit(), Silent()
    fit.run(tmp_path / "a", reporter, _Poison(fit, "means", math.nan, times=2))
    assert fit.model.rate_scale == 0.25
    assert [text.count("(0.5 of") + 2 * text.count("(0.25 of") for text in reporter.warnings] == [
        1,
        2,
    ]
    state = fit.state()
    state["step"] = torch.tensor(120)
    save_checkpoint(tmp_path / "b", 120, state)
    resumed = tiny_fit()
    resumed.run(tmp_path / "b", reporter, _Poison(resumed, "means", math.nan))
    assert resumed.model.rate_scale == 0.125


def test_a_checkpoint_is_finite(tmp_path: Path) -> None:
    """A stop right after a failure rolls back first: a resumed run begins from numbers."""
    fit = tiny_fit()

    class PoisonAndStop(_Poison):
        @property
        def requested(self) -> bool:
            return super().requested or fit.step >= 130

        @requested.setter
        def requested(self, value: bool) -> None:
            pass

    with pytest.raises(Preempted):
        fit.run(tmp_path, Silent(), PoisonAndStop(fit, "means", math.nan))
    found = load_latest(tmp_path)
    assert found is not None
    assert all(bool(torch.isfinite(value).all()) for value in found[1].values())


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


def test_what_holds_the_motion_together_leaves_the_gaussians_at_rest_alone() -> None:
    """Isometry and growth compare with the canonical Gaussians, which must not follow the motion."""
    fit = tiny_fit()
    fit.model.start_motion(fit.views.timeline)
    motion = fit.model.motion
    assert motion is not None
    torch.nn.init.constant_(motion.field.head.bias, 1.0)  # all move, and grow beyond what is free
    weights = replace(TINY, isometry=1.0, growth=1.0, planes=0.0, planes_time=0.0)
    deformed = fit.model.at(0.5, detach_canonical=True)
    fit.model.regularisation_loss(weights, deformed, 0).backward()
    assert all(value.grad is None for value in fit.model.params.values())
    head = motion.field.head.weight.grad
    assert head is not None
    assert bool(head.abs().sum() > 0)
