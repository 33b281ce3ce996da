"""Orthogonal spatial-temporal distributional transfer over all taps of the trunk (Sec. 4.2).

B videos, T frames, C channels, H W pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from orster_cli.core.errors import ConfigError
from orster_cli.diffusion.trunk import is_spatial, temporal_partner
from orster_cli.transfer.attention import (
    KernelAttention,
    Pair,
    PairAttention,
    TokenAttention,
    spatial_attention,
    temporal_attention,
)
from orster_cli.transfer.feature_statistics import FeatureStatistics, band_of
from orster_cli.transfer.kernel import BINS, JointKernel, histogram
from orster_cli.transfer.loss import centred_cosine, orster_loss, token_distance, variance_share

WIDTH = 32  # of queries and keys
SPATIAL, TEMPORAL = "spatial", "temporal"
MEASURES = ("distance", "cosine", "variance")  # of each kind, for the log
Features = Mapping[str, Tensor]  # [B T,C,H,W] by unit


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
    """Statistics, kernel and attentions at one tap; where widths differ, also the student's projections."""

    def __init__(
        self, tap: Tap, *, kernel: str, spatial: bool, temporal: bool, projected: bool
    ) -> None:
        super().__init__()
        self.tap = tap
        c = tap.teacher
        self.statistics = nn.ModuleDict(
            {kind: FeatureStatistics(c) for kind in (SPATIAL, TEMPORAL)}
        )
        made = TokenAttention if kernel == "token" else PairAttention
        self.kernel = JointKernel() if kernel != "none" and (spatial or temporal) else None
        self.attend_s: KernelAttention | None = made(c, WIDTH) if spatial else None
        self.attend_t: KernelAttention | None = made(c, WIDTH) if temporal else None
        # only the student is projected: learned targets would collapse
        same = tap.student == c and not projected
        self.project_s, self.project_t = (
            nn.Identity() if same else nn.Conv2d(tap.student, c, 3, padding=1) for _ in range(2)
        )

    def unit(self, kind: str) -> str:
        """Name of the tapped transformer."""
        return self.tap.spatial if kind == SPATIAL else self.tap.temporal

    def pair(self, features: Mapping[str, Tensor], band: Tensor) -> Pair | None:
        """The standardised features of both teachers, for the kernel. The other one stands in for a teacher
        without features."""
        if self.kernel is None:
            return None
        given = {k: self.statistics[k].standardised(x, band) for k, x in features.items()}
        a, b = given.get(SPATIAL), given.get(TEMPORAL)
        a, b = (b if a is None else a), (a if b is None else b)
        assert a is not None
        assert b is not None
        return a, b

    def target(self, kind: str, teacher: Tensor, pair: Pair | None, frames: int) -> Tensor:
        """f_bar of the normalised features `teacher`, [B T,C,H,W]; those themselves without attention."""
        if kind == SPATIAL and self.attend_s is not None:
            return spatial_attention(self.attend_s, teacher, self.kernel, pair)
        if kind == TEMPORAL and self.attend_t is not None:
            return temporal_attention(self.attend_t, teacher, self.kernel, pair, frames)
        return teacher


