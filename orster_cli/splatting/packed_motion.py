"""A baked motion as bytes, and back. `docs/formats.md` states the format.

K knots, N Gaussians, C components. A JSON head and one deflate block: each component is quantised in its
range over all Gaussians and knots. Gaussians are in Morton order, so that neighbours in the file are
neighbours in space and move alike; what is stored is the difference to the knot before, less that
of the Gaussian before.
"""

from __future__ import annotations

import json
import math
import zlib
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from orster_cli.core.errors import InputError, LimitError
from orster_cli.core.limits import (
    JSON_MAX_BYTES,
    MOTION_MAX_BODY_BYTES,
    MOTION_MAX_GAUSSIANS,
    MOTION_MAX_KNOTS,
)
from orster_cli.core.strict_json import parse_json
from orster_cli.core.types import FitScale
from orster_cli.splatting import raster_rules
from orster_cli.splatting.baked import ATTRIBUTES, WIDTHS, BakedMotion
from orster_cli.splatting.gaussians4d import Timeline

MAGIC = b"ORSTER4D"
FORMAT, VERSION = "orster-motion", 1
LENGTH_BYTES = 4  # of the head, a little-endian integer after the magic
BITS = {"means": 12, "quats": 8, "log_scales": 8, "opacities": 8, "colors": 8}
FINE_MEAN_BITS = 16
LARGEST = 1e6  # of the numbers of a range
MORTON_BITS = 10  # per axis


def pack(motion: BakedMotion, *, mean_bits: int = BITS["means"]) -> bytes:
    """`motion` in the packed format, means in `mean_bits` bits (9 to 16), all else in 8."""
    motion = motion.select(torch.from_numpy(_morton_order(motion.means[0].numpy())))
    body, described = [], []
    for name in ATTRIBUTES:
        bits = mean_bits if name == "means" else BITS[name]
        values = getattr(motion, name).numpy().astype(np.float64)
        low, step = _range_of(values, bits)
        codes = np.rint((values - low) / step).astype(np.int64)
        body.append(_encoded(codes, bits))
        described.append(
            {
                "name": name,
                "knots": len(values),
                "bits": bits,
                "low": low.tolist(),
                "step": step.tolist(),
            }
        )
    head = {
        "format": FORMAT,
        "version": VERSION,
        "gaussians": len(motion),
        "dropped": motion.dropped,
        "knots": motion.knots,
        "looping": motion.timeline.looping,
        "cycles": motion.timeline.cycles,
        "raster": _raster(motion.fitted),
        "attributes": described,
    }
    text = json.dumps(head, separators=(",", ":")).encode()
    return b"".join(
        [MAGIC, len(text).to_bytes(LENGTH_BYTES, "little"), text, _deflated(b"".join(body))]
    )


def _deflated(body: bytes) -> bytes:
    """Runs are the only repetitions that differences hold: looking for these alone is 50 times quicker than
    level 9, and up to 2.5 % smaller, since no chance match replaces a well coded byte."""
    deflate = zlib.compressobj(strategy=zlib.Z_RLE)
    return deflate.compress(body) + deflate.flush()


def _raster(fitted: FitScale | None) -> dict[str, Any]:
    """The constants of rasterization, and the scale of the fit where it is known."""
    rules = {
        "eps2d": raster_rules.EPS2D,
        "alpha_min": raster_rules.ALPHA_MIN,
        "alpha_max": raster_rules.ALPHA_MAX,
        "near": raster_rules.NEAR,
        "margin": raster_rules.FRUSTUM_MARGIN,
    }
    return rules if fitted is None else rules | asdict(fitted)


def _fitted(raster: dict[str, Any]) -> FitScale | None:
    """The inverse of `_raster`. KeyError, TypeError, ValueError: damaged."""
    if "focal" not in raster:
        return None
    numbers = {name: float(raster[name]) for name in ("focal", "radius", "eps2d")}
    return FitScale(**numbers, antialiased=bool(raster["antialiased"]))


def unpack(data: bytes, *, where: str = "packed motion") -> BakedMotion:
    """The motion in `data`, each value within half a step of what was packed.

    InputError: not this format, another version, damaged; LimitError: more Gaussians, knots or bytes than
    `core.limits` allows."""
    head, packed = _head(data, where)
    try:
        gaussians, knots = _count(head["gaussians"]), _count(head["knots"])
        _check_limits(gaussians, knots, where)
        described = {one["name"]: one for one in head["attributes"]}
        shapes = {
            name: (_count(described[name]["knots"]), gaussians, WIDTHS[name]) for name in ATTRIBUTES
        }
        bits = {name: _count(described[name]["bits"]) for name in ATTRIBUTES}
        if any(not 1 <= b <= 16 for b in bits.values()):
            raise ValueError(f"bits {bits}")
        if any(shape[0] not in (1, knots) for shape in shapes.values()):
            raise ValueError("an attribute with another number of knots")
        ranges = {
            name: tuple(_numbers(described[name][key], WIDTHS[name]) for key in ("low", "step"))
            for name in ATTRIBUTES
        }
        timeline = Timeline(looping=bool(head["looping"]), cycles=_count(head["cycles"]))
        dropped = int(head["dropped"])
        fitted = _fitted(dict(head.get("raster", {})))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise _damaged(where, f"its head: {type(error).__name__}: {error}") from error
    sizes = {n: math.prod(shapes[n]) * _planes(bits[n]) for n in ATTRIBUTES}
    body = _inflated(packed, sum(sizes.values()), where)
    values, start = {}, 0
    for name in ATTRIBUTES:
        codes = _decoded(body[start : start + sizes[name]], shapes[name], bits[name])
        low, step = ranges[name]
        values[name] = torch.from_numpy((low + codes * step).astype(np.float32))
        start += sizes[name]
    return BakedMotion(knots=knots, timeline=timeline, dropped=dropped, fitted=fitted, **values)


