"""The metrics that `orster evaluate` knows: name -> function of frames, masks allowed.

T frames, H W pixels. A metric is one entry here: it takes what the asset shows, the reference
(both [T,3,H,W] on white) and the reference's mask ([T,1,H,W] or None), and gives [T] values.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from orster_cli.core.errors import ConfigError
from orster_cli.core.names import did_you_mean, printable
from orster_cli.metrics.psnr import masked_psnr, psnr
from orster_cli.metrics.ssim import ssim


@dataclass(frozen=True, kw_only=True)
class Metric:
    """`unit`, `higher_is_better`, `needs_mask`, and what was pinned, in words that a report keeps."""

    measure: Callable[[Tensor, Tensor, Tensor | None], Tensor]
    unit: str
    definition: str
    higher_is_better: bool = True
    needs_mask: bool = False


def _masked(shown: Tensor, reference: Tensor, mask: Tensor | None) -> Tensor:
    if mask is None:
        raise ValueError("psnr-masked needs a mask")
    return masked_psnr(shown, reference, mask)


METRICS: dict[str, Metric] = {
    "psnr": Metric(
        measure=lambda shown, reference, _: psnr(shown, reference),
        unit="dB",
        definition="data range 1, all pixels, on white, mean over frames of each frame's PSNR",
    ),
    "psnr-masked": Metric(
        measure=_masked,
        unit="dB",
        definition="data range 1, pixels where the reference's alpha exceeds 0.5, on white",
        needs_mask=True,
    ),
    "ssim": Metric(
        measure=lambda shown, reference, _: ssim(shown, reference),
        unit="",
        definition="data range 1, 11-pixel Gaussian window of sigma 1.5, population covariance",
    ),
}


def choose(names: tuple[str, ...]) -> dict[str, Metric]:
    """The metrics called `names`. ConfigError: an unknown name, with the nearest known one."""
    for name in names:
        if name not in METRICS:
            raise ConfigError(
                f"no metric {printable(name)!r}{did_you_mean(name, list(METRICS))}",
                hint=f"metrics: {', '.join(METRICS)}",
            )
    if not names:
        raise ConfigError("no metric was asked for", hint=f"metrics: {', '.join(METRICS)}")
    return {name: METRICS[name] for name in names}
