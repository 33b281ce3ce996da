"""What an asset or a clip shows against a reference clip: values per frame, means over frames.

T frames, H W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from orster_cli.core.errors import InputError
from orster_cli.core.reporting import Reporter
from orster_cli.core.types import OrbitClip
from orster_cli.evaluate.metrics_table import Metric
from orster_cli.splatting.motion import Gaussians4D
from orster_cli.splatting.show import render_clip


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """`values` {metric: [T]} float64; `shown` and `reference` [T,3,H,W] on white; `times` [T]."""

    name: str
    values: dict[str, Tensor]
    shown: Tensor
    reference: Tensor
    times: Tensor

    def means(self) -> dict[str, float]:
        """Mean over frames of each metric."""
        return {name: float(v.double().mean()) for name, v in self.values.items()}


def on_white(clip: OrbitClip) -> Tensor:
    """[T,3,H,W] what a viewer shows of `clip`."""
    return clip.frames if clip.alpha is None else clip.frames * clip.alpha + (1 - clip.alpha)


def compare_asset(
    name: str, asset: Gaussians4D, reference: OrbitClip, metrics: dict[str, Metric]
) -> Comparison:
    """`asset` rendered at the reference's own cameras and times."""
    shown = render_clip(asset, reference.cameras, reference.times).frames
    return _compare(name, shown, reference, metrics)


def compare_clip(
    name: str, clip: OrbitClip, reference: OrbitClip, metrics: dict[str, Metric], reporter: Reporter
) -> Comparison:
    """`clip` frame by frame against `reference`. InputError: other frame counts, sizes or poses."""
    if len(clip) != len(reference):
        raise InputError(
            f"{name}: {len(clip)} frames, the reference has {len(reference)}",
            hint="compare clips of one orbit, frame by frame",
        )
    size = (reference.cameras.height, reference.cameras.width)
    if clip.frames.shape[-2:] != size:
        raise InputError(
            f"{name}: {clip.cameras.width}x{clip.cameras.height} pixels, the reference has "
            f"{size[1]}x{size[0]}",
            hint="make both at one resolution: resizing would change every figure",
        )
    apart = (clip.cameras.positions - reference.cameras.positions).norm(dim=1).max()
    if float(apart) > 0.05:
        reporter.warn(f"{name}: its cameras stand up to {float(apart):.2f} from the reference's")
    return _compare(name, on_white(clip), reference, metrics)


def _compare(
    name: str, shown: Tensor, reference: OrbitClip, metrics: dict[str, Metric]
) -> Comparison:
    target = on_white(reference)
    values = {}
    for label, metric in metrics.items():
        if metric.needs_mask and reference.alpha is None:
            raise InputError(
                f"{label} needs a reference with alpha, this one has none",
                hint="give a reference with alpha, or leave the metric out",
            )
        try:
            values[label] = metric.measure(shown, target, reference.alpha)
        except ValueError as error:
            raise InputError(f"{name}: {error}") from error
        if not bool(torch.isfinite(values[label]).all()):
            raise InputError(f"{name}: {label} is not finite")
    return Comparison(
        name=name, values=values, shown=shown, reference=target, times=reference.times
    )
