"""The CPU rasterizer: one autograd function from 3D parameters to pixels.

N Gaussians, C cameras, H W pixels, M visible Gaussians. Nothing between the parameters and the
image is a tensor: forward keeps the M records (64 bytes each) and the frame for backward.
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
from orster_cli.splatting import numba_project as npj
from orster_cli.splatting.simd import LANES

_F = np.float32


@lru_cache(maxsize=8)
def _pool(threads: int, process: int) -> ThreadPoolExecutor:
    """Keyed by process too: a forked child has the object but not its threads."""
    del process
    return ThreadPoolExecutor(threads, thread_name_prefix="orster-raster")


def _each(threads: int, work: Any) -> None:
    """`work(thread)` for every thread at once; exceptions are raised here."""
    if threads == 1:
        work(0)
        return
    others = [_pool(threads - 1, os.getpid()).submit(work, thread) for thread in range(1, threads)]
    work(0)
    for other in others:
        other.result()


def nonfinite(tensor: Tensor) -> int:
    """How many values of a float32 CPU tensor are NaN or infinite."""
    return int(npj.nonfinite(tensor.detach().contiguous().numpy().reshape(-1).view(np.uint32)))


class _View(NamedTuple):
    """What forward keeps of one camera."""

    camera: np.ndarray  # [16]
    records: np.ndarray  # [16 N]
    ids: np.ndarray  # [N + 8]
    order: np.ndarray  # [M]
    frame: np.ndarray  # blocks of [5][8]
    touched: np.ndarray  # [threads, M] uint8
    count: int


class _Shape(NamedTuple):
    width: int
    height: int
    pairs: int
    blocks: int
    threads: int


def _scratch() -> tuple[np.ndarray, np.ndarray]:
    return np.empty(LANES, np.int32), np.empty(16 * LANES, _F)


def _spans() -> tuple[np.ndarray, np.ndarray]:
    """Room for the spans of eight row pairs of a batch of Gaussians."""
    return np.empty(nb.BATCH * LANES, np.int32), np.empty(nb.BATCH * LANES, np.int32)


def _camera(viewmat: Tensor, K: Tensor) -> np.ndarray:
    v, k = viewmat.detach().numpy(), K.detach().numpy()
    return np.concatenate(
        [v[:3, :3].ravel(), v[:3, 3], [k[0, 0], k[1, 1], k[0, 2], k[1, 2]]]
    ).astype(_F)


def _forward_view(
    flat: list[np.ndarray],
    camera: np.ndarray,
    shape: _Shape,
    near: float,
    eps2d: float,
    outputs: tuple[np.ndarray, ...],
) -> _View:
    means, quats, scales, opacities, colors = flat
    rgb, alpha, depth, radii = outputs
    n = opacities.size
    records, ids = np.empty(n * npj.REC, _F), np.zeros(n + LANES, np.int32)
    depths = np.empty(n, np.float64)
    count = npj.project(
        means,
        quats,
        scales,
        opacities,
        camera,
        _F(shape.width),
        _F(shape.height),
        _F(near),
        _F(eps2d),
        records,
        ids,
        radii,
        depths,
        _scratch(),
    )
    npj.set_features(colors, ids, count, records)
    order = np.empty(count, np.int32)
    sort_work = np.empty(count, np.uint32), np.empty(count, np.int32), np.empty(6144, np.int32)
    npj.sort_by_depth(depths, count, order, sort_work)
    frame = np.empty(shape.pairs * shape.blocks * nb.FRAME * LANES, _F)
    nb.clear(frame, shape.pairs, shape.blocks, shape.width, shape.height)
    touched = np.empty((shape.threads, count), np.uint8)

    def work(thread: int) -> None:
        nb.blend(
            records,
            order,
            count,
            frame,
            shape.blocks,
            thread,
            shape.threads,
            touched[thread],
            _spans(),
        )

    _each(shape.threads, work)
    nb.unpack(frame, shape.blocks, shape.width, shape.height, rgb, alpha, depth)
    return _View(camera, records, ids, order, frame, touched, count)


def _backward_view(
    flat: list[np.ndarray],
    view: _View,
    shape: _Shape,
    image_grads: tuple[np.ndarray, ...],
    grads: tuple[np.ndarray, ...],
) -> None:
    adjoint = np.zeros(shape.pairs * shape.blocks * nb.ADJOINT * LANES, _F)
    nb.prepare_backward(view.frame, shape.blocks, shape.width, shape.height, *image_grads, adjoint)
    sums = np.empty((shape.threads, view.count * npj.SUMS), _F)

    def work(thread: int) -> None:
        nb.blend_backward(
            view.records,
            view.order,
            view.count,
            adjoint,
            shape.blocks,
            thread,
            shape.threads,
            view.touched[thread],
            sums[thread],
            _spans(),
        )

    _each(shape.threads, work)
    npj.project_backward(
        *flat[:4],
        view.camera,
        _F(shape.width),
        _F(shape.height),
        view.records,
        view.ids,
        view.count,
        sums[0] if shape.threads == 1 else sums.sum(axis=0),
        grads,
        _scratch(),
    )


class _Rasterize(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, settings: Any, *tensors: Tensor) -> tuple[Tensor, ...]:
        viewmats, Ks, shape, near, eps2d, means2d_grad = settings
        flat = [tensor.detach().contiguous().numpy().reshape(-1) for tensor in tensors]
        c, n, h, w = len(viewmats), len(tensors[0]), shape.height, shape.width
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
                shape,
                near,
                eps2d,
                tuple(output[i].numpy().reshape(-1) for output in outputs),
            )
            for i in range(c)
        ]
        ctx.mark_non_differentiable(outputs[3])
        ctx.save_for_backward(*tensors)
        ctx.views, ctx.shape, ctx.means2d_grad = views, shape, means2d_grad
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
                ctx.shape,
                tuple(g[i].contiguous().numpy().reshape(-1) for g in image_grads[:3]),
                (means, quats, scales, opacities, colors, centres),
            )
        return None, *grads


def rasterize_numba(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    colors: Tensor,
    viewmats: Tensor,
    Ks: Tensor,
    width: int,
    height: int,
    *,
    near: float,
    eps2d: float,
    threads: int | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """As `torch_tiles.rasterize_tiles`, for finite float32 tensors on the CPU."""
    threads = max(1, threads if threads is not None else torch.get_num_threads())
    shape = _Shape(
        width, height, -(-height // nb.BLOCK_H), -(-width // nb.BLOCK_W), min(threads, height)
    )
    means2d_grad = torch.zeros(len(viewmats), len(means), 2)
    rgb, alpha, depth, radii = _Rasterize.apply(
        (viewmats, Ks, shape, near, eps2d, means2d_grad), means, quats, scales, opacities, colors
    )
    return rgb, alpha, depth, radii, means2d_grad


def warm_kernels() -> None:
    """Run every kernel once: a picture of one Gaussian, and back."""
    means = torch.tensor([[0.0, 0.0, 2.0]], requires_grad=True)
    rest = [torch.ones(1, 4), torch.full((1, 3), 0.1), torch.full((1,), 0.9), torch.ones(1, 3)]
    for tensor in rest:
        tensor.requires_grad_()
    K = torch.tensor([[[8.0, 0.0, 4.0], [0.0, 8.0, 4.0], [0.0, 0.0, 1.0]]])
    rgb, alpha, depth, _, _ = rasterize_numba(
        means, *rest, torch.eye(4)[None], K, 8, 8, near=0.01, eps2d=0.3
    )
    (rgb.sum() + alpha.sum() + depth.sum()).backward()
    nonfinite(means)
