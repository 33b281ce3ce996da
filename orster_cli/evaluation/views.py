"""The views of an evaluation pair that metrics read, rendered as the protocol says.

The frames of a video are used as they are. A scene (an asset, Gaussians, a mesh) is rendered: at the
cameras and times of the other side where that is a video, otherwise at the protocol's.

T frames, H W pixels.
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
from orster_cli.evaluation.videos import Scene, Video, check_comparable, render_video
from orster_cli.geometry.orbit import clip_times, orbit_azimuths, orbit_cameras
from orster_cli.metrics.grids import grid_paths

FRONT = 5.0  # degrees from azimuth 0 that still count as the front view
NEED_REFERENCE = "give what it should look like: --reference"


class UndefinedMetric(Exception):
    """A metric has no value for this subject: `why`, and what to `get` or do for one."""

    def __init__(self, why: str, get: str = "") -> None:
        super().__init__(why)
        self.why, self.get = why, get


@dataclass(frozen=True, kw_only=True)
class Condition:
    """What the subject was generated from: a text, the first view [3,H,W] (on white), both or neither."""

    text: str | None = None
    image: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class EvaluationPair:
    """A subject and its reference. `static`: the static orbit of a subject that is a clip: the object at
    rest, seen by the clip's cameras; `reference_digest`: of the files of a reference that is rendered."""

    name: str
    subject: Video | Scene
    reference: Video | Scene | None = None
    reference_name: str = ""
    reference_digest: str = ""
    static: Video | None = None
    condition: Condition = field(default_factory=Condition)


