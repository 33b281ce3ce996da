"""USD: moving Gaussians as ParticleField3DGaussianSplat with time samples, by usd-core (extra `usd`).

N Gaussians. The schema (OpenUSD 26.03 and later) holds linear sizes, quaternions, opacities between 0 and 1
and SH coefficients as they are. Readers interpolate linearly between time samples.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch

from orster_cli.core.errors import ConfigError, MissingResourceError
from orster_cli.core.names import printable
from orster_cli.core.types import Gaussians
from orster_cli.export.job import ExportJob, Outcome, check_up
from orster_cli.export.moving_splats import UPS, Keys, keys_of, outcome
from orster_cli.export.splats import floats

PRIM = "/Gaussians"
SAME = 1e-6  # of the largest number: what differs by less at all keys is written once
ARGUMENTS = ":SDF_FORMAT_ARGS:"  # what USD takes out of a name


def write_usd(job: ExportJob, path: Path) -> Outcome:
    """The motion as a binary USD file. ConfigError: USD cannot name it."""
    from pxr import Tf, Usd

    up = check_up(job, "usd", UPS)
    keys = keys_of(job, "usd", up)
    fps = job.options.fps
    if ARGUMENTS in str(path) or str(path).encode(errors="replace").decode() != str(path):
        raise ConfigError(
            f"usd: USD cannot write into a folder of this name: {printable(str(path.parent))}",
            hint="another -o",
        )
    try:
        write_stage(keys, path, up, fps)
        stage = Usd.Stage.Open(str(path))
    except Tf.ErrorException as error:
        said = printable(str(error).strip().splitlines()[-1])
        raise MissingResourceError(
            f"{path.name}: USD cannot write it: {said}", hint="is the disk full?", code="E-SYSTEM"
        ) from None
    return outcome(job, keys, up, lambda second: read_at(stage, second * fps))


def check_schema() -> None:
    """MissingResourceError: a usd-core without the schema."""
    from pxr import UsdVol

    if not hasattr(UsdVol, "ParticleField3DGaussianSplat"):
        raise MissingResourceError(
            "usd-core is too old: it has no ParticleField3DGaussianSplat",
            hint="pip install --upgrade 'usd-core>=26.3'",
            code="E-EXTRA",
        )


def write_stage(keys: Keys, path: Path, up: str, fps: float) -> None:
    """One prim, the default of its stage; a time code is a frame at `fps`. A loop's last time sample is its
    first moment again, and its stage ends a frame before. Without a time it is as at the first key."""
    from pxr import Gf, Usd, UsdGeom, UsdVol

    stage = Usd.Stage.CreateNew(str(path))
    UsdGeom.SetStageUpAxis(stage, {"z": UsdGeom.Tokens.z, "y": UsdGeom.Tokens.y}[up])
    UsdGeom.SetStageMetersPerUnit(stage, 1.0)
    stage.SetTimeCodesPerSecond(fps)
    stage.SetFramesPerSecond(fps)
    codes = keys.seconds * fps
    stage.SetStartTimeCode(0.0)
    last = float(codes[-1])
    if keys.moments.closing is not None:
        last = max(math.ceil(last - 1e-6) - 1.0, 0.0)
    stage.SetEndTimeCode(last)
    splats = UsdVol.ParticleField3DGaussianSplat.Define(stage, PRIM)
    stage.SetDefaultPrim(splats.GetPrim())
    colour_space = Usd.ColorSpaceAPI.Apply(splats.GetPrim())
    colour_space.CreateColorSpaceNameAttr(Gf.ColorSpaceNames.SRGBRec709)
    splats.CreateRadianceSphericalHarmonicsDegreeAttr(0)
    columns = [_columns(one) for one in keys.gaussians]
    for name, attribute in _attributes(splats).items():
        values = [one[name] for one in columns]
        attribute.Set(_vt(name, values[0]))
        least = SAME * np.abs(values[0]).max()
        if all(np.abs(value - values[0]).max() <= least for value in values):
            continue
        for code, value in zip(codes, values, strict=True):
            attribute.Set(_vt(name, value), float(code))
    stage.GetRootLayer().Save()


def read_at(stage: Any, code: float) -> Gaussians:
    """The Gaussians of the default prim at a time code, in its own world."""
    from pxr import UsdVol

    splats = UsdVol.ParticleField3DGaussianSplat(stage.GetDefaultPrim())
    found = {name: attribute.Get(code) for name, attribute in _attributes(splats).items()}

    def tensor(name: str) -> torch.Tensor:
        return torch.from_numpy(np.array(found[name], np.float32))

    return Gaussians(
        means=tensor("positions"),
        log_scales=tensor("scales").log(),
        quats=tensor("orientations")[:, [3, 0, 1, 2]],
        opacity_logits=tensor("opacities").logit(1e-7),
        sh=tensor("coefficients")[:, None],
    )


def _attributes(splats: Any) -> dict[str, Any]:
    return {
        "positions": splats.CreatePositionsAttr(),
        "scales": splats.CreateScalesAttr(),
        "orientations": splats.CreateOrientationsAttr(),
        "opacities": splats.CreateOpacitiesAttr(),
        "coefficients": splats.CreateRadianceSphericalHarmonicsCoefficientsAttr(),
        "extent": splats.CreateExtentAttr(),
    }


def _columns(gaussians: Gaussians) -> dict[str, np.ndarray]:
    """Float32 arrays by attribute; orientations xyzw. The extent is that of three sizes around each."""
    means, sizes = floats(gaussians.means), floats(gaussians.log_scales.exp())
    reach = 3 * sizes.max(axis=1, keepdims=True)
    return {
        "positions": means,
        "scales": sizes,
        "orientations": floats(torch.nn.functional.normalize(gaussians.quats, dim=-1))[
            :, [1, 2, 3, 0]
        ],
        "opacities": floats(gaussians.opacity_logits.sigmoid()),
        "coefficients": floats(gaussians.sh[:, 0]),
        "extent": np.stack([(means - reach).min(axis=0), (means + reach).max(axis=0)]),
    }


def _vt(name: str, values: np.ndarray) -> Any:
    """USD's own array of a column."""
    from pxr import Vt

    kinds = {"orientations": Vt.QuatfArray, "opacities": Vt.FloatArray}
    return kinds.get(name, Vt.Vec3fArray).FromNumpy(np.ascontiguousarray(values))
