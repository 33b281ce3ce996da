"""Priors O^s and O^t: features of a clip from the model's spatial and temporal units (Sec. 4.5, Eq. 8).

B videos, C channels, T frames, H W pixels, M tokens, P channels of a unit.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from orster_cli.diffusion.conditions import Conditions
from orster_cli.diffusion.parametrization import Parametrization, rest_of
from orster_cli.diffusion.std4d import STD4D

GRID = (8, 4, 4)  # frames x rows x columns: 128 tokens, the most that ST-HexPlane reads
LEVEL = 0.1  # noise level of the pass, as a share of the schedule
FILE = "priors.safetensors"
NAMES = ("spatial", "temporal")


def unit_pair(model: STD4D) -> tuple[str, str]:
    """Names of the trunk's last spatial and last temporal transformer, whose features are the finest."""
    spatial, temporal = model.trunk.unit_names()
    return spatial[-1], temporal[-1]


@torch.no_grad()
def pooled_priors(
    model: STD4D, form: Parametrization, z: Tensor, cond: Conditions, noise: Tensor
) -> list[dict[str, Tensor]]:
    """For each clip of z [B,C,T,h,w] its tokens [M,P], M <= 128, frame by frame, as "spatial" and
    "temporal"; a model of one channel has one of the two."""
    level = int(LEVEL * form.schedule.num_train_timesteps)
    t = torch.full((len(z),), level, device=z.device)
    units = unit_pair(model)
    clean = form.clean_of(z, *rest_of(cond))
    out = model(form.add_noise(clean, noise, t), t, cond, wanted=frozenset(units))
    found: list[dict[str, Tensor]] = [{} for _ in z]
    for unit, value in out.features().items():
        kind = NAMES[units.index(unit)]
        video = value.unflatten(0, (len(z), -1)).transpose(1, 2)  # [B,P,T,H,W]
        grid = [min(a, b) for a, b in zip(GRID, video.shape[2:], strict=True)]
        tokens = F.adaptive_avg_pool3d(video.float(), grid).flatten(2).transpose(1, 2)
        for row, one in zip(found, tokens, strict=True):
            row[kind] = one.cpu()
    return found
