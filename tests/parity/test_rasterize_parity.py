"""numba against the float64 torch reference: values and gradients, random scenes and edge cases."""

from __future__ import annotations

import pytest
import torch

from orster_cli.splatting.rasterize import Render, rasterize
from tests.helpers.closeness import assert_close
from tests.helpers.scenes import NAMES, cameras, shell

OUTPUTS = ("rgb", "alpha", "depth")


def _stack(count: int) -> dict[str, torch.Tensor]:
    """Nearly opaque Gaussians behind each other: the exclusive stop and the alpha cap."""
    scene = shell(count, seed=3, size=4.0)
    scene["means"] *= 0.3
    scene["opacities"] = torch.full((count,), 0.97)
    return scene


def _edited(**edits) -> dict[str, torch.Tensor]:
    scene = shell(200, seed=7, size=1.5)
    for name, edit in edits.items():
        scene[name] = edit(scene[name])
    return scene


SCENES = {
    "fitted": (shell(1500), 64, 64),
    "coarse": (shell(400, seed=1, size=3.0), 48, 64),
    "odd size": (shell(300, seed=2), 33, 17),
    "one pixel": (shell(50, seed=2), 1, 1),
    "opaque stack": (_stack(300), 40, 40),
    "opacity one": (_edited(opacities=torch.ones_like), 32, 32),
    "half off-screen": (_edited(means=lambda m: m * 4), 37, 29),
    "around the camera": (_edited(means=lambda m: m * 12), 32, 32),
    "huge": (_edited(scales=lambda s: s * 60), 32, 24),
    "tiny": (_edited(scales=lambda s: s * 1e-4), 32, 24),
    "needles": (_edited(scales=lambda s: s * torch.tensor([12.0, 0.05, 0.05])), 64, 64),
    "transparent ones among others": (
        _edited(opacities=lambda o: torch.where(torch.arange(200) % 3 == 0, 0.0, o)),
        32,
        32,
    ),
    "quaternions of any norm": (_edited(quats=lambda q: q * 30), 32, 32),
    "one": ({name: value[:1] for name, value in shell(9, size=5.0).items()}, 33, 17),
}
NOTHING = {
    "no Gaussians": shell(0),
    "all behind": _edited(means=lambda m: m * 0.1 - 50 * cameras(1, 8, 8)["viewmats"][0, 2, :3]),
    "all off-screen": _edited(means=lambda m: m + 40 * cameras(1, 8, 8)["viewmats"][0, 0, :3]),
    "all transparent": _edited(opacities=lambda o: o * 0 + 0.99 / 255),
}


def _render(
    scene: dict, views: dict, width: int, height: int, dtype: torch.dtype, **settings
) -> tuple[Render, dict[str, torch.Tensor]]:
    leaves = {name: scene[name].to(dtype).clone().requires_grad_() for name in NAMES}
    backend = "numba" if dtype == torch.float32 else "torch"
    out = rasterize(
        *leaves.values(),
        views["viewmats"].to(dtype),
        views["Ks"].to(dtype),
        width,
        height,
        backend=backend,
        **settings,
    )
    return out, leaves


def _settled(fast: Render, reference: Render) -> torch.Tensor:
    """[C,H,W,1] 1 where both took the same Gaussians. Alpha's threshold and the stop are steps:
    a rounding error on one takes another Gaussian in, in at most one pixel in a thousand."""
    worst = sum((getattr(fast, n) - getattr(reference, n)).abs().sum(-1, True) for n in OUTPUTS)
    mask = worst < 1e-4
    assert int((~mask).sum()) <= 1 + mask.numel() // 1000
    return mask


@pytest.mark.parametrize("antialiased", [False, True])
@pytest.mark.parametrize("name", SCENES)
def test_values_and_gradients_agree_with_float64(name, antialiased):
    scene, width, height = SCENES[name]
    views, how = cameras(2, width, height), {"antialiased": antialiased}
    fast, leaves = _render(scene, views, width, height, torch.float32, threads=2, **how)
    reference, doubles = _render(scene, views, width, height, torch.float64, **how)
    mask = _settled(fast, reference)
    generator = torch.Generator().manual_seed(5)
    for key in OUTPUTS:
        a, b = getattr(fast, key), getattr(reference, key)
        assert a.shape == b.shape
        assert_close(a * mask, b * mask, key, rtol=1e-4, atol=1e-5, relative_l2=5e-6)
        weights = mask * torch.randn(b.shape, generator=generator, dtype=torch.float64)
        (a * weights.float()).sum().backward(retain_graph=True)
        (b * weights).sum().backward(retain_graph=True)
    torch.testing.assert_close(fast.radii, reference.radii, rtol=0, atol=1)
    for key in NAMES:
        gradient, expected = leaves[key].grad, doubles[key].grad
        assert_close(
            gradient,
            expected,
            key,
            rtol=1e-3,
            atol=1e-4 * float(expected.abs().max()),
            relative_l2=1e-4 if name in {"needles", "around the camera", "huge"} else 2e-5,
        )


