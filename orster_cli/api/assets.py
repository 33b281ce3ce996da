"""Animated 3D assets: constructed from clips, loaded, rendered. T frames, H W pixels, N Gaussians."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from orster_cli.api.arguments import a_number, a_path, public, several, wrong
from orster_cli.api.calls import (
    MOST_WARNINGS,
    Folder,
    Messages,
    Settings,
    make,
    resolve_settings,
)
from orster_cli.api.cameras import orbit_cameras
from orster_cli.api.clips import ClipLike, Origin, origin_of, png
from orster_cli.api.models import Model, ModelLike
from orster_cli.artifacts.store import Artifact, Draft, open_artifact
from orster_cli.config.load import preset_template
from orster_cli.construction.asset import load_asset as read_asset
from orster_cli.core.compositing import WHITE
from orster_cli.core.errors import ConfigError
from orster_cli.core.limits import IMAGE_MAX_PIXELS
from orster_cli.core.reporting import Reporter
from orster_cli.core.strict_json import read_object
from orster_cli.core.types import Cameras, Gaussians, OrbitClip
from orster_cli.inputs.construct_plan import plan_construct, run_construct
from orster_cli.inputs.models import open_model, settings_of_clips, static_orbit_model
from orster_cli.inputs.video import OrbitFlags
from orster_cli.io.images import contact_sheet
from orster_cli.splatting.render_asset import render_clip

SHEET_VIEWS, SHEET_SIDE = 8, 128


class Asset:
    """An animated 3D asset: Gaussians and the deformation field that moves them.

    `path`: its folder, a temporary one before `save`; `content`: what its manifest says of it."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._gaussians = read_asset(folder.path)

    @property
    def path(self) -> Path:
        return self._folder.path

    @property
    def id(self) -> str:
        """SHA-256 of its manifest: equal inputs and settings give equal ids."""
        return self._folder.artifact.id

    @property
    def content(self) -> dict[str, Any]:
        return self._folder.artifact.content

    @property
    def prompt(self) -> str | None:
        """The text of the clip that it was constructed from."""
        text: str | None = self.content.get("prompt")
        return text

    @cached_property
    @public
    def quality(self) -> dict[str, Any]:
        """PSNR in dB and SSIM at the input frames: {"mean": {...}, "frames": [{...}, ...]}."""
        return read_object(self.path / "quality.json")

    @property
    def canonical(self) -> Gaussians:
        """The Gaussians that the field deforms."""
        return self._gaussians.canonical

    @public
    @torch.no_grad()
    def at(self, time: float) -> Gaussians:
        """The N Gaussians at `time` in [0,1] of the clip: world +Z up, the object about 1 in size."""
        return self._gaussians.at(a_number("time", time, 0, 1))

    @public
    def render(
        self,
        cameras: Cameras,
        times: float | Sequence[float] | Tensor = 0.0,
        *,
        background: float | Sequence[float] | Tensor = WHITE,
    ) -> Tensor:
        """Images [T,3,H,W] in [0,1] on the CPU, of `cameras` at `times` in [0,1].

        T cameras with T times; one camera or one time serves for all. `background`: a grey level or a
        colour [3] in [0,1]. ConfigError: numbers of cameras and times that do not fit, a time outside
        [0,1], images of more than 8192 x 4096 pixels; MissingResourceError: not enough memory."""
        if not isinstance(cameras, Cameras):
            raise wrong("cameras", "cameras, as from orbit_cameras", cameras)
        if cameras.width * cameras.height > IMAGE_MAX_PIXELS:
            raise ConfigError(f"cameras: {cameras.width}x{cameras.height} pixels are too many")
        moments = _floats("times", times)
        count = max(len(cameras), len(moments))
        if not {len(cameras), len(moments)} <= {1, count}:
            raise ConfigError(f"{len(cameras)} cameras but {len(moments)} times")
        for time in moments.tolist():
            a_number("time", time, 0, 1)
        shade = _floats("background", background)
        if len(shade) not in (1, 3):
            raise wrong("background", "a grey level or a colour", background)
        for level in shade.tolist():
            a_number("background", level, 0, 1)
        shown = render_clip(
            self._gaussians,
            cameras[torch.arange(count) % len(cameras)],
            moments.expand(count),
            background=shade.expand(3),
        )
        return shown.frames

    def save(self, out: str | Path, *, force: bool = False) -> Path:
        """Write the asset into the folder `out`; returns `out`.

        ConflictError: `out` holds something else; `force` replaces an older asset there."""
        return self._folder.save(out, force=force)

    def __len__(self) -> int:
        return len(self.canonical)

    def __repr__(self) -> str:
        return f"Asset({len(self)} Gaussians, prompt={self.prompt!r})"

    def _repr_png_(self) -> bytes:
        cameras = orbit_cameras(SHEET_VIEWS, elevation=10, width=SHEET_SIDE, height=SHEET_SIDE)
        images = self.render(cameras, torch.linspace(0, 1, SHEET_VIEWS))
        return png(contact_sheet([list(images)], [self.prompt or ""], cell=SHEET_SIDE))


