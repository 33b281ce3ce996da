"""What sampling may begin from: a clip, or an animated asset, which is rendered from any cameras."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from orster_cli.core.reporting import Reporter
from orster_cli.inputs.clips import OpenedClip, open_clip

if TYPE_CHECKING:
    from torch import Tensor

    from orster_cli.artifacts.manifest import InputFile, Parent
    from orster_cli.config.sample import SampleConfig
    from orster_cli.core.types import Cameras, OrbitClip
    from orster_cli.splatting.gaussians4d import Gaussians4D


@dataclass(frozen=True, kw_only=True)
class OpenedStart:
    """A `clip`, which has cameras of its own, or an `asset`; and where it came from."""

    clip: OpenedClip | None = None
    asset: Gaussians4D | None = None
    parents: list[Parent] = field(default_factory=list)
    inputs: list[InputFile] = field(default_factory=list)

    @property
    def key(self) -> str:
        """What was chosen inside a dataset, "" elsewhere."""
        return "" if self.clip is None else self.clip.key

    def cameras(self, asked: Cameras) -> Cameras:
        """The cameras of what is sampled from it: those of the clip, as many and as large as `asked`; for
        an asset `asked` themselves."""
        from orster_cli.core.frames import evenly_spaced

        if self.clip is None:
            return asked
        own = self.clip.clip.cameras
        pick = evenly_spaced(len(own), len(asked), where="start")
        return own[pick].resized(asked.width, asked.height)

    def orbit(self, cameras: Cameras) -> OrbitClip:
        """The moving object at the times of a clip, from `cameras` as `cameras` gave them."""
        from orster_cli.core.frames import evenly_spaced
        from orster_cli.geometry.orbit import clip_times

        if self.clip is not None:
            clip = self.clip.clip
            pick = evenly_spaced(len(clip), len(cameras), where="start")
            alpha = None if clip.alpha is None else clip.alpha[pick]
            return replace(
                clip,
                frames=clip.frames[pick],
                alpha=alpha,
                cameras=clip.cameras[pick],
                times=clip.times[pick],
            )
        return self._rendered(cameras, clip_times(len(cameras)).float())

    def at_rest(self, cameras: Cameras) -> OrbitClip | None:
        """The object at time 0: the static orbit that came with the clip (None: it has none), or the asset
        at time 0 from `cameras`."""
        import torch

        if self.clip is not None:
            return self.clip.static
        return self._rendered(cameras, torch.zeros(len(cameras)))

    def _rendered(self, cameras: Cameras, times: Tensor) -> OrbitClip:
        from orster_cli.splatting.render_asset import render_clip

        assert self.asset is not None
        return render_clip(self.asset, cameras, times)


def open_start(text: str, reporter: Reporter) -> OpenedStart:
    """The asset in the folder `text`, or the clip that it names in any form that `open_clip` takes.
    InputError: neither."""
    from orster_cli.artifacts.outputs import artifact_kind
    from orster_cli.artifacts.store import open_artifact
    from orster_cli.construction.asset import load_asset
    from orster_cli.inputs.video import OrbitFlags

    if "#" not in text and artifact_kind(Path(text)) == "asset":
        artifact = open_artifact(Path(text), kind="asset")
        return OpenedStart(asset=load_asset(artifact.path), parents=[artifact.parent()])
    clip = open_clip(text, OrbitFlags(), reporter)
    return OpenedStart(clip=clip, parents=clip.parents, inputs=clip.inputs)


def warn_of_own_cameras(cfg: SampleConfig, reporter: Reporter) -> None:
    """Warn where an orbit is set that is not used, since what sampling starts from has cameras."""
    asked = {
        "azimuth_start": cfg.azimuth_start != 0,
        "elevation": cfg.elevation is not None,
        "radius": cfg.radius != 0,
        "turns": cfg.turns != 1,
    }
    unused = [name for name, is_set in asked.items() if is_set]
    if unused:
        reporter.warn(
            f"{', '.join(unused)}: not used, the clip to start from has cameras of its own (an asset is "
            "rendered from any)"
        )
