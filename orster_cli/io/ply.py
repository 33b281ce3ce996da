"""Gaussians as PLY in the layout of 3D Gaussian Splatting, which common viewers read.

N Gaussians, K spherical-harmonic coefficients. Log scales, logit opacities, wxyz quaternions,
`f_rest` channel-major. The header is checked before plyfile reads the body.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import torch
from plyfile import PlyData, PlyElement, PlyParseError
from torch import Tensor

from orster_cli.core.atomic import replacing
from orster_cli.core.errors import InputError, LimitError
from orster_cli.core.limits import PLY_MAX_HEADER_BYTES, PLY_MAX_VERTICES
from orster_cli.core.types import Gaussians

_SIZES = {
    "char": 1,
    "uchar": 1,
    "short": 2,
    "ushort": 2,
    "int": 4,
    "uint": 4,
    "float": 4,
    "double": 8,
}
_SIZES |= {"int8": 1, "uint8": 1, "int16": 2, "uint16": 2, "int32": 4, "uint32": 4}
_SIZES |= {"float32": 4, "float64": 8}
LARGEST_LOG_SCALE = 20.0  # e^20: half a billion object sizes
_BASE = ("x", "y", "z", "f_dc_0", "f_dc_1", "f_dc_2", "opacity")
_SHAPE = ("scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3")


def write_ply(path: Path, gaussians: Gaussians) -> None:
    """Write `gaussians`, replacing an existing file atomically."""
    n, k = gaussians.sh.shape[:2]
    rest = gaussians.sh[:, 1:].transpose(1, 2).reshape(n, 3 * (k - 1))
    names = ["x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2"]
    names += [f"f_rest_{i}" for i in range(3 * (k - 1))] + ["opacity", *_SHAPE]
    columns = torch.cat(
        [
            gaussians.means,
            torch.zeros_like(gaussians.means),
            gaussians.sh[:, 0],
            rest,
            gaussians.opacity_logits[:, None],
            gaussians.log_scales,
            torch.nn.functional.normalize(gaussians.quats, dim=-1),
        ],
        dim=1,
    )
    table = np.empty(n, dtype=[(name, "<f4") for name in names])
    values = columns.detach().cpu().float().numpy()
    for i, name in enumerate(names):
        table[name] = values[:, i]
    with replacing(path) as temporary:
        PlyData([PlyElement.describe(table, "vertex")], byte_order="<").write(temporary)


def read_ply(path: Path) -> Gaussians:
    """The Gaussians in `path`. InputError: another layout, a truncated file, or invalid values (not
    finite, sizes that overflow, zero quaternions); LimitError: too many."""
    _check_header(path)
    try:
        vertices = PlyData.read(path)["vertex"]
        names = {p.name for p in vertices.properties}
        missing = [name for name in (*_BASE, *_SHAPE) if name not in names]
        if missing:
            raise InputError(
                f"{path}: expected Gaussians in the 3DGS layout, {', '.join(missing[:4])} missing",
                code="E-PLY-LAYOUT",
            )
        rest = [f"f_rest_{i}" for i in range(sum(n.startswith("f_rest_") for n in names))]

        def column(*which: str) -> Tensor:
            """[N, len(which)] float32."""
            parts = [np.asarray(vertices[name], dtype=np.float32) for name in which]
            return torch.from_numpy(np.stack(parts, axis=-1))

        dc = column("f_dc_0", "f_dc_1", "f_dc_2")[:, None]
        if len(rest) not in (0, 9, 24, 45) or not names.issuperset(rest):
            raise InputError(
                f"{path}: expected f_rest_0, ... of 0, 9, 24 or 45 columns, found {len(rest)}",
                code="E-PLY-LAYOUT",
            )
        if rest:
            coefficients = column(*rest).reshape(len(dc), 3, len(rest) // 3).transpose(1, 2)
            dc = torch.cat([dc, coefficients], dim=1)
        gaussians = Gaussians(
            means=column("x", "y", "z"),
            log_scales=column(*_SHAPE[:3]),
            quats=column(*_SHAPE[3:]),
            opacity_logits=column("opacity")[:, 0],
            sh=dc.contiguous(),
        )
    except (PlyParseError, KeyError, ValueError, TypeError, OSError, MemoryError) as error:
        raise InputError(f"{path}: not a readable PLY: {error}", code="E-PLY") from error
    _check_values(path, gaussians)
    return gaussians


def _check_values(path: Path, gaussians: Gaussians) -> None:
    for name in ("means", "log_scales", "quats", "opacity_logits", "sh"):
        if not bool(torch.isfinite(getattr(gaussians, name)).all()):
            raise InputError(
                f"{path}: {name} holds values that are not finite", code="E-PLY-FINITE"
            )
    if bool((gaussians.log_scales > LARGEST_LOG_SCALE).any()):
        raise InputError(
            f"{path}: scale_* holds {gaussians.log_scales.max():g}: expected logarithms of sizes",
            code="E-PLY-SCALE",
        )
    if bool((gaussians.quats.norm(dim=-1) < 1e-8).any()):
        raise InputError(f"{path}: rot_* holds a rotation of length 0", code="E-PLY-ROTATION")


def _check_header(path: Path) -> None:
    """Check that the counts and sizes in the header match the file size, before allocation."""
    try:
        if not path.is_file():
            raise InputError(f"{path}: no such file")
        with path.open("rb") as handle:
            start = handle.read(PLY_MAX_HEADER_BYTES)
        size = path.stat().st_size
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    end = start.find(b"end_header\n")
    if not start.startswith(b"ply\n") or end < 0:
        raise InputError(
            f"{path}: expected a PLY with a header of at most {PLY_MAX_HEADER_BYTES} bytes",
            code="E-PLY-HEADER",
        )
    try:
        lines = start[:end].decode("ascii").split("\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: the header is not ASCII", code="E-PLY-HEADER") from error
    if "format binary_little_endian 1.0" not in lines:
        raise InputError(f"{path}: expected binary little endian PLY", code="E-PLY-HEADER")
    count, stride, elements = 0, 0, 0
    for line in lines:
        words = line.split()
        if words[:1] == ["element"]:
            elements += 1
            if len(words) != 3 or words[1] != "vertex" or not re.fullmatch(r"\d{1,12}", words[2]):
                raise InputError(f"{path}: expected one element, vertex", code="E-PLY-HEADER")
            count = int(words[2])
        elif words[:1] == ["property"]:
            if len(words) != 3 or words[1] not in _SIZES:
                raise InputError(
                    f"{path}: property {line[:60]!r} is not a number", code="E-PLY-HEADER"
                )
            stride += _SIZES[words[1]]
    if elements != 1:
        raise InputError(f"{path}: expected one element, found {elements}", code="E-PLY-HEADER")
    if count > PLY_MAX_VERTICES:
        raise LimitError(
            f"{path}: {count} Gaussians, at most {PLY_MAX_VERTICES}", code="E-PLY-COUNT"
        )
    body = size - end - len(b"end_header\n")
    if count * stride != body:
        raise InputError(
            f"{path}: the header claims {count} Gaussians ({count * stride} bytes) but {body} "
            "bytes follow",
            code="E-PLY-COUNT",
            hint="the file is cut short or damaged; export it again",
        )