def _floats(name: str, values: float | Sequence[float] | Tensor) -> Tensor:
    """A number or several as a vector."""
    try:
        return torch.as_tensor(values, dtype=torch.float32).reshape(-1)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        raise wrong(name, "a number or several", values) from None


@public
def load_asset(path: str | Path) -> Asset:
    """The asset in the folder `path`. InputError: none there, or a damaged one."""
    return Asset(Folder(open_artifact(a_path("path", path), kind="asset")))


@public
def construct(
    clips: ClipLike | Sequence[ClipLike],
    *,
    preset: str | None = None,
    static_orbit: ClipLike | None = None,
    model: ModelLike | None = None,
    seed: int | None = None,
    config: Settings | None = None,
    out: str | Path | None = None,
    force: bool = False,
    device: str = "auto",
    reporter: Reporter | None = None,
) -> Asset:
    """Fit animated 3D Gaussians to orbital clips of one motion, as `orster construct` does.

    `clips`: one or several clips, or anything that `open_clip` takes; a clip from memory needs `alpha` or
    a background of one colour. `preset`: fast (the default), balanced, fine or paper. `static_orbit`: the
    object at time 0, where the clips bring none; else `model` samples it ("none": no model; by default the
    shipped model does so for clips that it sampled). `config`: settings such as {"construct.gaussians":
    8000} over the preset's. `out`: folder of the artifact, in which an interrupted fit goes on; without it
    the asset is temporary until `save`. `force` replaces what `out` holds. `device`: auto, cpu, cuda or
    cuda:N.

    ConfigError: a wrong setting; InputError: clips that cannot be fitted; NumericalError: the fit
    diverges; ConflictError: `out` holds something else."""
    messages = Messages(reporter)
    template = preset_template(preset)
    given: list[ClipLike] = (
        [clips] if isinstance(clips, str | Path | OrbitClip) else several("clips", clips)
    )
    if not given:
        raise ConfigError("no clips")
    origins = [origin_of(clip, messages) for clip in given]
    still = None
    if static_orbit is not None:
        still = origin_of(static_orbit, messages, default_view="static")
    names = [origin.place for origin in origins]
    if not isinstance(model, Model):
        folder_of_model = static_orbit_model(model, names)
        opened = None if folder_of_model is None else open_model(folder_of_model)
    else:
        opened = model
    resolved = resolve_settings(
        config,
        template=template,
        flags={"construct.seed": seed},
        model=settings_of_clips(None if opened is None else opened.path, names),
    )
    plan = plan_construct(
        [origin.opened for origin in origins],
        resolved.config,
        static_orbit=None if still is None else still.opened,
        model=opened,
        orbit=_orbit([*origins, *([still] if still else [])]),
        reporter=messages,
    )

    def build(draft: Draft) -> Artifact:
        made = run_construct(
            plan, draft.dir, scratch=draft.scratch, device=device, reporter=messages
        )
        return draft.commit(made.content, run=made.run, warnings=messages.warnings[:MOST_WARNINGS])

    folder = make(
        out,
        build,
        kind="asset",
        command="construct",
        config={"construct": resolved.recorded("construct"), **plan.identity},
        parents=plan.parents,
        inputs=plan.inputs,
        seeds=plan.seeds,
        force=force,
        messages=messages,
        reads=[*names, still.place if still else None, opened.path if opened else None],
    )
    return Asset(folder)


def _orbit(origins: Sequence[Origin]) -> OrbitFlags:
    """The one orbit that videos among the clips were opened with. ConfigError: several."""
    found = {origin.orbit for origin in origins} - {OrbitFlags()}
    if len(found) > 1:
        raise ConfigError(
            "videos on different orbits",
            hint="save each as a clip first: open_clip(...).save(...) keeps its cameras",
        )
    return found.pop() if found else OrbitFlags()
