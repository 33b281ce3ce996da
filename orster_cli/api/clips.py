"""Orbital clips: opened from what a user has, or sampled by a model. T frames, H W pixels."""

from __future__ import annotations

import dataclasses
import io
import weakref
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from orster_cli.api.arguments import a_number, a_path, public
from orster_cli.api.calls import Folder, Messages, make
from orster_cli.artifacts.store import Artifact, Draft
from orster_cli.core.errors import ConfigError
from orster_cli.core.reporting import Reporter
from orster_cli.core.types import OrbitClip
from orster_cli.geometry.orbit import FOV_DEG, RADIUS
from orster_cli.geometry.similarity import Similarity
from orster_cli.gltf.packing import keep_object
from orster_cli.inputs import clips as inputs
from orster_cli.inputs.clips import OpenedClip
from orster_cli.inputs.video import OrbitFlags
from orster_cli.io.clip_files import CONDITION, write_beside, write_clip
from orster_cli.io.images import contact_sheet, to_bytes

SHEET_FRAMES = 8
ClipLike = str | Path | OrbitClip
"""A clip, or anything that `open_clip` takes."""


@dataclass
class Origin:
    """Where a clip comes from, for the manifests of what is made from it. `name`: as the command line
    names it; `folder`: of a clip artifact; `held`: a temporary folder that the clip needs."""

    opened: OpenedClip
    name: str
    orbit: OrbitFlags
    folder: Folder | None = None
    held: TemporaryDirectory[str] | None = None

    @property
    def place(self) -> str:
        """What names the clip on the command line now."""
        return self.name if self.folder is None else str(self.folder.path)


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Clip(OrbitClip):
    """An orbital clip that knows where it comes from: `frames` [T,3,H,W] in [0,1], `alpha` [T,1,H,W] or
    None, `cameras`, `times` [T] in [0,1], `prompt`, and what came with it: `static`, the orbit of the
    object at time 0, `further` orbits of the same motion, and `priors`, tokens [M,C] by name ("spatial",
    "temporal") of a sampled clip.

    Do not change its tensors in place: `dataclasses.replace(clip, frames=...)` makes another clip, which
    keeps what came with this one unless that is replaced, too (`further=[], course=None`)."""

    static: OrbitClip | None = None
    further: list[OrbitClip] = field(default_factory=list)
    priors: dict[str, Tensor] = field(default_factory=dict)
    # `replace` does not carry it over: changed frames have another origin
    _origin: Origin | None = field(default=None, init=False)

    @property
    def path(self) -> Path | None:
        """The folder of a clip artifact, a temporary one before `save`; None for other forms."""
        folder = self._origin.folder if self._origin else None
        return None if folder is None else folder.path

    @property
    def assumes_orbit(self) -> bool:
        """Whether its cameras were assumed when it was opened, since its file has none."""
        return self._origin is not None and self._origin.opened.assumed_orbit is not None

    @public
    def save(self, out: str | Path, *, force: bool = False) -> Path:
        """Write the clip as an artifact into the folder `out`; returns `out`.

        ConflictError: `out` holds something else; `force` replaces an older clip there."""
        origin = origin_of(self, Messages(None))
        if origin.folder is None:
            origin.folder = _written(self, origin, a_path("out", out), force)
            return origin.folder.path
        return origin.folder.save(out, force=force)

    def __repr__(self) -> str:
        size = f"{self.cameras.width}x{self.cameras.height}"
        return f"Clip({len(self)} frames of {size} pixels, prompt={self.prompt!r})"

    def _repr_png_(self) -> bytes:
        pick = torch.linspace(0, len(self) - 1, min(SHEET_FRAMES, len(self))).round().long()
        return png(contact_sheet([list(self.over()[pick])], [self.prompt or ""]))


