"""The reference's projection against gsplat's own pure torch functions (float64, values and
gradients), and the reference's blending against finite differences."""

from __future__ import annotations

import pytest
import torch

from orster_cli.splatting.raster_rules import EPS2D, NEAR
from orster_cli.splatting.raster_types import RasterInput
from orster_cli.splatting.torch_tiles import project, rasterize_tiles, rotation_matrices
from tests.helpers.closeness import assert_close
from tests.helpers.scenes import cameras, shell


@pytest.fixture(scope="module")
def gsplat():
    return pytest.importorskip("gsplat.cuda._torch_impl", reason="gsplat is not installed")


@pytest.mark.parametrize("spread", [1.0, 8.0], ids=["in view", "across the frustum's margin"])
@pytest.mark.parametrize("antialiased", [False, True])
def test_projection_is_gsplats(gsplat, spread, antialiased):
    scene = {name: value.double() for name, value in shell(400, seed=11).items()}
    scene["means"] *= spread
    scene["opacities"] = torch.ones(400, dtype=torch.float64)
    view = {name: value.double() for name, value in cameras(1, 60, 44).items()}
    results = []
    for theirs in (False, True):
        leaves = [scene[n].clone().requires_grad_() for n in ("means", "quats", "scales")]
        if theirs:
            covars, _ = gsplat._quat_scale_to_covar_preci(leaves[1], leaves[2], True, False)
            radii, centres, depths, conics, kept = gsplat._fully_fused_projection(
                *(leaves[0], covars, view["viewmats"], view["Ks"], 60, 44, EPS2D, NEAR),
                calc_compensations=antialiased,
            )
            radii, centres, depths, conics = radii[0], centres[0], depths[0], conics[0]
            opacities = kept[0] if antialiased else scene["opacities"]
        else:
            centres, conics, depths, radii, opacities = project(
                *leaves,
                scene["opacities"],
                view["viewmats"][0],
                view["Ks"][0],
                60,
                44,
                near=NEAR,
                eps2d=EPS2D,
                antialiased=antialiased,
            )
        seen = radii.amin(-1) > 0
        weights = torch.linspace(0.5, 2, 400, dtype=torch.float64)[:, None] * seen[:, None]
        found = torch.cat([centres, conics, depths[:, None], opacities[:, None]], -1)
        (weights * found).sum().backward()
        results.append((radii, centres, conics, depths, opacities, [leaf.grad for leaf in leaves]))
    ours, theirs = results
    both = (ours[0].amin(-1) > 0) & (theirs[0].amin(-1) > 0)
    assert both.sum() > 20
    torch.testing.assert_close(ours[0][both], theirs[0][both].double(), rtol=0, atol=1)
    for a, b in zip(ours[1:5], theirs[1:5], strict=True):
        torch.testing.assert_close(a[both], b[both], rtol=1e-10, atol=1e-10)
    for a, b, name in zip(ours[5], theirs[5], ("means", "quats", "scales"), strict=True):
        assert_close(a[both], b[both], name, rtol=1e-8, atol=1e-8, relative_l2=1e-9)


def test_rotations_are_gsplats_and_known_by_hand(gsplat):
    quats = torch.randn(50, 4, dtype=torch.float64)
    torch.testing.assert_close(rotation_matrices(quats), gsplat._quat_to_rotmat(quats))
    quarter = rotation_matrices(torch.tensor([[1.0, 0.0, 0.0, 1.0]]))[0]  # 90 degrees about z
    torch.testing.assert_close(quarter @ torch.tensor([1.0, 0, 0]), torch.tensor([0.0, 1, 0]))


@pytest.mark.parametrize("antialiased", [False, True])
def test_gradients_of_the_reference_are_finite_differences(antialiased):
    scene = {name: value.double() for name, value in shell(3, seed=1, size=0.9).items()}
    view = {name: value.double() for name, value in cameras(1, 6, 5).items()}
    leaves = [value.clone().requires_grad_() for value in (*scene.values(), *view.values())]

    def outputs(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        scene = RasterInput(*tensors, 6, 5, antialiased=antialiased)
        return tuple(rasterize_tiles(scene, tile=4)[:3])

    assert torch.autograd.gradcheck(outputs, leaves, eps=1e-7, atol=1e-5, rtol=1e-4)


def test_tiles_do_not_show():
    scene = {name: value.double() for name, value in shell(300, seed=2).items()}
    view = {name: value.double() for name, value in cameras(1, 31, 22).items()}
    small, large = (
        rasterize_tiles(RasterInput(*scene.values(), *view.values(), 31, 22), tile=tile)
        for tile in (5, 64)
    )
    for a, b in zip(small[:3], large[:3], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
