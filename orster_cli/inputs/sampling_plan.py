"""Clips to sample, from the names of their inputs: opens the model and what the condition is made of.

plan = plan_sampling(open_model("mini"), text="a frog jumping", reporter=reporter)
sampler = plan.sampler(SampleConfig(), device="auto", reporter=reporter)
request = Requests(plan, sampler).condition(seed)  # inputs.sampling_request
sampled = next(sampler.sample(request, [seed]))
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orster_cli.core.errors import ConfigError, InputError
from orster_cli.core.names import printable
from orster_cli.core.reporting import Reporter
from orster_cli.inputs.clips import OpenedClip, open_clip
from orster_cli.inputs.files import input_file
from orster_cli.inputs.models import OpenedModel, check_samples
from orster_cli.inputs.objects import object_files
from orster_cli.inputs.prompts import check_prompt
from orster_cli.inputs.starts import OpenedStart, open_start

if TYPE_CHECKING:
    from orster_cli.artifacts.manifest import InputFile, Parent
    from orster_cli.config.sample import SampleConfig
    from orster_cli.sampling.sample_clips import Sampler

NO_TEXT = (
    'no text is given: what the object does is left to the model (--text "walking" asks for it)'
)
LIFT = "lift"  # folder of a model that makes objects of images


@dataclass(frozen=True, kw_only=True)
class SamplingPlan:
    """Everything that a sampled clip depends on besides settings and seed, opened but not sampled.

    `static_object`: a mesh or PLY file, or the orbit of a static object; `object_name`: its
    ``dataset#key``, "" elsewhere; `start`: what sampling begins from, None: noise; `anyway`: also where the
    condition means nothing to the model."""

    model: OpenedModel
    text: str | None
    image: Path | None
    static_object: Path | OpenedClip | None
    object_name: str
    start: OpenedStart | None = None
    anyway: bool = False

    @property
    def mesh(self) -> Path | None:
        """The file of the object, where it is one."""
        given = self.static_object
        return given.mesh if isinstance(given, OpenedClip) else given

    @property
    def parents(self) -> list[Parent]:
        """The artifacts that are read."""
        given = self.static_object
        found = given.parents if isinstance(given, OpenedClip) else []
        return [*self.model.parents, *found, *(self.start.parents if self.start else [])]

    @property
    def inputs(self) -> list[InputFile]:
        """The files that are read and belong to no artifact."""
        given = self.static_object
        files = [input_file(self.image)] if self.image is not None else []
        files += object_files(given) if isinstance(given, Path) else []
        files += given.inputs if isinstance(given, OpenedClip) else []
        files += self.start.inputs if self.start else []
        return [*self.model.inputs, *files]

    @property
    def identity(self) -> dict[str, Any]:
        """What the clip depends on besides settings, seed, parents and inputs, for its manifest."""
        start = {} if self.start is None else {"start": self.start.key}
        return {"text": self.text, "object": self.object_name, **start}

    def sampler(self, cfg: SampleConfig, *, device: str, reporter: Reporter) -> Sampler:
        """The model, loaded on `device`."""
        from orster_cli.core.devices import choose_device
        from orster_cli.sampling.sample_clips import Sampler

        bundle = self.model.load_whole()
        return Sampler(bundle, cfg, device=choose_device(device), reporter=reporter)


def plan_sampling(
    model: OpenedModel,
    *,
    text: str | None = None,
    image: Path | None = None,
    static_object: str | OpenedClip | None = None,
    object_name: str = "",
    start: str | None = None,
    anyway: bool = False,
    reporter: Reporter,
) -> SamplingPlan:
    """The condition found; `static_object`: a .glb, .gltf or .ply file, or any form that `open_clip`
    takes; `start`: as for `open_start`. ConfigError: no condition, or an image and an object at once;
    InputError: no such file, a model that samples nothing or, unless `anyway`, a text of which the model
    knows no word or a blank image."""
    if image is not None and static_object is not None:
        raise ConfigError("an image and an object are both given: give one of them")
    if text is None and image is None and static_object is None and start is None:
        raise ConfigError(
            "no condition is given: expected a text, an image or an object",
            hint='give a text ("a frog jumping"), an image (x.png) or an object (y.glb)',
        )
    check_samples(model, reporter)
    lifts = image is not None and (model.path / LIFT).is_dir()
    if text is None and (static_object is not None or lifts):
        reporter.note(NO_TEXT)
    if text is not None:
        pictured = image is not None or static_object is not None
        begun = start is not None
        check_prompt(text, model.path, anyway=anyway, with_picture=pictured, with_start=begun)
    if image is not None:
        from orster_cli.inputs.pictures import check_image_file

        check_image_file(image, reporter, anyway=anyway)
    found: Path | OpenedClip | None = None
    if isinstance(static_object, OpenedClip):
        found = static_object
    elif static_object is not None and Path(static_object).is_file():
        found = Path(static_object)
    elif static_object is not None:
        from orster_cli.inputs.video import OrbitFlags

        if "#" not in static_object and not Path(static_object).exists():
            raise InputError(
                f"{printable(static_object)}: no such object",
                hint="give a .glb, .gltf or .ply file, a clip/ or dataset#key",
            )

        found = open_clip(static_object, OrbitFlags(), reporter, default_view="static")
        object_name = static_object
    return SamplingPlan(
        model=model,
        text=text,
        image=image,
        static_object=found,
        object_name=object_name if "#" in object_name else "",
        start=None if start is None else open_start(start, reporter),
        anyway=anyway,
    )
