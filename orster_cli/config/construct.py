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
    static_steps: int = setting(500, "steps on the static object", minimum=0)
    coarse_steps: int = setting(900, "steps on the motion, L_hex (Eq. 17)", minimum=0)
    fine_steps: int = setting(2000, "steps on everything, L_gs (Eq. 18)", minimum=0)
    # losses; the paper publishes no weights
    l1: float = setting(1.0, "weight of L1 (Eq. 18)", minimum=0)
    lpips: float = setting(0.0, "weight of LPIPS (Eq. 18); slow on a CPU", minimum=0)
    lpips_every: int = setting(4, "steps between LPIPS evaluations", minimum=1)
    depth: float = setting(0.01, "weight of depth smoothness (Eq. 18)", minimum=0)
    hex: float = setting(1.0, "weight of L_hex in the fine phase (Eq. 18)", minimum=0)
    mask: float = setting(0.3, "weight of the coverage loss", minimum=0)
    planes: float = setting(1e-3, "weight of the planes' smoothness", minimum=0)
    # motion
    parts: int = setting(24, "parts that move together (0: HexPlane only)", minimum=0, maximum=256)
    smooth: float = setting(1e-3, "weight of the parts' acceleration", minimum=0)
    joints: float = setting(1.0, "weight of the joints between parts", minimum=0)
    recurrence: str = setting(
        "auto", "use loops and mirrored gaits that the clip shows", choices=("auto", "off")
    )
    seed: int = setting(0, "seed", minimum=0)