class OrsterTransfer(nn.Module):
    """L_orster of a student's features (Eq. 11-14). `lambda_o`: weight of the spatial term. `kernel`:
    "pair" (kappa_ij of each pair of tokens), "token" (one kappa per token: ablation) or "none" (Table 3).

    At each tap, features of teacher and student are divided by the running root mean square of the
    teacher's, so that all taps weigh alike. The student's are projected (3x3 convolution) where widths
    differ, or everywhere if `projected`. Features are residuals [B T,C,H,W] by unit. `level` [B] in
    [0,1) is each video's noise level (timestep over their number), for statistics per band. In training
    each call updates the statistics first, with one exchange between processes."""

    def __init__(
        self,
        taps: Iterable[Tap],
        *,
        lambda_o: float,
        kernel: str = "pair",
        spatial: bool = True,
        temporal: bool = True,
        projected: bool = False,
    ) -> None:
        super().__init__()
        self.lambda_o = lambda_o
        self.places = nn.ModuleList(  # one a tap; checkpoints have this name
            _TapTransfer(
                tap, kernel=kernel, spatial=spatial, temporal=temporal, projected=projected
            )
            for tap in taps
        )

    def units(self) -> tuple[frozenset[str], frozenset[str]]:
        """Names of the tapped spatial and temporal transformers."""
        taps = [transfer.tap for transfer in self.places]
        return frozenset(t.spatial for t in taps), frozenset(t.temporal for t in taps)

    def spatial(
        self,
        student: Features,
        spatial: Features,
        temporal: Features | None,
        level: Tensor,
        frames: int,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The spatial distance alone and its terms, for batches of the 3D teacher, whose features are
        `spatial`. `temporal`: the video teacher's features of the same latents, for the kernel; None: kappa
        pairs the 3D teacher's tokens with themselves."""
        parts, terms = self._distances((SPATIAL,), student, spatial, temporal, level, frames)
        return parts[SPATIAL], terms

    def temporal(
        self,
        student: Features,
        spatial: Features | None,
        temporal: Features,
        level: Tensor,
        frames: int,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The temporal distance alone and its terms, for batches of the video teacher, whose features are
        `temporal`. `spatial`: the 3D teacher's features of the same latents, for the kernel; None: kappa
        pairs the video teacher's tokens with themselves."""
        parts, terms = self._distances((TEMPORAL,), student, spatial, temporal, level, frames)
        return parts[TEMPORAL], terms

    def forward(
        self, student: Features, spatial: Features, temporal: Features, level: Tensor, frames: int
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of both kinds on one batch, and terms for the log: of each kind, as means over the taps,
        the distance, the centred cosine of student and teacher (`cosine_*`) and the share of the teacher's
        variance that the target keeps (`variance_*`); mean and histogram of each token's own kappa.
        Units that the student lacks (one channel alone) are left out."""
        kinds = (SPATIAL, TEMPORAL)
        parts, terms = self._distances(kinds, student, spatial, temporal, level, frames)
        return orster_loss(parts[SPATIAL], parts[TEMPORAL], self.lambda_o), terms

    def _distances(
        self,
        kinds: tuple[str, ...],
        student: Features,
        spatial: Features | None,
        temporal: Features | None,
        level: Tensor,
        frames: int,
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The mean distance over the taps of each kind, and terms for the log."""
        given = {SPATIAL: spatial, TEMPORAL: temporal}
        band = band_of(level)
        teachers = [
            {kind: x[place.unit(kind)].float() for kind, x in given.items() if x is not None}
            for place in self.places
        ]
        if self.training:
            self._observe(teachers, band)
        values: dict[str, list[Tensor]] = {}
        kappas = []
        for place in self.places:
            features = teachers.pop(0)  # no longer than its tap: the last tap is the fullest moment
            pair = place.pair(features, band)
            if place.kernel is not None and pair is not None:
                with torch.no_grad():
                    own = place.kernel.log_kappa(*(x.movedim(1, -1) for x in pair)).exp()
                kappas.append(own.flatten())
            for kind in kinds:
                if place.unit(kind) not in student:
                    continue
                rms = place.statistics[kind].rms()
                teacher = features[kind] / rms
                target = place.target(kind, teacher, pair, frames)
                project = place.project_s if kind == SPATIAL else place.project_t
                mine = project(student[place.unit(kind)].float() / rms)
                row = {"distance": token_distance(mine, target)}
                with torch.no_grad():
                    row["cosine"] = centred_cosine(mine, teacher, kind, frames)
                    row["variance"] = variance_share(target, teacher, kind, frames)
                for name, value in row.items():
                    values.setdefault(f"{name}_{kind}", []).append(value)
        terms = {name: torch.stack(value).mean() for name, value in values.items()}
        zero = level.new_zeros((), dtype=torch.float32)
        parts = {kind: terms.setdefault(f"distance_{kind}", zero) for kind in kinds}
        if kappas:
            kappa = torch.cat(kappas)
            terms |= {"kappa": kappa.mean(), "kappa_histogram": histogram(kappa)}
        return parts, {name: value.detach() for name, value in terms.items()}

    def lesson_terms(self, kind: str) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the terms of `spatial` or `temporal`, whose `kind` it is."""
        terms: dict[str, tuple[int, ...]] = {f"{name}_{kind}": () for name in MEASURES}
        if any(place.kernel is not None for place in self.places):
            terms |= {"kappa": (), "kappa_histogram": (BINS,)}
        return terms

    def _observe(self, teachers: list[dict[str, Tensor]], band: Tensor) -> None:
        """Update the statistics with the features of all processes."""
        self._exchange(
            [
                (place.statistics[kind], place.statistics[kind].sums(x, band))
                for place, features in zip(self.places, teachers, strict=True)
                for kind, x in features.items()
            ]
        )

    def observe_elsewhere(self, *, spatial: bool, temporal: bool) -> None:
        """Update the statistics with the features of the other processes, `spatial` and `temporal` ones,
        where this one has no video of a batch. Each process takes part in each exchange: else two would
        add up what belongs to different batches."""
        if self.training and dist.is_available() and dist.is_initialized():
            kinds = [k for k, asked in ((SPATIAL, spatial), (TEMPORAL, temporal)) if asked]
            chosen = [place.statistics[kind] for place in self.places for kind in kinds]
            self._exchange([(statistics, statistics.no_sums()) for statistics in chosen])

    def _exchange(self, observed: list[tuple[FeatureStatistics, Tensor]]) -> None:
        """Add the sums of all processes, stacked into one exchange, to their statistics."""
        sums = [own for _, own in observed]
        if dist.is_available() and dist.is_initialized():
            together = torch.cat([x.flatten() for x in sums])
            dist.all_reduce(together)
            pieces = together.split([x.numel() for x in sums])
            sums = [piece.view_as(x) for piece, x in zip(pieces, sums, strict=True)]
        for (statistics, _), value in zip(observed, sums, strict=True):
            statistics.add(value)
