"""What the metrics look at: a subject and what it is held against, filmed as the protocol says.

A clip is taken as it is; a scene (an asset, Gaussians, a mesh) is filmed, at the other side's cameras and
times where that side is a clip, else at the protocol's. T frames, H W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from orster_cli.config.evaluate import EvaluateConfig
from orster_cli.core.errors import InputError
from orster_cli.core.reporting import Reporter
from orster_cli.core.types import Cameras
from orster_cli.evaluate.film import Footage, Scene, check_comparable, film
from orster_cli.geometry.orbit import clip_times, orbit_azimuths, orbit_cameras
from orster_cli.metrics.grids import grid_paths

FRONT = 5.0  # degrees from azimuth 0 that still count as the front view
NEED_REFERENCE = "give what it should look like: --reference"


class Undefined(Exception):
    """A metric says nothing about this subject; `get`: what would let it."""

    def __init__(self, why: str, get: str = "") -> None:
        super().__init__(why)
        self.why, self.get = why, get


@dataclass(frozen=True, kw_only=True)
class Condition:
    """What was asked for: a text, the first view [3,H,W] (on white), both or neither."""

    text: str | None = None
    image: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class Case:
    """A subject and what it is held against. `static`: the object at rest under the same cameras, where a
    clip brought it."""

    name: str
    ours: Footage | Scene
    reference: Footage | Scene | None = None
    reference_name: str = ""
    static: Footage | None = None
    condition: Condition = field(default_factory=Condition)


class Looks:
    """The footages of one case, each filmed once, when a metric asks for it."""

    def __init__(self, case: Case, cfg: EvaluateConfig, reporter: Reporter) -> None:
        self.case, self.cfg, self.reporter = case, cfg, reporter

    def _cameras(self, azimuths: Tensor) -> Cameras:
        cfg = self.cfg
        return orbit_cameras(
            azimuths,
            elevation=cfg.elevation,
            radius=cfg.radius,
            fov_deg=cfg.fov,
            width=cfg.resolution,
            height=cfg.resolution,
        )

    def _film(self, side: Scene, cameras: Cameras, times: Tensor, name: str) -> Footage:
        return film(name, side, cameras, times, self.cfg.background)

    def _protocol(self) -> tuple[Cameras, Tensor]:
        """Cameras and times of paired frames that nothing else fixes."""
        cfg = self.cfg
        times = clip_times(cfg.frames)
        if not cfg.azimuths:
            return self._cameras(orbit_azimuths(cfg.frames)), times
        held = torch.tensor(cfg.azimuths, dtype=torch.float64).repeat_interleave(cfg.frames)
        return self._cameras(held), times.repeat(len(cfg.azimuths))

    @cached_property
    def paired(self) -> tuple[Footage, Footage]:
        """Ours and the reference, frame by frame. Undefined, InputError."""
        case, reference = self.case, self.case.reference
        if reference is None:
            raise Undefined("it has no reference", NEED_REFERENCE)
        if isinstance(reference, Footage):
            if self.cfg.azimuths:
                shown = ", ".join(f"{a:g}" for a in self.cfg.azimuths)
                raise InputError(
                    f"{reference.name}: protocol {self.cfg.protocol} compares views at azimuths "
                    f"{shown}, and a clip has only its own",
                    hint="give a reference that can be filmed: an asset, or a .glb file",
                )
            theirs = reference
        else:
            cameras, times = _frame(case.ours) or self._protocol()
            theirs = self._film(reference, cameras, times, case.reference_name)
        ours = case.ours
        if not isinstance(ours, Footage):
            if theirs.cameras is None or theirs.times is None:
                raise InputError(
                    f"{theirs.name}: an asset is compared through its cameras, and a video has none",
                    hint="give a clip, a dataset's clip (dataset#key) or a folder with "
                    "transforms.json",
                )
            ours = self._film(ours, theirs.cameras, theirs.times, case.name)
        check_comparable(ours, theirs, self.reporter)
        return ours, theirs

    @cached_property
    def videos(self) -> tuple[Footage, Footage | None]:
        """Ours and the reference as videos of a turning or standing camera: what a set's distance
        compares. The two need not show the same."""
        ours, reference = self.case.ours, self.case.reference
        if reference is not None and not (isinstance(ours, Footage) and _unlike(ours, reference)):
            return self.paired
        if not isinstance(ours, Footage):
            ours = self._film(ours, *self._protocol(), self.case.name)
        assert reference is None or isinstance(reference, Footage)
        return ours, reference

    def parts(self, footage: Footage) -> list[Tensor]:
        """The videos [T,3,H,W] of `paired` or `videos`: one for each azimuth that the protocol holds, where
        it was filmed so, else the whole."""
        held = self.cfg.azimuths and not isinstance(self.case.ours, Footage)
        return list(footage.frames.split(self.cfg.frames)) if held else [footage.frames]

    @cached_property
    def around(self) -> Footage:
        """All frames of a clip; uniform orbital views of a scene while its time runs (CLIP-O)."""
        ours = self.case.ours
        if isinstance(ours, Footage):
            return ours
        cameras = self._cameras(orbit_azimuths(self.cfg.views))
        return self._film(ours, cameras, clip_times(self.cfg.views), self.case.name)

    @cached_property
    def front(self) -> Footage:
        """The frames of a clip whose camera is in front; a scene from the front while its time runs
        (CLIP-F). Undefined."""
        ours = self.case.ours
        if isinstance(ours, Footage):
            if ours.cameras is None:
                raise Undefined("a video without cameras has no known front view")
            which = torch.nonzero(ours.cameras.azimuths.abs() <= FRONT)[:, 0].tolist()
            if not which:
                raise Undefined("no frame of the clip shows the front")
            return ours.pick(which)
        cameras = self._cameras(orbit_azimuths(self.cfg.frames, turns=0.0))
        return self._film(ours, cameras, clip_times(self.cfg.frames), self.case.name)

    @cached_property
    def first_view(self) -> Tensor:
        """[3,H,W] that CLIP's images are held against: the condition's, else the reference's front at
        its first moment. Undefined."""
        given, reference = self.case.condition.image, self.case.reference
        if given is not None:
            return given
        if reference is None:
            raise Undefined("no image is known to compare with", NEED_REFERENCE)
        if not isinstance(reference, Footage):
            cameras = self._cameras(torch.zeros(1))
            return film("", reference, cameras, torch.zeros(1), self.cfg.background).frames[0]
        if reference.cameras is None:
            return reference.frames[0]
        return reference.frames[int(reference.cameras.azimuths.abs().argmin())]

    @cached_property
    def at_rest(self) -> tuple[Footage, Footage]:
        """A video and the same cameras at its first moment. Undefined."""
        ours, static = self.case.ours, self.case.static
        if isinstance(ours, Footage):
            if static is None:
                raise Undefined("the clip brings no static orbit")
            return ours, static
        video = self.videos[0]
        assert video.cameras is not None
        still = self._film(ours, video.cameras, torch.zeros(len(video)), self.case.name)
        return video, still

    def matrix_clips(self, kind: str) -> tuple[list[Tensor], list[Tensor]]:
        """The videos [T,3,H,W] that `kind` (see `grid_paths`) reads from V x F images of ours and of the
        reference, where there is one. Undefined."""
        cfg = self.cfg
        picks = [
            [v * cfg.grid_moments + f for v, f in path]
            for path in grid_paths(kind, cfg.grid_views, cfg.grid_moments)
        ]
        ours, theirs = self._matrices
        return [ours[p] for p in picks], [] if theirs is None else [theirs[p] for p in picks]

    @cached_property
    def _matrices(self) -> tuple[Tensor, Tensor | None]:
        """Frames [V F,3,H,W], a row a view, of ours and of the reference."""
        ours, reference = self.case.ours, self.case.reference
        if isinstance(ours, Footage) or isinstance(reference, Footage):
            raise Undefined(
                "a clip shows one view at each moment, an image matrix needs all",
                "compare an asset or .glb with an asset or .glb",
            )
        cfg = self.cfg
        cameras = self._cameras(orbit_azimuths(cfg.grid_views).repeat_interleave(cfg.grid_moments))
        times = clip_times(cfg.grid_moments).repeat(cfg.grid_views)
        first = self._film(ours, cameras, times, self.case.name).frames
        if reference is None:
            return first, None
        if reference is ours:
            return first, first
        return first, self._film(reference, cameras, times, self.case.reference_name).frames


def _frame(side: Footage | Scene) -> tuple[Cameras, Tensor] | None:
    """The cameras and times that a clip fixes."""
    if isinstance(side, Footage) and side.cameras is not None and side.times is not None:
        return side.cameras, side.times
    return None


def _unlike(ours: Footage, reference: Footage | Scene) -> bool:
    """Whether two clips differ in number or size of frames, which a distance of sets allows."""
    return isinstance(reference, Footage) and ours.frames.shape != reference.frames.shape
