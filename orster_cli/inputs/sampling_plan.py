"""Clips to sample, from the names of their inputs: opens the model and the condition.

plan = plan_sampling(open_model("mini"), text="a frog jumping", reporter=reporter)
sampler = plan.sampler(SampleConfig(), device="auto", reporter=reporter)
sampled = next(sampler.sample(plan.condition(sampler), [seed]))
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orster_cli.core.errors import ConfigError, InputError
from orster_cli.core.reporting import Reporter
from orster_cli.inputs.clips import OpenedClip, open_clip
from orster_cli.inputs.files import input_file
from orster_cli.inputs.models import OpenedModel
from orster_cli.inputs.video import OrbitFlags

if TYPE_CHECKING:
    from orster_cli.artifacts.manifest import InputFile, Parent
    from orster_cli.config.sample import SampleConfig
    from orster_cli.sampling.sample_clips import Sampler, SampleRequest


@dataclass(frozen=True, kw_only=True)
class SamplingPlan:
    """Everything that a sampled clip depends on besides settings and seed, opened but not sampled.

    `static_object`: a mesh or PLY file, or the orbit of a static object; `object_name`: its
    ``dataset#key``, "" elsewhere."""

    model: OpenedModel
    text: str | None
    image: Path | None
    static_object: Path | OpenedClip | None
    object_name: str

    @property
    def parents(self) -> list[Parent]:
        """The artifacts that are read."""
        given = self.static_object
        return [*self.model.parents, *(given.parents if isinstance(given, OpenedClip) else [])]

    @property
    def inputs(self) -> list[InputFile]:
        """The files that are read and belong to no artifact."""
        given = self.static_object
        files = [input_file(path) for path in (self.image, given) if isinstance(path, Path)]
        files += given.inputs if isinstance(given, OpenedClip) else []
        return [*self.model.inputs, *files]

    @property
    def identity(self) -> dict[str, Any]:
        """What the clip depends on besides settings, seed, parents and inputs, for its manifest."""
        return {"text": self.text, "object": self.object_name}

    def sampler(self, cfg: SampleConfig, *, device: str, reporter: Reporter) -> Sampler:
        """The model, loaded on `device`."""
        from orster_cli.core.devices import choose_device
        from orster_cli.sampling.sample_clips import Sampler

        bundle = self.model.load_whole()
        return Sampler(bundle, cfg, device=choose_device(device), reporter=reporter)

    def condition(self, sampler: Sampler) -> SampleRequest:
        """The text, image or static object, read."""
        from orster_cli.io.images import read_image
        from orster_cli.sampling.sample_clips import SampleRequest, cameras_for

        if self.image is not None:
            return SampleRequest(text=self.text, image=read_image(self.image))
        if isinstance(self.static_object, Path):
            from orster_cli.sampling.objects import render_object_orbit

            cameras = cameras_for(sampler.bundle.facts, sampler.cfg)
            orbit = render_object_orbit(self.static_object, cameras)
            return SampleRequest(text=self.text, object_orbit=orbit)
        if self.static_object is not None:
            return SampleRequest(text=self.text, object_orbit=self.static_object.clip)
        return SampleRequest(text=self.text)


def plan_sampling(
    model: OpenedModel,
    *,
    text: str | None = None,
    image: Path | None = None,
    static_object: str | OpenedClip | None = None,
    object_name: str = "",
    reporter: Reporter,
) -> SamplingPlan:
    """The condition found; `static_object`: a .glb, .gltf or .ply file, or any form that `open_clip`
    takes. ConfigError: no condition, or an image and an object at once; InputError: no such file."""
    if image is not None and static_object is not None:
        raise ConfigError("an image and an object are both given: give one of them")
    if text is None and image is None and static_object is None:
        raise ConfigError(
            "no condition is given: expected a text, an image or an object",
            hint='give a text ("a frog jumping"), an image (x.png) or an object (y.glb)',
        )
    if image is not None and not image.is_file():
        raise InputError(f"{image}: no such image")
    found: Path | OpenedClip | None = None
    if isinstance(static_object, OpenedClip):
        found = static_object
    elif static_object is not None and Path(static_object).is_file():
        found = Path(static_object)
    elif static_object is not None:
        found = open_clip(static_object, OrbitFlags(), reporter, default_view="static")
        object_name = static_object
    return SamplingPlan(
        model=model,
        text=text,
        image=image,
        static_object=found,
        object_name=object_name if "#" in object_name else "",
    )
