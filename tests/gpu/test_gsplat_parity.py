"""gsplat on CUDA against the float64 torch reference: values and gradients."""

from __future__ import annotations

import pytest
import torch

from orster_cli.splatting.rasterize import rasterize
from tests.helpers.closeness import assert_close
from tests.helpers.scenes import NAMES, cameras, shell

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


@pytest.mark.parametrize(
    ("count", "size", "width", "height"),
    [(2000, 0.75, 64, 64), (300, 3.0, 48, 64), (300, 1.0, 33, 17), (1, 5.0, 33, 17)],
)
@pytest.mark.parametrize("settings", [{}, {"antialiased": True}, {"eps2d": 1.2}])
def test_values_and_gradients_agree_with_float64(count, size, width, height, settings):
    scene, views = shell(count, seed=1, size=size), cameras(2, width, height)
    results = []
    for device, dtype, backend in (
        ("cuda", torch.float32, "gsplat"),
        ("cpu", torch.float64, "torch"),
    ):
        leaves = {n: scene[n].to(device, dtype).requires_grad_() for n in NAMES}
        cams = {n: v.to(device, dtype) for n, v in views.items()}
        out = rasterize(**leaves, **cams, width=width, height=height, backend=backend, **settings)
        results.append((out, leaves))
    (fast, leaves), (reference, doubles) = results
    worst = (fast.rgb.detach().cpu() - reference.rgb.detach()).abs().amax(-1, keepdim=True)
    mask = worst < 1e-3  # alpha's threshold and the stop are steps
    assert float(mask.double().mean()) > 0.995
    generator = torch.Generator().manual_seed(2)
    for key in ("rgb", "alpha", "depth"):
        a, b = getattr(fast, key), getattr(reference, key)
        assert_close(a.cpu() * mask, b * mask, key, atol=1e-3, relative_l2=1e-4, bias=1e-4)
        weights = mask * torch.randn(b.shape, generator=generator, dtype=torch.float64)
        (a * weights.to(a)).sum().backward(retain_graph=True)
        (b * weights).sum().backward(retain_graph=True)
    for key in NAMES:
        expected = doubles[key].grad
        assert_close(
            leaves[key].grad,
            expected,
            key,
            rtol=1e-2,
            atol=1e-3 * float(expected.abs().max()),
            relative_l2=1e-3,
            angle=1e-6,
            bias=1e-3,
        )


def test_nothing_at_all_renders():
    scene = {n: v.cuda().requires_grad_() for n, v in shell(0).items()}
    cams = {n: v.cuda() for n, v in cameras(1, 16, 16).items()}
    out = rasterize(**scene, **cams, width=16, height=16)
    out.rgb.sum().backward()
    assert out.backend == "gsplat"
    assert not out.alpha.any()
