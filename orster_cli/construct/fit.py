"""The fit: static Gaussians, then the motion, then everything together (paper 4.5).

Three phases over one step counter: `static` fits the canonical Gaussians to the object at time 0,
`coarse` the deformation with L_hex (Eq. 17), `fine` all of it with L_gs (Eq. 18). Each step looks at
one view. Random numbers are derived from (seed, step): a fit that was killed and resumed from its
checkpoint ends in the same bytes as one that was not.

N Gaussians, H W pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from orster_cli.config.construct import ConstructConfig
from orster_cli.construct.densify import DensifyRule, DensityController
from orster_cli.construct.hull import SurfacePoints
from orster_cli.construct.losses import LossWeights, Perceptual, splatting_loss
from orster_cli.construct.views import View
from orster_cli.core.errors import NumericalError
from orster_cli.core.seeding import derive_seed
from orster_cli.core.types import SH_C0, Gaussians
from orster_cli.splatting.motion import Motion
from orster_cli.splatting.rasterize import Render, rasterize

RATES = {"means": 8e-4, "scales": 8e-3, "quats": 4e-3, "opacities": 4e-2, "sh0": 8e-2}
FINAL_RATE = 0.05  # every learning rate decays to this share of itself within its phases


@dataclass(frozen=True)
class Phase:
    name: str
    start: int
    stop: int

    def progress(self, step: int) -> float:
        return (step - self.start) / max(self.stop - self.start, 1)


def phases(cfg: ConstructConfig) -> tuple[Phase, Phase, Phase]:
    a = cfg.static_steps
    b = a + cfg.coarse_steps
    return Phase("static", 0, a), Phase("coarse", a, b), Phase("fine", b, b + cfg.fine_steps)