@pytest.mark.parametrize("output", OUTPUTS)
def test_each_output_has_its_own_gradient(output):
    scene, views = shell(300, seed=4), cameras(1, 32, 32)
    fast, leaves = _render(scene, views, 32, 32, torch.float32)
    reference, doubles = _render(scene, views, 32, 32, torch.float64)
    weights = torch.linspace(-1, 1, getattr(reference, output).numel(), dtype=torch.float64)
    for out, kind in ((fast, torch.float32), (reference, torch.float64)):
        (getattr(out, output).flatten() * weights.to(kind)).sum().backward()
    for key in NAMES:
        if output != "rgb" and key == "colors":
            assert not leaves[key].grad.any()
        else:
            assert_close(leaves[key].grad, doubles[key].grad, key, atol=1e-3, relative_l2=2e-5)
    assert_close(
        fast.means2d_grad, reference.means2d_grad, "means2d_grad", atol=1e-4, relative_l2=2e-5
    )


@pytest.mark.parametrize("name", NOTHING)
def test_nothing_to_see_is_the_background_and_zero_gradients(name):
    background = torch.tensor([0.25, 0.5, 1.0], requires_grad=True)
    out, leaves = _render(
        NOTHING[name], cameras(1, 33, 17), 33, 17, torch.float32, background=background
    )
    assert torch.equal(out.rgb, background.expand(1, 17, 33, 3))
    assert not out.alpha.any()
    assert not out.depth.any()
    assert not out.radii.any()
    (out.rgb.sum() + out.alpha.sum() + out.depth.sum()).backward()
    assert torch.equal(background.grad, torch.full((3,), 17.0 * 33))
    assert all(not leaf.grad.any() for leaf in leaves.values())


def test_the_background_shines_through_what_is_left():
    scene, views = shell(200, seed=6), cameras(1, 24, 24)
    black, _ = _render(scene, views, 24, 24, torch.float32)
    white, _ = _render(scene, views, 24, 24, torch.float32, background=torch.ones(3))
    torch.testing.assert_close(white.rgb, black.rgb + 1 - black.alpha)


def test_near_and_eps2d_mean_the_same_in_both():
    scene, views = shell(300, seed=8), cameras(1, 32, 32)
    settings = {"near": 2.0, "eps2d": 1.5}
    fast, _ = _render(scene, views, 32, 32, torch.float32, **settings)
    reference, _ = _render(scene, views, 32, 32, torch.float64, **settings)
    default, _ = _render(scene, views, 32, 32, torch.float32)
    assert (fast.radii == 0).sum() > (default.radii == 0).sum()
    mask = _settled(fast, reference)
    assert_close(fast.rgb * mask, reference.rgb * mask, "rgb", atol=1e-5)


def test_runs_are_bitwise_equal_and_threads_change_no_pixel():
    scene, views = shell(2000, seed=9), cameras(2, 50, 41)

    def run(threads: int) -> tuple[torch.Tensor, list[torch.Tensor]]:
        out, leaves = _render(scene, views, 50, 41, torch.float32, threads=threads)
        (out.rgb.square().sum() + out.depth.sum()).backward()
        return torch.cat([out.rgb, out.alpha, out.depth], -1), [v.grad for v in leaves.values()]

    image, gradients = run(2)
    again, gradients_again = run(2)
    single, gradients_single = run(1)
    assert torch.equal(image, again)
    assert torch.equal(image, single)
    for a, b, c in zip(gradients, gradients_again, gradients_single, strict=True):
        assert torch.equal(a, b)
        assert_close(a, c, "one thread", atol=1e-3, relative_l2=1e-6)


def test_backward_may_run_twice():
    out, leaves = _render(shell(100), cameras(1, 16, 16), 16, 16, torch.float32)
    loss = out.rgb.square().sum()
    loss.backward(retain_graph=True)
    first = leaves["means"].grad.clone()
    loss.backward()
    assert torch.equal(leaves["means"].grad, 2 * first)


def test_strided_parameters_are_taken_as_they_are():
    scene, views = shell(64, seed=2), cameras(1, 16, 16)
    wide = torch.randn(64, 6)
    wide[:, ::2] = scene["means"]
    plain, _ = _render(scene, views, 16, 16, torch.float32)
    strided = rasterize(wide[:, ::2], *list(scene.values())[1:], **views, width=16, height=16)
    assert torch.equal(plain.rgb, strided.rgb)