def _head(data: bytes, where: str) -> tuple[dict[str, Any], bytes]:
    begin = len(MAGIC) + LENGTH_BYTES
    if data[: len(MAGIC)] != MAGIC:
        raise InputError(f"{where}: not a packed motion: it does not begin with {MAGIC.decode()}")
    length = int.from_bytes(data[len(MAGIC) : begin], "little")
    if len(data) < begin or length > min(len(data) - begin, JSON_MAX_BYTES):
        raise _damaged(where, f"a head of {length} bytes in {len(data)}")
    try:
        text = data[begin : begin + length].decode("utf-8")
    except UnicodeDecodeError as error:
        raise _damaged(where, "its head is no text") from error
    head = parse_json(text, where=f"{where}: head")
    if not isinstance(head, dict) or head.get("format") != FORMAT:
        raise _damaged(where, f"its head is not of {FORMAT}")
    if head.get("version") != VERSION:
        raise InputError(
            f"{where}: {FORMAT} version {head.get('version')!r}, expected {VERSION}",
            hint="export the asset again with this version of orster",
        )
    return head, data[begin + length :]


def _check_limits(gaussians: int, knots: int, where: str) -> None:
    if gaussians > MOTION_MAX_GAUSSIANS or knots > MOTION_MAX_KNOTS:
        raise LimitError(
            f"{where}: {gaussians} Gaussians and {knots} knots, at most {MOTION_MAX_GAUSSIANS} and "
            f"{MOTION_MAX_KNOTS}"
        )
    most = gaussians * knots * sum(WIDTHS[n] * 2 for n in ATTRIBUTES)
    if most > MOTION_MAX_BODY_BYTES:
        raise LimitError(f"{where}: {most} bytes unpacked, at most {MOTION_MAX_BODY_BYTES}")


def _count(value: Any) -> int:
    """A positive integer of the head. ValueError: anything else."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"expected a positive integer, got {value!r}")
    return value


def _numbers(values: Any, count: int) -> np.ndarray:
    found = np.asarray([float(value) for value in values])
    if len(found) != count:
        raise ValueError(f"expected {count} numbers, got {len(found)}")
    if np.abs(found).max() > LARGEST:
        raise ValueError(f"a number over {LARGEST:g}")
    return found


def _inflated(packed: bytes, size: int, where: str) -> bytes:
    """`size` bytes; no more than that is ever unpacked."""
    inflate = zlib.decompressobj()
    try:
        body = inflate.decompress(packed, size + 1)
    except zlib.error as error:
        raise _damaged(where, f"its deflate block: {error}") from error
    if len(body) != size or not inflate.eof:
        raise _damaged(where, f"{len(body)} bytes unpacked, expected {size} and the block's end")
    return body


def _damaged(where: str, what: str) -> InputError:
    return InputError(f"{where}: damaged: {what}", hint="export the asset again")


def _range_of(values: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Lowest value and step [C] of `values` [K,N,C] in codes of `bits` bits."""
    low, high = values.min(axis=(0, 1)), values.max(axis=(0, 1))
    step = (high - low) / (2**bits - 1)
    return low, np.where(step > 0, step, 1.0)


def _planes(bits: int) -> int:
    """Bytes of a code."""
    return 1 if bits <= 8 else 2


def _encoded(codes: np.ndarray, bits: int) -> bytes:
    """Codes [K,N,C] as zigzag differences modulo 2^bits, [C,K,N]: all low bytes, then all high bytes."""
    difference = np.diff(np.diff(codes, axis=0, prepend=0), axis=1, prepend=0)
    half = 1 << (bits - 1)
    signed = (difference + half) % (2 * half) - half
    zigzag = ((signed << 1) ^ (signed >> 63)).transpose(2, 0, 1)
    planes = [zigzag & 255, zigzag >> 8][: _planes(bits)]
    return b"".join(plane.astype(np.uint8).tobytes() for plane in planes)


def _decoded(data: bytes, shape: tuple[int, int, int], bits: int) -> np.ndarray:
    """The inverse of `_encoded`: codes [K,N,C]."""
    knots, gaussians, components = shape
    planes = np.frombuffer(data, np.uint8).reshape(_planes(bits), components, knots, gaussians)
    zigzag = planes[0].astype(np.int64)
    if len(planes) > 1:
        zigzag |= planes[1].astype(np.int64) << 8
    signed = (zigzag >> 1) ^ -(zigzag & 1)
    codes = np.cumsum(np.cumsum(signed, axis=2), axis=1) % (1 << bits)
    return codes.transpose(1, 2, 0)


def _morton_order(points: np.ndarray) -> np.ndarray:
    """Indices that sort `points` [N,3] along a Z-order curve."""
    low, high = points.min(axis=0), points.max(axis=0)
    side = max(float((high - low).max()), 1e-12)
    cells = ((points - low) / side * ((1 << MORTON_BITS) - 1)).astype(np.int64)
    code = np.zeros(len(points), np.int64)
    for bit in range(MORTON_BITS):
        for axis in range(3):
            code |= ((cells[:, axis] >> bit) & 1) << (3 * bit + axis)
    return np.argsort(code, kind="stable")
