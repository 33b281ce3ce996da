"""A last correction of the prediction where the object at rest is known, at the latents' own resolution.

The reference enters the trunk with its first features; what leaves it is made anew, that which does not
move too. This head sees the clean latents that the prediction stands for beside those of the object at
rest, and says how much of their difference to believe. Not in the paper.
B videos, C latent channels, T frames, h w latent pixels, E embedding width, N timesteps.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from orster_cli.core.errors import ConfigError
from orster_cli.diffusion.conditions import Conditions
from orster_cli.diffusion.parametrization import Parametrization, rest_of
from orster_cli.diffusion.precision import full_precision

BLOCKS = 2
GROUPS = 8  # the width is a multiple of it


class ReferenceHead(nn.Module):
    """x_0 becomes x_0 + s (gate (x_0 - rest) + shift), which starts as x_0. s: the noise's share, so that v
    changes by -(gate (x_0 - rest) + shift) whatever the level."""

    levels: Tensor

    def __init__(self, channels: int, embedding: int, width: int) -> None:
        super().__init__()
        self.enter = _in_frame(3 * channels, width)
        self.embed = nn.Linear(embedding, width)
        self.norms = nn.ModuleList(nn.GroupNorm(GROUPS, width) for _ in range(2 * BLOCKS))
        self.spatial = nn.ModuleList(_in_frame(width, width) for _ in range(BLOCKS))
        self.temporal = nn.ModuleList(_over_frames(width) for _ in range(BLOCKS))
        self.leave = nn.Conv3d(width, 2 * channels, 1)
        nn.init.zeros_(self.leave.weight)
        assert self.leave.bias is not None
        nn.init.zeros_(self.leave.bias)
        self.residual = False
        # [2,N]: shares of signal and noise. Not saved: `follow`'s to set
        self.register_buffer("levels", torch.zeros(2, 0), persistent=False)

    def follow(self, form: Parametrization) -> None:
        """Read predictions as `form` means them. ConfigError: they are of the noise, which says nothing
        about x_0 where no signal is left."""
        if form.schedule.prediction_type != "v_prediction":
            raise ConfigError(
                f"model.reference_head: expected a model that predicts v, got {form.kind}",
                hint="set model.parametrization=v or residual, or model.reference_head=0",
            )
        shares = torch.as_tensor(form.schedule.alphas_cumprod).double()
        levels = torch.stack([shares.sqrt(), (1 - shares).sqrt()]).float()
        self.levels, self.residual = levels.to(self.leave.weight.device), form.residual

    def forward(
        self, prediction: Tensor, z: Tensor, timesteps: Tensor, cond: Conditions, embedding: Tensor
    ) -> Tensor:
        """v [B,C,T,h,w] from the `prediction` for `z` of that shape at `timesteps` [B], in float32 under
        autocast too; `embedding` [B,T,E] or [B,1,E]: of time, cameras and motion. Videos of which the
        object at rest is not known keep their prediction."""
        rest, known = rest_of(cond)
        if rest is None:
            return prediction
        with full_precision(z.device):
            dtype = self.leave.weight.dtype
            prediction, z, rest = prediction.to(dtype), z.to(dtype), rest.to(dtype)
            signal, noise = self.levels[:, timesteps].to(dtype).view(2, -1, 1, 1, 1, 1)
            moved = signal * z - noise * prediction
            if not self.residual:
                moved = moved - rest
            x = self.enter(torch.cat([moved, rest, z], dim=1))
            x = x + self.embed(F.silu(embedding.to(dtype))).movedim(-1, 1)[..., None, None]
            for i in range(BLOCKS):
                x = x + self.spatial[i](F.silu(self.norms[2 * i](x)))
                x = x + self.temporal[i](F.silu(self.norms[2 * i + 1](x)))
            gate, shift = self.leave(F.silu(x)).chunk(2, dim=1)
            change = gate * moved + shift
            if known is not None:
                change = torch.where(known.view(-1, 1, 1, 1, 1), change, torch.zeros_like(change))
            return prediction - change


def _in_frame(channels: int, width: int) -> nn.Conv3d:
    return nn.Conv3d(channels, width, (1, 3, 3), padding=(0, 1, 1))


def _over_frames(width: int) -> nn.Conv3d:
    return nn.Conv3d(width, width, (3, 1, 1), padding=(1, 0, 0))
