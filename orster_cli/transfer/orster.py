"""Orthogonal spatial-temporal distributional transfer over all taps of the trunk (Sec. 4.2).

B videos, T frames, C channels, H W pixels, N = B T H W tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from orster_cli.core.errors import ConfigError
from orster_cli.diffusion.trunk import is_spatial, temporal_partner
from orster_cli.transfer.attention import KernelAttention, spatial_attention, temporal_attention
from orster_cli.transfer.kernel import JointKernel, histogram
from orster_cli.transfer.loss import orster_loss, token_distance

WIDTH = 32  # of queries and keys


@dataclass(frozen=True)
class Tap:
    """A spatial transformer of the trunk and the temporal one after it, by name; their channels in the
    teachers and in the student."""

    spatial: str
    temporal: str
    teacher: int
    student: int


def find_taps(
    student: Mapping[str, int], spatial: Mapping[str, int], temporal: Mapping[str, int]
) -> list[Tap]:
    """The pairs of transformers that student, 3D teacher and video teacher (channels by name) have in
    common. ConfigError: there is none, or the teachers differ in width."""
    taps = []
    for name, width in student.items():
        if not is_spatial(name):
            continue
        partner = temporal_partner(name)
        if partner not in student or name not in spatial or partner not in temporal:
            continue
        if spatial[name] != temporal[partner]:
            raise ConfigError(
                f"{name}: the 3D teacher has {spatial[name]} channels, the video teacher "
                f"{temporal[partner]}: the joint kernel compares tokens of one width",
                hint="take teachers of one family",
            )
        taps.append(Tap(name, partner, spatial[name], width))
    if not taps:
        raise ConfigError("student and teachers have no transformer in common")
    return taps


class _TapTransfer(nn.Module):
    """Kernel and attentions at one tap; where widths differ, also the student's projections."""

    def __init__(self, tap: Tap, *, kernel: bool, spatial: bool, temporal: bool) -> None:
        super().__init__()
        self.tap = tap
        c = tap.teacher
        self.kernel = JointKernel(c)
        self.attend_s = KernelAttention(c, WIDTH, kernel=kernel) if spatial else None
        self.attend_t = KernelAttention(c, WIDTH, kernel=kernel) if temporal else None
        # only the student is projected: learned targets would collapse
        wider = tap.student != c
        self.project_s = nn.Conv2d(tap.student, c, 1) if wider else nn.Identity()
        self.project_t = nn.Conv2d(tap.student, c, 1) if wider else nn.Identity()

    def targets(self, spatial: Tensor, temporal: Tensor, frames: int) -> tuple[Tensor, ...]:
        """Targets f_s and f_t [B T,C,H,W] from the teachers' features, and kappa [B T,H,W]."""
        s, t = (x.permute(0, 2, 3, 1).flatten(0, 2) for x in (spatial, temporal))
        if self.training:
            self.kernel.observe(s, t)
        kappa = self.kernel(s, t).view(spatial.shape[0], *spatial.shape[2:])
        f_s, f_t = spatial, temporal
        if self.attend_s is not None:
            f_s = spatial_attention(self.attend_s, spatial, kappa)
        if self.attend_t is not None:
            f_t = temporal_attention(self.attend_t, temporal, kappa, frames)
        return f_s, f_t, kappa


class OrsterTransfer(nn.Module):
    """L_orster of a student's features (Eq. 11-14). `lambda_o`: weight of the spatial term."""

    def __init__(
        self,
        taps: Iterable[Tap],
        *,
        lambda_o: float,
        kernel: bool = True,
        spatial: bool = True,
        temporal: bool = True,
    ) -> None:
        super().__init__()
        self.lambda_o = lambda_o
        self.places = nn.ModuleList(  # one a tap; checkpoints have this name
            _TapTransfer(tap, kernel=kernel, spatial=spatial, temporal=temporal) for tap in taps
        )

    def units(self) -> tuple[frozenset[str], frozenset[str]]:
        """Names of the tapped spatial and temporal transformers."""
        taps = [transfer.tap for transfer in self.places]
        return frozenset(t.spatial for t in taps), frozenset(t.temporal for t in taps)

    def forward(
        self,
        student: Mapping[str, Tensor],
        spatial: Mapping[str, Tensor],
        temporal: Mapping[str, Tensor],
        frames: int,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, and terms for the log: both distances, the mean cosines of student and target, kappa's
        mean and histogram. All features are residuals [B T,C,H,W] by unit; the loss
        leaves out units that the student lacks (one channel alone)."""
        distances: dict[str, list[Tensor]] = {"spatial": [], "temporal": []}
        cosines: dict[str, list[Tensor]] = {"spatial": [], "temporal": []}
        kappas = []
        for transfer in self.places:
            tap = transfer.tap
            f_s, f_t, kappa = transfer.targets(
                spatial[tap.spatial].float(), temporal[tap.temporal].float(), frames
            )
            kappas.append(kappa.detach().flatten())
            for kind, unit, target, project in (
                ("spatial", tap.spatial, f_s, transfer.project_s),
                ("temporal", tap.temporal, f_t, transfer.project_t),
            ):
                if unit not in student:
                    continue
                projected = project(student[unit].float())
                distances[kind].append(token_distance(projected, target))
                cosine = F.cosine_similarity(projected.detach(), target.detach(), dim=1)
                cosines[kind].append(cosine.mean())
        zero = kappas[0].new_zeros(())
        parts = {k: torch.stack(v).mean() if v else zero for k, v in distances.items()}
        terms = {f"distance_{k}": v.detach() for k, v in parts.items()}
        terms |= {f"cosine_{k}": torch.stack(v).mean() for k, v in cosines.items() if v}
        kappa = torch.cat(kappas)
        terms |= {"kappa": kappa.mean(), "kappa_histogram": histogram(kappa)}
        return orster_loss(parts["spatial"], parts["temporal"], self.lambda_o), terms
