"""`rasterize`: values known by hand, and what it refuses."""

from __future__ import annotations

import math
import warnings

import pytest
import torch

from orster_cli.core.errors import ConfigError, MissingResourceError, NumericalError
from orster_cli.splatting import gsplat_raster
from orster_cli.splatting.rasterize import choose_backend, rasterize
from tests.helpers.scenes import cameras, shell

K = torch.tensor([[[10.0, 0, 4.5], [0, 10.0, 4.5], [0, 0, 1]]])
FRONT = torch.eye(4)[None]


def _one(depth: float, opacity: float, color: tuple[float, float, float]) -> dict:
    return {
        "means": torch.tensor([[0.0, 0.0, depth]]),
        "quats": torch.tensor([[1.0, 0, 0, 0]]),
        "scales": torch.full((1, 3), 0.2),
        "opacities": torch.tensor([opacity]),
        "colors": torch.tensor([color]),
    }


@pytest.mark.parametrize(("backend", "dtype"), [("numba", torch.float32), ("torch", torch.float64)])
class TestByHand:
    def _render(self, scenes, backend, dtype, **settings):
        scene = {k: torch.cat([s[k] for s in scenes]).to(dtype) for k in scenes[0]}
        cams = FRONT.to(dtype), K.to(dtype)
        return rasterize(*scene.values(), *cams, 9, 9, backend=backend, **settings)

    def test_one_gaussian_in_the_middle(self, backend, dtype):
        # z = 2, f = 10, sigma = 0.2: variance (10 / 2 * 0.2)^2 = 1, plus eps 0.3 -> 1.3 px^2;
        # pixel (4, 4) has its centre at the projected mean, its right neighbour 1 px away
        out = self._render([_one(2.0, 0.8, (1.0, 0.5, 0.0))], backend, dtype)
        side = 0.8 * math.exp(-0.5 / 1.3)
        assert float(out.alpha[0, 4, 4, 0]) == pytest.approx(0.8, rel=1e-6)
        assert float(out.alpha[0, 4, 5, 0]) == pytest.approx(side, rel=1e-6)
        assert float(out.rgb[0, 4, 5, 1]) == pytest.approx(0.5 * side, rel=1e-6)
        assert float(out.depth[0, 5, 4, 0]) == pytest.approx(2 * side, rel=1e-6)
        # reach: sqrt(2 ln(0.8 * 255)) sigmas = 3.26 * sqrt(1.3) = 3.72 -> radius 4
        assert out.radii.tolist() == [[4]]
        # (4 px, 0) is 4 px away: alpha = 0.8 exp(-8 / 1.3) = 0.0017 < 1/255: nothing
        assert float(out.alpha[0, 4, 8, 0]) == 0.0

    def test_near_hides_far_whatever_the_order(self, backend, dtype):
        near, far = _one(2.0, 0.5, (1.0, 0.0, 0.0)), _one(4.0, 0.5, (0.0, 1.0, 0.0))
        for scenes in ([near, far], [far, near]):
            out = self._render(scenes, backend, dtype)
            assert out.rgb[0, 4, 4].tolist() == pytest.approx([0.5, 0.25, 0.0], rel=1e-6)
            assert float(out.depth[0, 4, 4, 0]) == pytest.approx(0.5 * 2 + 0.25 * 4, rel=1e-6)

    def test_alpha_is_capped_and_the_stop_is_exclusive(self, backend, dtype):
        # T after one capped Gaussian is 1e-3; the second would take it to 1e-6: left out
        scenes = [_one(2.0, 1.0, (1.0, 0, 0)), _one(3.0, 1.0, (0, 1.0, 0))]
        out = self._render(scenes, backend, dtype)
        assert out.rgb[0, 4, 4].tolist() == pytest.approx([0.999, 0.0, 0.0], rel=1e-6)
        assert float(out.alpha[0, 4, 4, 0]) == pytest.approx(0.999, rel=1e-6)

    def test_opacity_below_one_in_255_is_nothing(self, backend, dtype):
        out = self._render([_one(2.0, 0.999 / 255, (1, 1, 1))], backend, dtype)
        assert out.radii.tolist() == [[0]]
        assert not out.alpha.any()


@pytest.mark.parametrize("name", ["means", "quats", "scales", "opacities", "colors", "viewmats"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_tensor_that_is_not_finite_is_named(name, dtype):
    tensors = {k: v.to(dtype) for k, v in (shell(20) | cameras(1, 8, 8)).items()}
    tensors[name] = tensors[name].clone()
    tensors[name].view(-1)[-1] = float("nan" if dtype == torch.float32 else "inf")
    with pytest.raises(NumericalError, match=f"{name} has 1 values") as caught:
        rasterize(**tensors, width=8, height=8)
    assert caught.value.hint


def test_shapes_and_kinds_are_checked():
    tensors = shell(20) | cameras(1, 8, 8)
    with pytest.raises(ValueError, match=r"quats must have shape \[20, 4\], got \[20, 3\]"):
        rasterize(**tensors | {"quats": torch.zeros(20, 3)}, width=8, height=8)
    with pytest.raises(ValueError, match="colors is torch"):
        rasterize(**tensors | {"colors": tensors["colors"].double()}, width=8, height=8)
    with pytest.raises(ValueError, match="got 0x8"):
        rasterize(**tensors, width=0, height=8)


def test_camera_gradients_need_the_reference():
    tensors = shell(20) | cameras(1, 8, 8)
    tensors["viewmats"] = tensors["viewmats"].clone().requires_grad_()
    with pytest.raises(ConfigError, match="no gradients for cameras"):
        rasterize(**tensors, width=8, height=8)
    rasterize(**tensors, width=8, height=8, backend="torch").rgb.sum().backward()
    assert tensors["viewmats"].grad.any()


def test_the_backend_follows_device_and_dtype():
    assert choose_backend(torch.zeros(1, 3)) == "numba"
    with pytest.warns(UserWarning, match="about 30 times slower"):
        assert choose_backend(torch.zeros(1, 3, dtype=torch.float64)) == "torch"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert choose_backend(torch.zeros(1, 3).double(), "torch") == "torch"
    with pytest.raises(ConfigError, match="float32 on the CPU"):
        choose_backend(torch.zeros(1, 3).double(), "numba")
    with pytest.raises(ConfigError, match="float32 on CUDA"):
        choose_backend(torch.zeros(1, 3), "gsplat")
    with pytest.raises(ConfigError, match="unknown rasterizer 'cuda'"):
        choose_backend(torch.zeros(1, 3), "cuda")


def test_a_gsplat_that_cannot_be_built_says_what_to_do():
    error = gsplat_raster.build_failure("CalledProcessError: ninja failed")
    assert isinstance(error, MissingResourceError)
    assert "nvcc" in str(error)
    assert torch.__version__ in str(error)
    assert "--device cpu" in error.hint
    if not torch.cuda.is_available():
        with pytest.raises(MissingResourceError, match="no CUDA device"):
            gsplat_raster.load_gsplat()
