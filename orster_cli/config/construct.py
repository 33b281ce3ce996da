"""Settings of `orster construct`. The defaults are the `fast` preset."""

from __future__ import annotations

from dataclasses import dataclass

from orster_cli.config.fields import setting
from orster_cli.core.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class ConstructConfig:
    # size of the fit
    resolution: int = setting(
        128, "side of the training images, pixels (0: the clip's own)", minimum=0, maximum=4096
    )
    gaussians: int = setting(
        6000, "Gaussians at the start of the fit", minimum=64, maximum=2_000_000
    )
    max_gaussians: int = setting(
        8000, "Gaussians at most, after densification", minimum=64, maximum=5_000_000
    )
    static_steps: int = setting(
        500, "optimizer steps of the static stage: canonical Gaussians, at time 0", minimum=0
    )
    coarse_steps: int = setting(
        500, "optimizer steps of the coarse stage: deformation field, L_hex (Eq. 17)", minimum=0
    )
    fine_steps: int = setting(
        1300, "optimizer steps of the fine stage: Gaussians and field, L_gs (Eq. 18)", minimum=0
    )
    # losses; the paper publishes no weights
    l1: float = setting(1.0, "weight of the L1 image loss (Eq. 18)", minimum=0)
    lpips: float = setting(0.0, "weight of LPIPS (Eq. 18); slow on a CPU", minimum=0)
    lpips_every: int = setting(
        4, "steps between LPIPS evaluations, each of which counts as often", minimum=1
    )
    depth: float = setting(0.01, "weight of depth smoothness in the fine stage (Eq. 18)", minimum=0)
    hex: float = setting(
        1.0, "weight of L_hex, the squared image error of the moving frames", minimum=0
    )
    mask: float = setting(0.3, "weight of the L1 loss of alpha", minimum=0)
    canonical: str = setting(
        "all",
        "frames that shape the canonical Gaussians: all, or the static orbit's alone, where there is one, "
        "so that the others only move them",
        choices=("all", "static"),
        added=True,
    )
    blurred: float = setting(
        1.0,
        "loss weight of frames that are blurred beside the static orbit (1: as all others)",
        minimum=0,
        maximum=1,
        added=True,
    )
    planes: float = setting(
        0.3, "weight of the smoothness of the HexPlane's features along space", minimum=0
    )
    planes_time: float = setting(
        0.1, "weight of the smoothness of the HexPlane's features along time", minimum=0
    )
    isometry: float = setting(
        0.01, "weight of the isometry loss: neighbouring Gaussians keep their distance", minimum=0
    )
    nodes: int = setting(
        0, "control nodes that the Gaussians follow; 0: each moves alone", minimum=0, maximum=4096
    )
    leave: float = setting(
        0.01,
        "how far Gaussians may be from where their control nodes take them, world units (0: any distance)",
        minimum=0,
    )
    resize: float = setting(
        0.0,
        "with control nodes: how far the logarithm of a Gaussian's size may be from its canonical one "
        "(0: any distance)",
        minimum=0,
        added=True,
    )
    root: bool = setting(
        False,
        "look first for how the object as a whole turns and moves, such as who falls over; frames that are "
        "blurred then still tell where it is",
        added=True,
    )
    rigidity: float = setting(
        0.3, "weight of the as-rigid-as-possible loss of the control nodes", minimum=0
    )
    course: float = setting(
        10.0,
        "weight of the loss that keeps control nodes near the course of the clip's object, where the clip "
        "brings one; the motion then begins with it (0: it is ignored)",
        minimum=0,
        added=True,
    )
    along: bool = setting(
        True,
        "where the frames were rendered along the object's course, with opacities, the asset moves as it "
        "does, and they teach its looks alone",
        added=True,
    )
    growth: float = setting(
        0.025,
        "weight of the size loss: deformed Gaussians stay below twice their canonical size",
        minimum=0,
    )
    grow_gradient: float = setting(
        4e-4, "screen-space gradient above which a Gaussian is cloned or split", minimum=0
    )
    antialiased: bool = setting(
        True, "rasterize with opacity compensation (the 2D filter of Mip-Splatting)"
    )
    # deformation field
    plane_channels: int = setting(
        16, "feature channels of each HexPlane plane (multiple of 8)", minimum=8
    )
    plane_resolution: int = setting(
        20, "cells per side of the spatial planes at the coarsest scale", minimum=2
    )
    plane_scales: tuple[int, ...] = setting(
        (1, 2), "scales of the HexPlane, as multiples of plane_resolution", minimum=1
    )
    time_resolution: int = setting(
        0,
        "cells of the planes along time, at most (0: by the clip's moments and motion)",
        minimum=0,
    )
    width: int = setting(64, "width of the MLP that reads the planes' features", minimum=8)
    hidden: int = setting(1, "hidden layers of that MLP", minimum=0, maximum=8)
    moving_color: bool = setting(False, "the field also changes colours (shading, lights)")
    # periodic and mirrored motion
    recurrence: str = setting(
        "auto",
        "auto: find loops and mirror symmetry of the motion, and train on mirrored frames too",
        choices=("auto", "off"),
    )
    mirror_weight: float = setting(0.3, "loss weight of mirrored frames", minimum=0)
    seen_only: float = setting(
        0.3,
        "fraction of the steps, at the end, that train on the given frames alone, none mirrored",
        minimum=0,
    )
    # priors of a sampled clip (Eq. 8; Table 2)
    spatial_prior: bool = setting(True, "use the clip's spatial prior O^s, if it has one")
    temporal_prior: bool = setting(True, "use the clip's temporal prior O^t, if it has one")
    seed: int = setting(0, "seed of initialisation and of the order of views", minimum=0)

    def __post_init__(self) -> None:
        if self.gaussians > self.max_gaussians:
            raise ConfigError(
                f"construct.gaussians ({self.gaussians}) exceeds construct.max_gaussians "
                f"({self.max_gaussians})",
                hint=f"raise both, as with --set construct.max_gaussians={self.gaussians}",
            )
