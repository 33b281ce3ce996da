"""Compressed PLY, the layout of PlayCanvas and SuperSplat: 16 bytes a Gaussian. N Gaussians.

Chunks of 256 Gaussians in Morton order state the least and the largest position, log scale and colour
(18 floats). A Gaussian lies between them: 11, 10, 11 bits of position and of log scale, 8 bits of each
colour and of opacity, 2 + 3 x 10 bits of rotation (`packed_quats`, wxyz).
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from plyfile import PlyData, PlyElement, PlyParseError

from orster_cli.core.errors import InputError
from orster_cli.core.types import SH_C0, Gaussians
from orster_cli.export.job import ExportJob, Outcome
from orster_cli.export.packed_quats import pack_quats, unpack_quats
from orster_cli.export.splats import axis_words, check_some, floats, write_still
from orster_cli.geometry.axes import flat_colors, turned, with_turns

CHUNK = 256
GROUPS = (("x", "y", "z"), ("scale_x", "scale_y", "scale_z"), ("r", "g", "b"))
CHUNK_COLUMNS = [f"{end}_{name}" for names in GROUPS for end in ("min", "max") for name in names]
VERTEX_COLUMNS = ["packed_position", "packed_rotation", "packed_scale", "packed_color"]
BITS_OF_PLACE, BITS_OF_COLOR = (11, 10, 11), (8, 8, 8, 8)
SURE = 1e-4  # opacities of 0 and 1 are taken for this far from them: their logits are finite
MORTON_BITS = 10


def write_compressed_ply(job: ExportJob, path: Path) -> Outcome:
    """One moment as compressed PLY, Y down unless told."""
    up = job.options.up or "-y"
    made = write_still(
        job, path, partial(compressed_ply_bytes, up=up), partial(read_compressed_ply, up=up)
    )
    return Outcome(
        psnr=made.psnr,
        facts={**made.facts, "up": up},
        note=f"{made.note}, {axis_words(up)} up",
    )


@dataclass(frozen=True)
class _Span:
    """The values [N,3] of a group between the ends [C,3] of their chunks."""

    low: np.ndarray
    high: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray) -> _Span:
        starts = np.arange(0, len(values), CHUNK)
        low = np.minimum.reduceat(values, starts).astype(np.float32)
        return cls(low, np.maximum.reduceat(values, starts).astype(np.float32))

    def share(self, values: np.ndarray) -> np.ndarray:
        """[N,3] in [0,1]; 0 where a chunk has no extent."""
        low, high = self._each(len(values))
        return (values - low) / np.where(high > low, high - low, 1.0)

    def values(self, share: np.ndarray) -> np.ndarray:
        low, high = self._each(len(share))
        return low + share * (high - low)

    def _each(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        chunk = np.arange(count) // CHUNK
        return self.low[chunk].astype(np.float64), self.high[chunk].astype(np.float64)


def compressed_ply_bytes(gaussians: Gaussians, *, up: str) -> bytes:
    """The file. Neighbours come after one another, so the order is not that of the asset. InputError: there
    are no Gaussians."""
    check_some(gaussians)
    there = turned(with_turns(flat_colors(gaussians)), up)
    means = floats(there.means).astype(np.float64)
    order = morton_order(means)
    colors = floats(there.sh[:, 0]) * SH_C0 + 0.5
    columns = [means[order], floats(there.log_scales)[order].astype(np.float64), colors[order]]
    spans = [_Span.of(values) for values in columns]
    shares = [span.share(values) for span, values in zip(spans, columns, strict=True)]
    opacity = floats(there.opacity_logits.sigmoid())[order, None]

    chunks = np.empty(len(spans[0].low), [(name, "<f4") for name in CHUNK_COLUMNS])
    ends = np.concatenate([end for span in spans for end in (span.low, span.high)], axis=1)
    for i, name in enumerate(CHUNK_COLUMNS):
        chunks[name] = ends[:, i]
    vertices = np.empty(len(means), [(name, "<u4") for name in VERTEX_COLUMNS])
    vertices["packed_position"] = _pack(shares[0], BITS_OF_PLACE)
    vertices["packed_rotation"] = pack_quats(floats(there.quats)[order], _code)
    vertices["packed_scale"] = _pack(shares[1], BITS_OF_PLACE)
    vertices["packed_color"] = _pack(np.concatenate([shares[2], opacity], 1), BITS_OF_COLOR)
    out = io.BytesIO()
    elements = [PlyElement.describe(chunks, "chunk"), PlyElement.describe(vertices, "vertex")]
    PlyData(elements, byte_order="<").write(out)
    return out.getvalue()


def read_compressed_ply(path: Path, *, up: str) -> Gaussians:
    """The Gaussians of a file whose up axis is `up`, in our world and the file's order. InputError: another
    file, or a damaged one."""
    try:
        data = PlyData.read(path)
        chunks, vertices = data["chunk"], data["vertex"]
        ends = np.stack([np.asarray(chunks[name], np.float32) for name in CHUNK_COLUMNS], axis=1)
        packed = [np.asarray(vertices[name], np.uint32) for name in VERTEX_COLUMNS]
    except (PlyParseError, KeyError, ValueError, OSError, MemoryError) as error:
        raise InputError(f"{path}: not a compressed PLY: {error}", code="E-PLY") from error
    count = len(packed[0])
    if count == 0:
        raise InputError(f"{path}: holds no Gaussian", code="E-PLY-COUNT")
    if len(ends) != -(-count // CHUNK):
        raise InputError(f"{path}: {len(ends)} chunks for {count} Gaussians", code="E-PLY-COUNT")
    spans = [_Span(ends[:, i : i + 3], ends[:, i + 3 : i + 6]) for i in (0, 6, 12)]
    color = _unpack(packed[3], BITS_OF_COLOR)

    def tensor(array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.asarray(array, np.float32))

    colors = tensor(spans[2].values(color[:, :3]))
    found = Gaussians(
        means=tensor(spans[0].values(_unpack(packed[0], BITS_OF_PLACE))),
        log_scales=tensor(spans[1].values(_unpack(packed[2], BITS_OF_PLACE))),
        quats=tensor(unpack_quats(packed[1], _decode)),
        opacity_logits=tensor(color[:, 3]).logit(SURE),
        sh=((colors - 0.5) / SH_C0)[:, None],
    )
    return turned(found, up, back=True)


def morton_order(points: np.ndarray) -> np.ndarray:
    """[N] the order in which `points` [N,3] follow a Z curve through their box."""
    low, size = points.min(axis=0), np.ptp(points, axis=0)
    cells = (points - low) / np.where(size > 0, size, 1) * (2**MORTON_BITS - 1)
    whole = cells.astype(np.int64)
    code = np.zeros(len(points), np.int64)
    for bit in range(MORTON_BITS):
        for axis in range(3):
            code |= (whole[:, axis] >> bit & 1) << (3 * bit + axis)
    return np.argsort(code, kind="stable")


def _pack(share: np.ndarray, bits: tuple[int, ...]) -> np.ndarray:
    """[N] uint32 of columns in [0,1]; the first column is in the upper bits."""
    packed = np.zeros(len(share), np.uint32)
    for i, width in enumerate(bits):
        code = np.clip(np.rint(share[:, i] * (2**width - 1)), 0, 2**width - 1).astype(np.uint32)
        packed = packed << np.uint32(width) | code
    return packed


def _unpack(packed: np.ndarray, bits: tuple[int, ...]) -> np.ndarray:
    """[N,len(bits)] in [0,1]."""
    shifts = np.cumsum((0, *bits[:0:-1]))[::-1]
    columns = [
        (packed >> np.uint32(shift) & np.uint32(2**width - 1)) / (2**width - 1)
        for shift, width in zip(shifts, bits, strict=True)
    ]
    return np.stack(columns, axis=1)


def _code(values: np.ndarray) -> np.ndarray:
    """[-1,1] to 10 bits."""
    return np.rint((values + 1) / 2 * 1023)


def _decode(codes: np.ndarray) -> np.ndarray:
    return codes / 1023 * 2 - 1
