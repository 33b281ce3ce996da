"""Settings of `orster construct`. The defaults are the `balanced` preset."""

from __future__ import annotations

from dataclasses import dataclass

from orster_cli.config.fields import setting


@dataclass(frozen=True, kw_only=True, slots=True)
class ConstructConfig:
    # what is fitted, and how long
    resolution: int = setting(128, "pixels of the training views (0: the clip's own)", minimum=0)
    gaussians: int = setting(10_000, "Gaussians at the start", minimum=64, maximum=2_000_000)
    max_gaussians: int = setting(14_000, "Gaussians at most", minimum=64, maximum=5_000_000)
    static_steps: int = setting(1000, "steps on the static object", minimum=0)
    coarse_steps: int = setting(1200, "steps on the motion, L_hex (Eq. 17)", minimum=0)
    fine_steps: int = setting(4800, "steps on everything, L_gs (Eq. 18)", minimum=0)
    # losses; the paper publishes no weights
    l1: float = setting(1.0, "weight of L1 (Eq. 18)", minimum=0)
    lpips: float = setting(0.0, "weight of LPIPS (Eq. 18); slow on a CPU", minimum=0)
    lpips_every: int = setting(4, "steps between LPIPS evaluations", minimum=1)
    depth: float = setting(0.01, "weight of depth smoothness (Eq. 18)", minimum=0)
    hex: float = setting(1.0, "weight of L_hex in the fine phase (Eq. 18)", minimum=0)
    mask: float = setting(0.3, "weight of the coverage loss", minimum=0)
    planes: float = setting(0.3, "weight of the planes' smoothness along space", minimum=0)
    planes_time: float = setting(0.1, "weight of the planes' smoothness along time", minimum=0)
    isometry: float = setting(
        0.01, "weight of the isometry loss (neighbours keep their distances)", minimum=0
    )
    growth: float = setting(
        0.025, "penalty on Gaussians grown past twice their size at rest", minimum=0
    )
    grow_gradient: float = setting(4e-4, "screen gradient above which Gaussians grow", minimum=0)
    # the field
    plane_channels: int = setting(16, "channels of each plane (multiple of 8)", minimum=8)
    plane_resolution: int = setting(32, "cells per side of the coarsest spatial planes", minimum=2)
    plane_scales: tuple[int, ...] = setting((1, 2), "multiples of that resolution", minimum=1)
    time_resolution: int = setting(16, "cells of the planes along time", minimum=2)
    width: int = setting(64, "width of the network behind the planes", minimum=8)
    hidden: int = setting(1, "hidden layers of that network", minimum=0, maximum=8)
    moving_color: bool = setting(False, "colours may change with time (shading, lights)")
    # motion
    recurrence: str = setting(
        "auto", "use loops and mirrored gaits found in the clip", choices=("auto", "off")
    )
    mirror_weight: float = setting(0.3, "weight of mirrored frames", minimum=0)
    seen_only: float = setting(
        0.3, "final share of the steps, which use no mirrored frames", minimum=0
    )
    spatial_prior: bool = setting(
        True, "use the spatial prior O^s of the clip, if any (Eq. 8; Table 2)"
    )
    temporal_prior: bool = setting(
        True, "use the temporal prior O^t of the clip, if any (Eq. 8; Table 2)"
    )
    seed: int = setting(0, "seed", minimum=0)
