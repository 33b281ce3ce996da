"""Gaussians as PLY in the layout of 3D Gaussian Splatting, which common viewers read.

N Gaussians, K spherical-harmonic coefficients. Log scales, logit opacities, wxyz quaternions,
`f_rest` channel-major. The header is checked before the body is read (`ply_header`).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from plyfile import PlyData, PlyElement
from torch import Tensor

from orster_cli.core.atomic import replacing
from orster_cli.core.errors import InputError
from orster_cli.core.names import printable
from orster_cli.core.reporting import Reporter
from orster_cli.core.types import Gaussians
from orster_cli.io.ply_header import read_layout, read_rows

LARGEST_LOG_SCALE = 20.0  # e^20: half a billion object sizes
OPAQUE_LOGIT = 16.0  # 1 - 1e-7
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


def read_ply(path: Path, reporter: Reporter | None = None) -> Gaussians:
    """The Gaussians in `path`. Of opacities that are infinite, +inf is opaque and -inf absent; `reporter`
    is warned of how many there are, and of elements that are not read.

    InputError: another layout, a truncated file, no Gaussian, or invalid values (not finite, sizes that
    overflow, zero quaternions); LimitError: too many."""
    layout = read_layout(path)
    names = [name for name, _ in layout.columns]
    missing = [name for name in (*_BASE, *_SHAPE) if name not in names]
    if missing:
        raise InputError(
            f"{path}: expected Gaussians in the 3DGS layout, {', '.join(missing[:4])} missing",
            code="E-PLY-LAYOUT",
        )
    rest = [f"f_rest_{i}" for i in range(sum(n.startswith("f_rest_") for n in names))]
    if len(rest) not in (0, 9, 24, 45) or not set(names).issuperset(rest):
        raise InputError(
            f"{path}: expected f_rest_0, ... of 0, 9, 24 or 45 columns, found {len(rest)}",
            code="E-PLY-LAYOUT",
        )
    table = read_rows(path, layout)

    def column(*which: str) -> Tensor:
        """[N, len(which)] float32."""
        with np.errstate(over="ignore"):
            parts = [np.asarray(table[name], dtype=np.float32) for name in which]
        return torch.from_numpy(np.stack(parts, axis=-1))

    sh = column("f_dc_0", "f_dc_1", "f_dc_2")[:, None]
    if rest:
        coefficients = column(*rest).reshape(len(sh), 3, len(rest) // 3).transpose(1, 2)
        sh = torch.cat([sh, coefficients], dim=1)
    gaussians = Gaussians(
        means=column("x", "y", "z"),
        log_scales=column(*_SHAPE[:3]),
        quats=column(*_SHAPE[3:]),
        opacity_logits=column("opacity")[:, 0],
        sh=sh.contiguous(),
    )
    notes = [f"element {', '.join(layout.others)} is not read"] if layout.others else []
    gaussians = _without_infinity(gaussians, notes)
    if len(gaussians) == 0:
        raise InputError(f"{path}: it holds no Gaussian that is visible", code="E-PLY-COUNT")
    _check_values(path, gaussians)
    for note in notes if reporter is not None else ():
        assert reporter is not None
        reporter.warn(f"{printable(path.name)}: {note}")
    return gaussians


def _without_infinity(gaussians: Gaussians, notes: list[str]) -> Gaussians:
    """The Gaussians with finite opacities: those of a full alpha are opaque, those of none are gone."""
    opaque = gaussians.opacity_logits == torch.inf
    absent = gaussians.opacity_logits == -torch.inf
    if bool(opaque.any()):
        notes.append(f"{int(opaque.sum())} of {len(opaque)} opacities are +inf: taken as opaque")
        logits = torch.where(opaque, OPAQUE_LOGIT, gaussians.opacity_logits)
        gaussians = replace(gaussians, opacity_logits=logits)
    if bool(absent.any()):
        notes.append(f"{int(absent.sum())} of {len(absent)} opacities are -inf: left out")
        kept = ~absent
        gaussians = Gaussians(
            means=gaussians.means[kept],
            log_scales=gaussians.log_scales[kept],
            quats=gaussians.quats[kept],
            opacity_logits=gaussians.opacity_logits[kept],
            sh=gaussians.sh[kept],
        )
    return gaussians


def _check_values(path: Path, gaussians: Gaussians) -> None:
    for name in ("means", "log_scales", "quats", "opacity_logits", "sh"):
        wrong = ~torch.isfinite(getattr(gaussians, name)).flatten(
            1 if name != "opacity_logits" else 0
        )
        rows = wrong if wrong.ndim == 1 else wrong.any(dim=1)
        if bool(rows.any()):
            first = int(torch.nonzero(rows)[0])
            raise InputError(
                f"{path}: {name} holds values that are not finite, in {int(rows.sum())} of {len(rows)} "
                f"Gaussians, the first is number {first}",
                code="E-PLY-FINITE",
            )
    if bool((gaussians.log_scales > LARGEST_LOG_SCALE).any()):
        raise InputError(
            f"{path}: scale_* holds {gaussians.log_scales.max():g}: expected logarithms of sizes",
            code="E-PLY-SCALE",
        )
    if bool((gaussians.quats.norm(dim=-1) < 1e-8).any()):
        raise InputError(f"{path}: rot_* holds a rotation of length 0", code="E-PLY-ROTATION")
