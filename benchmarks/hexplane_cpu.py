"""HexPlane, its smoothness loss and the deformation field on the CPU, compared with plain torch.

    python -m benchmarks.hexplane_cpu [--threads 1] [--out benchmarks/results/hexplane_cpu.md]

Points are on a closed surface, with one time per call. "Shown half": the gradient of half of the points
is zero, as when a picture shows one side. Exits with 1 if the fused kernel is less than `TARGET` times
faster than grid_sample.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from benchmarks.timing import best_ms, table, write_results
from orster_cli.core.types import Gaussians
from orster_cli.splatting.deformation import DeformationConfig, DeformationField
from orster_cli.splatting.hexplane import HexPlane, HexPlaneConfig
from orster_cli.splatting.mlp import apply_layers
from tests.helpers.scenes import shell

AABB = torch.tensor([[-0.6, -0.6, -0.6], [0.6, 0.6, 0.6]])
CASES = (
    (5_000, 16, 32, (1, 2)),
    (10_000, 16, 32, (1, 2)),
    (10_000, 16, 64, (1, 2)),
    (10_000, 32, 64, (1, 2, 4)),
    (30_000, 16, 32, (1, 2)),
)
TARGET = 2.0


def _gradient(rows: int, width: int, share: float) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    gradient = torch.randn(rows, width, generator=generator)
    gradient[torch.rand(rows, generator=generator) >= share] = 0
    return gradient


def _clear(*tensors: torch.Tensor) -> None:
    for tensor in tensors:
        tensor.grad = None


def planes(rounds: int) -> tuple[list[list[object]], float]:
    """Rows of the table, and the smallest speed-up."""
    rows, gains = [], []
    for count, channels, resolution, scales in CASES:
        config = HexPlaneConfig(channels=channels, resolution=resolution, scales=scales)
        field = HexPlane(config, AABB)
        points = shell(count)["means"].requires_grad_()
        whole, half = (_gradient(count, config.features, share) for share in (1.0, 0.5))

        def run(
            backend: str,
            gradient: torch.Tensor | None,
            field: HexPlane = field,
            points: torch.Tensor = points,
        ) -> Callable[[], None]:
            def task() -> None:
                field.backend = backend
                _clear(points, *field.parameters())
                out = field(points, 0.3)
                if gradient is not None:
                    out.backward(gradient)

            return task

        times = best_ms(
            {
                "f": run("numba", None),
                "b": run("numba", whole),
                "h": run("numba", half),
                "tf": run("torch", None),
                "tb": run("torch", whole),
            },
            rounds,
        )
        size = sum(p.numel() for p in field.parameters()) / 1e6
        gains.append(times["tb"] / times["b"])
        rows.append(
            [
                count,
                f"{channels}, {resolution}, {list(scales)} ({size:.2f} M)",
                f"{times['tf']:.1f} + {times['tb'] - times['tf']:.1f}",
                f"{times['f']:.2f} + {times['b'] - times['f']:.2f}",
                f"{times['f']:.2f} + {times['h'] - times['f']:.2f}",
                gains[-1],
            ]
        )
    return rows, min(gains)


def parts(rounds: int) -> list[list[object]]:
    """Time of each part of the default field at 10,000 Gaussians, compared with plain torch."""
    count, config = 10_000, DeformationConfig()
    field = DeformationField(config, AABB)
    nn.init.normal_(field.head.weight, std=0.01)
    planes, layers = field.features.planes, [*field.trunk, field.head]
    plain = nn.Sequential(layers[0], nn.ReLU(inplace=True), layers[1])
    scene = shell(count)
    means = scene["means"].requires_grad_()
    gaussians = Gaussians(
        means=means,
        quats=scene["quats"],
        log_scales=scene["scales"].log(),
        opacity_logits=torch.zeros(count),
        sh=torch.zeros(count, 1, 3),
    )
    features = torch.randn(count, config.hexplane.features, requires_grad=True)
    upstream = {share: _gradient(count, 10, share) for share in (1.0, 0.5)}
    optimizer = torch.optim.Adam(field.parameters(), lr=0.0, fused=True)

    def smoothness(backend: str) -> None:
        planes.backend = backend
        _clear(*planes.parameters())
        terms = planes.smoothness()
        (terms.space + terms.time).backward()
        planes.backend = "auto"

    def network(call: Callable[[torch.Tensor], torch.Tensor], share: float) -> None:
        _clear(features, *(p for layer in layers for p in layer.parameters()))
        call(features).backward(upstream[share])

    def whole(share: float) -> None:
        _clear(means, *field.parameters())
        moved = field(gaussians, 0.3)
        torch.autograd.backward(
            [moved.means, moved.quats, moved.log_scales],
            list(upstream[share].split([3, 4, 3], dim=-1)),
        )

    def quick(x: torch.Tensor) -> torch.Tensor:
        return apply_layers(x, layers)

    whole(1.0)  # gives the optimizer its gradients
    times = best_ms(
        {
            "smoothness, grid of torch operations": lambda: smoothness("torch"),
            "smoothness, fused": lambda: smoothness("numba"),
            "network, nn.Sequential": lambda: network(plain, 1.0),
            "network": lambda: network(quick, 1.0),
            "network, shown half": lambda: network(quick, 0.5),
            "whole field": lambda: whole(1.0),
            "whole field, shown half": lambda: whole(0.5),
            "Adam, fused": optimizer.step,
        },
        rounds,
    )
    return [[name, value] for name, value in times.items()]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=20)
    default = Path(__file__).parent / "results/hexplane_cpu.md"
    parser.add_argument("--out", type=Path, default=default)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows, gain = planes(options.rounds)
    head = ["points", "C, base, scales (parameters)", "grid_sample ms", "fused ms"]
    write_results(
        options.out,
        "HexPlane on the CPU",
        [
            f"Forward + backward, {options.threads} thread(s), gradients for planes and points.",
            table([*head, "fused, shown half ms", "gain"], rows),
            "The default field (C 16, base 32, scales 1 and 2, one hidden layer of 64) at 10,000 "
            "Gaussians, forward + backward:",
            table(["part", "ms"], parts(options.rounds)),
            f"Target: {TARGET:g} times faster than grid_sample. "
            + ("Reached." if gain >= TARGET else "Missed."),
        ],
    )
    return 0 if gain >= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