class RenderedViews:
    """The videos of one pair. Each is rendered once, when the first metric reads it."""

    def __init__(self, pair: EvaluationPair, cfg: EvaluateConfig, reporter: Reporter) -> None:
        self.pair, self.cfg, self.reporter = pair, cfg, reporter

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

    def _render(self, scene: Scene, cameras: Cameras, times: Tensor, name: str) -> Video:
        return render_video(name, scene, cameras, times, self.cfg.background)

    def _protocol_cameras(self) -> tuple[Cameras, Tensor]:
        """Cameras and times of paired frames where neither side fixes them."""
        cfg = self.cfg
        times = clip_times(cfg.frames)
        if not cfg.azimuths:
            return self._cameras(orbit_azimuths(cfg.frames)), times
        held = torch.tensor(cfg.azimuths, dtype=torch.float64).repeat_interleave(cfg.frames)
        return self._cameras(held), times.repeat(len(cfg.azimuths))

    @cached_property
    def _shown(self) -> Video:
        """The subject; a scene at the cameras and times of a reference that knows them, otherwise at the
        protocol's."""
        subject, reference = self.pair.subject, self.pair.reference
        if isinstance(subject, Video):
            return subject
        fixed = None if reference is None else _fixed_cameras(reference)
        return self._render(subject, *(fixed or self._protocol_cameras()), self.pair.name)

    @property
    def matched(self) -> bool:
        """Whether frame i of the subject and of the reference can be compared: not where both are videos
        of other sizes, nor where a scene meets a video without cameras and times."""
        subject, reference = self.pair.subject, self.pair.reference
        if not isinstance(reference, Video):
            return reference is not None
        if isinstance(subject, Video):
            return subject.frames.shape == reference.frames.shape
        return _fixed_cameras(reference) is not None or bool(self.cfg.azimuths)

    @cached_property
    def paired(self) -> tuple[Video, Video]:
        """The subject and the reference; frame i of both has the same camera and time. UndefinedMetric: no
        reference, or a video of unknown cameras for a scene. InputError: the two cannot be compared."""
        subject, reference = self.pair.subject, self.pair.reference
        if reference is None:
            raise UndefinedMetric("it has no reference", NEED_REFERENCE)
        if isinstance(reference, Video):
            if self.cfg.azimuths:
                shown = ", ".join(f"{a:g}" for a in self.cfg.azimuths)
                raise InputError(
                    f"{reference.name}: protocol {self.cfg.protocol} compares views at azimuths "
                    f"{shown}, and a clip has only its own",
                    hint="give a reference that can be rendered: an asset, or a .glb file",
                )
        else:
            cameras, times = _fixed_cameras(subject) or self._protocol_cameras()
            reference = self._render(reference, cameras, times, self.pair.reference_name)
        if not isinstance(subject, Video) and _fixed_cameras(reference) is None:
            raise UndefinedMetric(
                f"an asset is compared at the cameras of its reference, and the video "
                f"{reference.name} has none",
                "give a clip, a dataset's clip (dataset#key) or a folder with transforms.json",
            )
        check_comparable(self._shown, reference, self.reporter)
        return self._shown, reference

    @cached_property
    def videos(self) -> tuple[Video, Video | None]:
        """The subject and the reference as distances of sets compare them: the two may show different
        things at frame i."""
        if self.matched:
            return self.paired
        reference = self.pair.reference
        assert reference is None or isinstance(reference, Video)
        return self._shown, reference

    def split_azimuths(self, video: Video) -> list[Tensor]:
        """`video` (of `paired` or `videos`) as clips [T,3,H,W]: one for each azimuth that the protocol
        holds where it was rendered so, otherwise the whole."""
        rendered = self.cfg.azimuths and not isinstance(self.pair.subject, Video)
        return list(video.frames.split(self.cfg.frames)) if rendered else [video.frames]

    @cached_property
    def orbit(self) -> Video:
        """All frames of a video; of a scene uniform orbital views while time runs (CLIP-O)."""
        subject = self.pair.subject
        if isinstance(subject, Video):
            return subject
        cameras = self._cameras(orbit_azimuths(self.cfg.views))
        return self._render(subject, cameras, clip_times(self.cfg.views), self.pair.name)

    @cached_property
    def front(self) -> Video:
        """The frames of a video whose camera is in front; of a scene the front view while time runs
        (CLIP-F). UndefinedMetric."""
        subject = self.pair.subject
        if isinstance(subject, Video):
            if subject.cameras is None:
                raise UndefinedMetric("a video without cameras has no known front view")
            which = torch.nonzero(subject.cameras.azimuths.abs() <= FRONT)[:, 0].tolist()
            if not which:
                raise UndefinedMetric("no frame of the clip shows the front")
            return subject.pick(which)
        cameras = self._cameras(orbit_azimuths(self.cfg.frames, turns=0.0))
        return self._render(subject, cameras, clip_times(self.cfg.frames), self.pair.name)

    @cached_property
    def condition_image(self) -> Tensor:
        """[3,H,W] that CLIP compares frames with: the condition's image, otherwise the reference's front
        view at its first moment. UndefinedMetric: neither is known."""
        given, reference = self.pair.condition.image, self.pair.reference
        if given is not None:
            return given
        if reference is None:
            raise UndefinedMetric("no image is known to compare with", NEED_REFERENCE)
        if not isinstance(reference, Video):
            return self._render(
                reference, self._cameras(torch.zeros(1)), torch.zeros(1), ""
            ).frames[0]
        if reference.cameras is None:
            return reference.frames[0]
        return reference.frames[int(reference.cameras.azimuths.abs().argmin())]

    @cached_property
    def moving_and_static(self) -> tuple[Video, Video]:
        """A video of the subject, and its first moment from the same cameras. UndefinedMetric."""
        subject, static = self.pair.subject, self.pair.static
        if isinstance(subject, Video):
            if static is None:
                raise UndefinedMetric("the clip brings no static orbit")
            if not _seen_alike(subject, static):
                raise UndefinedMetric("the clip's static orbit is seen by other cameras")
            return subject, static
        video = self._shown
        assert video.cameras is not None
        return video, self._render(subject, video.cameras, torch.zeros(len(video)), self.pair.name)

    def matrix_clips(self, kind: str) -> tuple[list[Tensor], list[Tensor]]:
        """The clips [T,3,H,W] that `kind` (see `grid_paths`) reads from the V x F image matrices of the
        subject and of the reference (none without a reference). UndefinedMetric."""
        cfg = self.cfg
        picks = [
            [v * cfg.grid_moments + f for v, f in path]
            for path in grid_paths(kind, cfg.grid_views, cfg.grid_moments)
        ]
        subject, reference = self._matrices
        return (
            [subject[p] for p in picks],
            [] if reference is None else [reference[p] for p in picks],
        )

    @cached_property
    def _matrices(self) -> tuple[Tensor, Tensor | None]:
        """Frames [V F,3,H,W] of the subject and of the reference, view by view."""
        subject, reference = self.pair.subject, self.pair.reference
        if isinstance(subject, Video) or isinstance(reference, Video):
            raise UndefinedMetric(
                "a clip shows one view at each moment, an image matrix needs all",
                "compare an asset or .glb with an asset or .glb",
            )
        cfg = self.cfg
        cameras = self._cameras(orbit_azimuths(cfg.grid_views).repeat_interleave(cfg.grid_moments))
        times = clip_times(cfg.grid_moments).repeat(cfg.grid_views)
        first = self._render(subject, cameras, times, self.pair.name).frames
        if reference is None:
            return first, None
        if reference is subject:
            return first, first
        return first, self._render(reference, cameras, times, self.pair.reference_name).frames


def _fixed_cameras(side: Video | Scene) -> tuple[Cameras, Tensor] | None:
    """The cameras and times of a video that knows them."""
    if isinstance(side, Video) and side.cameras is not None and side.times is not None:
        return side.cameras, side.times
    return None


def _seen_alike(a: Video, b: Video) -> bool:
    """Whether two videos have as many frames, from the same cameras as far as these are known."""
    if len(a) != len(b) or a.cameras is None or b.cameras is None:
        return len(a) == len(b)
    return torch.allclose(a.cameras.w2c, b.cameras.w2c, atol=1e-4)
