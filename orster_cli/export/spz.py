"""SPZ, Niantic's compact format for Gaussians: one gzip stream, 20 bytes a Gaussian before it. N Gaussians.

Version 3 of the format: a header of 16 bytes, then all positions (24-bit fixed point), opacities, colours,
log scales (8 bits each) and rotations (`packed_quats`, xyzw, sign and 9 bits). +Y up, as in glTF.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
import torch

from orster_cli.core.errors import InputError, LimitError
from orster_cli.core.limits import PLY_MAX_VERTICES
from orster_cli.core.types import Gaussians
from orster_cli.export.job import ExportJob, Outcome, check_up
from orster_cli.export.packed_quats import pack_quats, unpack_quats
from orster_cli.export.splats import check_some, floats, write_still
from orster_cli.geometry.axes import flat_colors, turned, with_turns

MAGIC, VERSION = 0x5053474E, 3  # "NGSP"
HEADER = struct.Struct(
    "<IIIBBBB"
)  # magic, version, count, SH degree, fraction bits, flags, nothing
ROW_BYTES = 9 + 1 + 3 + 3 + 4
MOST_FRACTION_BITS = 16  # of a position: 1.5e-5; all but the largest objects fit
COLOR_SCALE = 0.15  # of a coefficient of degree 0: bytes hold colours from -0.44 to 1.44
SURE = 1e-4  # opacities of 0 and 1 are taken for this far from them: their logits are finite


def write_spz(job: ExportJob, path: Path) -> Outcome:
    """One moment as SPZ."""
    check_up(job, "spz", ("y",))
    return write_still(job, path, spz_bytes, read_spz)


def spz_bytes(gaussians: Gaussians) -> bytes:
    """The file, the same for the same Gaussians. InputError: there are none."""
    check_some(gaussians)
    there = turned(with_turns(flat_colors(gaussians)), "y")
    means = floats(there.means).astype(np.float64)
    bits = _fraction_bits(float(np.abs(means).max(initial=0)))
    fixed = np.rint(means * 2**bits).astype("<i4")
    quats = floats(there.quats)[:, [1, 2, 3, 0]]
    parts = [
        HEADER.pack(MAGIC, VERSION, len(means), 0, bits, 0, 0),
        fixed[..., None].view(np.uint8)[..., :3].tobytes(),  # the lower three bytes of each
        _byte(floats(there.opacity_logits.sigmoid()) * 255),
        _byte(floats(there.sh[:, 0]) * (COLOR_SCALE * 255) + 127.5),
        _byte((floats(there.log_scales) + 10) * 16),
        pack_quats(quats, _code).astype("<u4").tobytes(),
    ]
    return gzip.compress(b"".join(parts), mtime=0)


def read_spz(path: Path) -> Gaussians:
    """The Gaussians of a file of version 3 and degree 0, in our world. InputError: another file, or a
    damaged one; LimitError: too many Gaussians."""
    unpacking = zlib.decompressobj(wbits=31)
    try:
        data = path.read_bytes()
        head = unpacking.decompress(data, HEADER.size)
        magic, version, count, degree, bits, _, _ = HEADER.unpack(head)
    except (zlib.error, struct.error) as error:
        raise InputError(f"{path}: not an SPZ file: {error}", code="E-SPZ") from error
    if (magic, version, degree) != (MAGIC, VERSION, 0):
        raise InputError(
            f"{path}: expected SPZ of version {VERSION} and degree 0, found version {version} and "
            f"degree {degree}",
            code="E-SPZ",
        )
    if count == 0:
        raise InputError(f"{path}: holds no Gaussian", code="E-SPZ")
    if count > PLY_MAX_VERTICES:
        raise LimitError(f"{path}: {count} Gaussians, at most {PLY_MAX_VERTICES}", code="E-SPZ")
    try:
        body = unpacking.decompress(unpacking.unconsumed_tail, count * ROW_BYTES + 1)
    except zlib.error as error:
        raise InputError(f"{path}: not an SPZ file: {error}", code="E-SPZ") from error
    if len(body) != count * ROW_BYTES:
        raise InputError(f"{path}: {count} Gaussians are not what follows", code="E-SPZ")
    values = np.frombuffer(body, np.uint8)
    ends = np.cumsum(np.array([9, 1, 3, 3]) * count)
    places, opacity, color, sizes, turns = np.split(values, ends)
    wide = np.zeros((count * 3, 4), np.uint8)
    wide[:, 1:] = places.reshape(-1, 3)  # as the upper bytes: the shift below extends the sign
    means = (wide.view("<i4")[:, 0] >> 8).reshape(count, 3) / 2.0**bits
    quats = unpack_quats(np.ascontiguousarray(turns).view("<u4"), _decode)[:, [3, 0, 1, 2]]

    def tensor(array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.asarray(array, np.float32))

    found = Gaussians(
        means=tensor(means),
        log_scales=tensor(sizes.reshape(count, 3) / 16 - 10),
        quats=tensor(quats),
        opacity_logits=tensor(opacity / 255).logit(SURE),
        sh=tensor((color.reshape(count, 1, 3) / 255 - 0.5) / COLOR_SCALE),
    )
    return turned(found, "y", back=True)


def _fraction_bits(largest: float) -> int:
    """Of the 24 bits of a coordinate, those after the point."""
    whole = math.ceil(math.log2(max(largest, 2.0**-8) * (1 + 2.0**-20)))
    return max(0, min(MOST_FRACTION_BITS, 23 - whole))


def _byte(values: np.ndarray) -> bytes:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8).tobytes()


def _code(values: np.ndarray) -> np.ndarray:
    """Sign and 9 bits."""
    return np.rint(np.abs(values) * 511).astype(np.uint32) | ((values < 0) * np.uint32(512))


def _decode(codes: np.ndarray) -> np.ndarray:
    return np.where(codes & 512, -1.0, 1.0) * (codes & 511) / 511
