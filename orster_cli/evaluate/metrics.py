"""The metrics by name: what each computes, from what, and which way is better.

T frames. A metric that needs what a pair does not have gives None, never another number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from torch import Tensor

from orster_cli.core.errors import ConfigError
from orster_cli.core.names import did_you_mean, printable
from orster_cli.evaluate.footage import Footage
from orster_cli.metrics.psnr import masked_psnr, psnr
from orster_cli.metrics.ssim import ssim

PerFrame = list[float | None]


@dataclass(frozen=True, kw_only=True)
class Column:
    """One figure of a report: `definition` is what a reader needs to compute it again."""

    name: str
    unit: str
    higher_is_better: bool
    definition: str


@dataclass(frozen=True, kw_only=True)
class Metric:
    """`compute(ours, reference)` gives T values for each of `columns`, in their order."""

    columns: tuple[Column, ...]
    compute: Callable[[Footage, Footage], tuple[PerFrame, ...]]


def _psnr(ours: Footage, reference: Footage) -> tuple[PerFrame, ...]:
    plain = _values(psnr(ours.frames, reference.frames))
    if reference.alpha is None:
        return plain, [None] * len(plain)
    seen = reference.alpha.amax(dim=(1, 2, 3)) > 0.5
    inside: PerFrame = [None] * len(plain)
    for i in seen.nonzero()[:, 0].tolist():
        frame = slice(i, i + 1)
        both = ours.frames[frame], reference.frames[frame]
        inside[i] = float(masked_psnr(*both, reference.alpha[frame]))
    return plain, inside


def _ssim(ours: Footage, reference: Footage) -> tuple[PerFrame, ...]:
    return (_values(ssim(ours.frames, reference.frames)),)


def _values(tensor: Tensor) -> PerFrame:
    return [float(v) for v in tensor]


METRICS: dict[str, Metric] = {
    "psnr": Metric(
        columns=(
            Column(
                name="psnr",
                unit="dB",
                higher_is_better=True,
                definition="10 log10(1 / MSE) over all pixels and channels of a frame in [0,1], "
                "at most 100; mean over frames",
            ),
            Column(
                name="psnr_masked",
                unit="dB",
                higher_is_better=True,
                definition="the same over the pixels whose alpha in the reference exceeds 0.5",
            ),
        ),
        compute=_psnr,
    ),
    "ssim": Metric(
        columns=(
            Column(
                name="ssim",
                unit="",
                higher_is_better=True,
                definition="Wang et al. 2004, Gaussian window of 11 pixels and sigma 1.5, "
                "population covariance, K1 0.01, K2 0.03, range 1, window inside the image, "
                "mean over RGB and frames",
            ),
        ),
        compute=_ssim,
    ),
}


def check_names(names: Iterable[str]) -> tuple[str, ...]:
    """The metrics to compute, without repetition. ConfigError: an unknown one, or none."""
    chosen = tuple(dict.fromkeys(names))
    for name in chosen:
        if name not in METRICS:
            raise ConfigError(
                f"unknown metric {printable(name)!r}{did_you_mean(name, list(METRICS))}",
                hint="known: " + ", ".join(METRICS),
            )
    if not chosen:
        raise ConfigError("no metric was asked for", hint="known: " + ", ".join(METRICS))
    return chosen


def columns_of(names: Iterable[str]) -> list[Column]:
    """The columns that the metrics `names` fill, in their order."""
    return [column for name in names for column in METRICS[name].columns]