@public
def open_clip(
    clip: str | Path,
    *,
    elevation: float = 0.0,
    radius: float = RADIUS,
    fov: float = FOV_DEG,
    azimuth_start: float = 0.0,
    turns: float | None = None,
    reporter: Reporter | None = None,
) -> Clip:
    """The orbital clip that `clip` names: a clip artifact, "dataset#key" or "dataset#key:view" (dynamic,
    static, front, eval), a folder with transforms.json, a folder of images, or a video file.

    The last two have no cameras; they get an orbit of `turns` (negative: clockwise, 0: a fixed camera;
    None: one turn, unless the pictures show a fixed camera, the other direction or another elevation) from
    `azimuth_start`, at `elevation` and with the field of view `fov` in degrees, at a distance of `radius`
    object sizes. InputError: no such clip, or a damaged one; ConfigError: an orbit out of bounds;
    LimitError, an InputError: too large."""
    orbit = OrbitFlags(
        elevation=a_number("elevation", elevation),
        radius=a_number("radius", radius),
        fov=a_number("fov", fov),
        azimuth_start=a_number("azimuth_start", azimuth_start),
        turns=None if turns is None else a_number("turns", turns),
    )
    orbit.check()
    opened = inputs.open_clip(str(clip), orbit, Messages(reporter))
    return known_clip(Origin(opened, str(clip), orbit, _folder(opened, Path(clip))))


def _folder(opened: OpenedClip, path: Path) -> Folder | None:
    from orster_cli.artifacts.store import open_artifact

    is_artifact = any(parent.kind == "clip" for parent in opened.parents)
    return Folder(open_artifact(path, kind="clip")) if is_artifact else None


def known_clip(origin: Origin) -> Clip:
    """The clip of `origin`."""
    opened = origin.opened
    values = {f.name: getattr(opened.clip, f.name) for f in dataclasses.fields(OrbitClip)}
    clip = Clip(**values, static=opened.static, further=opened.further, priors=opened.priors)
    object.__setattr__(clip, "_origin", origin)
    return clip


def saved_clip(folder: Folder, messages: Messages) -> Clip:
    """The clip artifact in `folder`."""
    orbit = OrbitFlags()
    opened = inputs.open_clip(str(folder.path), orbit, messages)
    return known_clip(Origin(opened, str(folder.path), orbit, folder))


def origin_of(clip: ClipLike, messages: Messages, *, default_view: str = "dynamic") -> Origin:
    """Where `clip` comes from. A clip that exists in memory only is written to a temporary folder and
    counts as the files there, as a folder of frames and cameras does on the command line.
    ConfigError: frames that are not finite."""
    if not isinstance(clip, OrbitClip):
        orbit = OrbitFlags()
        opened = inputs.open_clip(str(clip), orbit, messages, default_view=default_view)
        return Origin(opened, str(clip), orbit)
    if isinstance(clip, Clip) and clip._origin is not None:
        return clip._origin
    if not bool(clip.frames.isfinite().all()):
        raise ConfigError("frames: NaN or infinite values")
    held = TemporaryDirectory(prefix="orster-")
    folder = Path(held.name) / "clip"
    write_clip(folder, clip)
    if isinstance(clip, Clip):
        write_beside(folder, clip, static=clip.static, further=clip.further, priors=clip.priors)
    origin = origin_of(folder, messages)
    origin.held = held
    weakref.finalize(origin, held.cleanup)
    return origin


def _written(clip: Clip, origin: Origin, out: Path, force: bool) -> Folder:
    """An artifact of a clip of a dataset or of foreign files."""
    opened = origin.opened

    def build(draft: Draft) -> Artifact:
        write_clip(draft.dir, clip)
        write_beside(draft.dir, clip, static=clip.static, further=clip.further, priors=clip.priors)
        if opened.condition is not None:
            (draft.dir / CONDITION).write_bytes(opened.condition.read_bytes())
        keep_object(draft.dir, opened.mesh)
        content: dict[str, Any] = {"frames": len(clip), "prompt": clip.prompt}
        if opened.similarity != Similarity():
            content["similarity"] = opened.similarity.value()
        return draft.commit(content)

    return make(
        out,
        build,
        kind="clip",
        command="open_clip(...).save",
        config={"clips": [opened.key], "orbit": (opened.assumed_orbit or origin.orbit).value()},
        parents=opened.parents,
        inputs=opened.inputs,
        force=force,
        messages=Messages(None),
        reads=[origin.name],
    )


def png(image: Tensor) -> bytes:
    """[3,H,W] as the bytes of a PNG file."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(to_bytes(image)).save(buffer, format="PNG")
    return buffer.getvalue()
