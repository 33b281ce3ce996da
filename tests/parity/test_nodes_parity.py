"""Control nodes and image losses on the CPU have the values and gradients of plain torch in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from orster_cli.construction.image_losses_numba import image_terms_fused
from orster_cli.construction.losses import image_terms
from orster_cli.splatting.nodes import follow, rigidity
from orster_cli.splatting.nodes_numba import follow_fused, rigidity_fused

G, M, K, J = 50, 30, 4, 5  # Gaussians, nodes, nodes that one follows, neighbours of a node


def _inputs() -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(0)
    weights = torch.rand(G, K, generator=g)
    return {
        "positions": torch.randn(M, 3, generator=g),
        "index": torch.randint(M, (G, K), generator=g).int(),
        "weights": weights / weights.sum(dim=1, keepdim=True),
        "graph": torch.randint(M, (M, J), generator=g).int(),
        "deltas": 0.4 * torch.randn(M, 10, generator=g),
        "means": torch.randn(G, 3, generator=g),
        "quats": torch.randn(G, 4, generator=g),
        "log_scales": torch.randn(G, 3, generator=g),
        "g_scales": torch.randn(G, 3, generator=g),
        "g_means": torch.randn(G, 3, generator=g),
        "g_quats": torch.randn(G, 4, generator=g),
    }


def _compare(quick: list[Tensor], plain: list[Tensor]) -> None:
    for a, b in zip(quick, plain, strict=True):
        assert float(b.detach().abs().max()) > 1e-2
        torch.testing.assert_close(a.detach().double(), b.detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shown", [1.0, 0.4])
def test_following_the_nodes(shown: float) -> None:
    """Also where the image shows some Gaussians only: the others have no gradient."""
    x = _inputs()
    seen = (torch.rand(G, 1, generator=torch.Generator().manual_seed(1)) < shown).float()
    found = []
    for dtype, function in ((torch.float32, follow_fused), (torch.float64, follow)):
        y = {k: v if v.dtype == torch.int32 else v.to(dtype) for k, v in x.items()}
        names = ("deltas", "means", "quats", "log_scales")
        leaves = [y[k].clone().requires_grad_() for k in names]
        moved = function(y["positions"], y["index"], y["weights"], *leaves)
        upstream = [y[k] * seen for k in ("g_means", "g_quats", "g_scales")]
        torch.autograd.backward(moved, [x.to(dtype) for x in upstream])
        grads = [leaf.grad for leaf in leaves if leaf.grad is not None]
        assert len(grads) == 4
        found.append([*moved, *grads])
    _compare(*found)


def test_rigidity_of_the_nodes() -> None:
    x, found = _inputs(), []
    for dtype, function in ((torch.float32, rigidity_fused), (torch.float64, rigidity)):
        deltas = x["deltas"].to(dtype).clone().requires_grad_()
        energy = function(x["positions"].to(dtype), x["graph"], deltas)
        (3 * energy).backward()
        assert deltas.grad is not None
        found.append([energy, deltas.grad])
    _compare(*found)


def test_image_losses() -> None:
    g = torch.Generator().manual_seed(0)
    rgb, target = torch.rand(2, 9, 7, 3, generator=g)
    alpha, target_alpha = torch.rand(2, 9, 7, 1, generator=g)
    background, upstream = torch.rand(3, generator=g), torch.tensor([1.0, -2.0, 0.3])
    found = []
    for dtype, function in ((torch.float32, image_terms_fused), (torch.float64, image_terms)):
        leaves = [x.to(dtype).clone().requires_grad_() for x in (rgb, alpha)]
        fixed = (x.to(dtype) for x in (target, target_alpha, background))
        terms = function(*leaves, *fixed)
        (terms * upstream.to(dtype)).sum().backward()
        grads = [100 * leaf.grad for leaf in leaves if leaf.grad is not None]
        found.append([terms, *grads])
    _compare(*found)
