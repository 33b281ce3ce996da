"""The CPU rasterizer: one autograd function from 3D parameters to pixels.

N Gaussians, C cameras, H W pixels, M visible Gaussians. No intermediate value is a tensor: forward
saves M records of 64 bytes and the framebuffer for backward.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from orster_cli.splatting import numba_blend as nb
from orster_cli.splatting.numba_project import project
from orster_cli.splatting.numba_project_backward import project_backward
from orster_cli.splatting.numba_records import REC, SUMS, set_features, sort_by_depth
from orster_cli.splatting.numba_records import count_nonfinite as count_nonfinite_bits
from orster_cli.splatting.raster_types import RasterInput, RasterOutput
from orster_cli.splatting.simd import LANES

_F = np.float32


@lru_cache(maxsize=8)
def _pool(threads: int, process: int) -> ThreadPoolExecutor:
    """One pool per process, because a forked child inherits the pool without its threads."""
    del process
    return ThreadPoolExecutor(threads, thread_name_prefix="orster-raster")


def _run_threads(threads: int, work: Any) -> None:
    """Run `work(thread)` on all threads at once and raise their exceptions."""
    if threads == 1:
        work(0)
        return
    others = [_pool(threads - 1, os.getpid()).submit(work, thread) for thread in range(1, threads)]
    work(0)
    for other in others:
        other.result()


def count_nonfinite(tensor: Tensor) -> int:
    """The number of values of a float32 CPU tensor that are NaN or infinite."""
    return int(
        count_nonfinite_bits(tensor.detach().contiguous().numpy().reshape(-1).view(np.uint32))
    )


class _View(NamedTuple):
    """What forward saves for backward of one camera."""

    camera: np.ndarray  # [16]
    records: np.ndarray  # [16 N]
    ids: np.ndarray  # [N + 8]
    order: np.ndarray  # [M]
    framebuffer: np.ndarray  # blocks of [5][8]
    hit: np.ndarray  # [threads, M] uint8
    count: int


class _Frame(NamedTuple):
    """The image in `pairs` of rows of `blocks` each, and the settings of one call."""

    width: int
    height: int
    pairs: int
    blocks: int
    threads: int
    near: float
    eps2d: float
    antialiased: bool


def _scratch() -> tuple[np.ndarray, np.ndarray]:
    return np.empty(LANES, np.int32), np.empty(16 * LANES, _F)


def _spans() -> tuple[np.ndarray, np.ndarray]:
    """Buffers for the spans of eight row pairs of a batch of Gaussians."""
    return np.empty(nb.BATCH * LANES, np.int32), np.empty(nb.BATCH * LANES, np.int32)


def _camera(viewmat: Tensor, K: Tensor) -> np.ndarray:
    v, k = viewmat.detach().numpy(), K.detach().numpy()
    return np.concatenate(
        [v[:3, :3].ravel(), v[:3, 3], [k[0, 0], k[1, 1], k[0, 2], k[1, 2]]]
    ).astype(_F)


def _forward_view(
    flat: list[np.ndarray],
    camera: np.ndarray,
    frame: _Frame,
    outputs: tuple[np.ndarray, ...],
) -> _View:
    means, quats, scales, opacities, colors = flat
    rgb, alpha, depth, radii = outputs
    n = opacities.size
    records, ids = np.empty(n * REC, _F), np.zeros(n + LANES, np.int32)
    depths = np.empty(n, np.float64)
    count = project(
        means,
        quats,
        scales,
        opacities,
        camera,
        _F(frame.width),
        _F(frame.height),
        _F(frame.near),
        _F(frame.eps2d),
        frame.antialiased,
        records,
        ids,
        radii,
        depths,
        _scratch(),
    )
    set_features(colors, ids, count, records)
    order = np.empty(count, np.int32)
    sort_work = np.empty(count, np.uint32), np.empty(count, np.int32), np.empty(6144, np.int32)
    sort_by_depth(depths, count, order, sort_work)
    framebuffer = np.empty(frame.pairs * frame.blocks * nb.FRAME * LANES, _F)
    nb.clear(framebuffer, frame.pairs, frame.blocks, frame.width, frame.height)
    hit = np.empty((frame.threads, count), np.uint8)

    def work(thread: int) -> None:
        nb.blend(
            records,
            order,
            count,
            framebuffer,
            frame.blocks,
            thread,
            frame.threads,
            hit[thread],
            _spans(),
        )

    _run_threads(frame.threads, work)
    nb.unpack(framebuffer, frame.blocks, frame.width, frame.height, rgb, alpha, depth)
    return _View(camera, records, ids, order, framebuffer, hit, count)


def _backward_view(
    flat: list[np.ndarray],
    view: _View,
    frame: _Frame,
    image_grads: tuple[np.ndarray, ...],
    grads: tuple[np.ndarray, ...],
) -> None:
    adjoint = np.zeros(frame.pairs * frame.blocks * nb.ADJOINT * LANES, _F)
    nb.prepare_backward(
        view.framebuffer, frame.blocks, frame.width, frame.height, *image_grads, adjoint
    )
    sums = np.empty((frame.threads, view.count * SUMS), _F)

    def work(thread: int) -> None:
        nb.blend_backward(
            view.records,
            view.order,
            view.count,
            adjoint,
            frame.blocks,
            thread,
            frame.threads,
            view.hit[thread],
            sums[thread],
            _spans(),
        )

    _run_threads(frame.threads, work)
    project_backward(
        *flat[:4],
        view.camera,
        _F(frame.width),
        _F(frame.height),
        _F(frame.eps2d),
        frame.antialiased,
        view.records,
        view.ids,
        view.count,
        sums[0] if frame.threads == 1 else sums.sum(axis=0),
        grads,
        _scratch(),
    )


class _Rasterize(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, settings: Any, *tensors: Tensor) -> tuple[Tensor, ...]:
        viewmats, Ks, frame, means2d_grad = settings
        flat = [tensor.detach().contiguous().numpy().reshape(-1) for tensor in tensors]
        c, n, h, w = len(viewmats), len(tensors[0]), frame.height, frame.width
        outputs = tuple(
            torch.empty(c, *rest, dtype=dtype)
            for rest, dtype in (
                ((h, w, 3), torch.float32),
                ((h, w, 1), torch.float32),
                ((h, w, 1), torch.float32),
                ((n,), torch.int32),
            )
        )
        views = [
            _forward_view(
                flat,
                _camera(viewmats[i], Ks[i]),
                frame,
                tuple(output[i].numpy().reshape(-1) for output in outputs),
            )
            for i in range(c)
        ]
        ctx.mark_non_differentiable(outputs[3])
        ctx.save_for_backward(*tensors)
        ctx.views, ctx.frame, ctx.means2d_grad = views, frame, means2d_grad
        return outputs

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *image_grads: Tensor) -> tuple[Tensor | None, ...]:
        tensors = ctx.saved_tensors
        flat = [tensor.detach().contiguous().numpy().reshape(-1) for tensor in tensors]
        grads = [
            torch.zeros_like(tensor, memory_format=torch.contiguous_format) for tensor in tensors
        ]
        means, quats, scales, opacities, colors = (g.numpy().reshape(-1) for g in grads)
        ctx.means2d_grad.zero_()
        for i, view in enumerate(ctx.views):
            if view.count == 0:
                continue
            centres = ctx.means2d_grad[i].numpy().reshape(-1)
            _backward_view(
                flat,
                view,
                ctx.frame,
                tuple(g[i].contiguous().numpy().reshape(-1) for g in image_grads[:3]),
                (means, quats, scales, opacities, colors, centres),
            )
        return None, *grads


def rasterize_numba(scene: RasterInput, *, threads: int | None = None) -> RasterOutput:
    """Rasterize float32 tensors on the CPU; `torch_tiles.rasterize_tiles` is the reference."""
    threads = max(1, threads if threads is not None else torch.get_num_threads())
    frame = _Frame(
        scene.width,
        scene.height,
        -(-scene.height // nb.BLOCK_H),
        -(-scene.width // nb.BLOCK_W),
        min(threads, scene.height),
        scene.near,
        scene.eps2d,
        scene.antialiased,
    )
    means2d_grad = torch.zeros(len(scene.viewmats), len(scene.means), 2)
    rgb, alpha, depth, radii = _Rasterize.apply(
        (scene.viewmats, scene.Ks, frame, means2d_grad), *scene.gaussians
    )
    return RasterOutput(rgb, alpha, depth, radii, means2d_grad)


def warm_kernels() -> None:
    """Run every kernel once: forward and backward of one Gaussian."""
    means = torch.tensor([[0.0, 0.0, 2.0]], requires_grad=True)
    rest = [torch.ones(1, 4), torch.full((1, 3), 0.1), torch.full((1,), 0.9), torch.ones(1, 3)]
    for tensor in rest:
        tensor.requires_grad_()
    K = torch.tensor([[[8.0, 0.0, 4.0], [0.0, 8.0, 4.0], [0.0, 0.0, 1.0]]])
    out = rasterize_numba(RasterInput(means, *rest, torch.eye(4)[None], K, 8, 8))
    (out.rgb.sum() + out.alpha.sum() + out.depth.sum()).backward()
    count_nonfinite(means)
