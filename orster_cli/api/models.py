"""Models, and the clips that they sample."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from torch import Tensor

from orster_cli.api.arguments import (
    SEED_MAX,
    a_path,
    a_path_or_none,
    a_text_or_none,
    an_integer,
    public,
)
from orster_cli.api.calls import MOST_WARNINGS, Messages, Settings, make, resolve_settings
from orster_cli.api.clips import Clip, ClipLike, origin_of, saved_clip
from orster_cli.artifacts.outputs import InputPath
from orster_cli.artifacts.store import Artifact, Draft
from orster_cli.core.errors import ConfigError
from orster_cli.core.names import printable
from orster_cli.core.reporting import Reporter
from orster_cli.core.types import OrbitClip
from orster_cli.inputs.models import OpenedModel, open_model_or_default, sampling_of
from orster_cli.inputs.sampling_plan import plan_sampling
from orster_cli.inputs.sampling_request import Requests
from orster_cli.io.images import write_png
from orster_cli.sampling.sampled_clip import write_sampled

if TYPE_CHECKING:
    from orster_cli.diffusion.bundle import WholeBundle


@dataclass(repr=False)
class Model(OpenedModel):
    """A diffusion model in memory, from `load_model`. `path`: its folder; `role`: "4d" for orbits of
    moving objects, "3d" and "video" for teachers; `resolution` in pixels, `frames` of its clips."""

    bundle: WholeBundle = field(kw_only=True)

    @property
    def resolution(self) -> int:
        return self.bundle.facts.resolution

    @property
    def frames(self) -> int:
        return self.bundle.facts.frames

    def load_whole(self) -> WholeBundle:
        return self.bundle

    def __repr__(self) -> str:
        return f"Model({self.path.name!r}, {self.frames} frames of {self.resolution} pixels)"


ModelLike = Model | str | Path
"""A model, or anything that `load_model` takes."""


def _check_image(image: Tensor) -> None:
    known = image.ndim == 3 and len(image) in (3, 4) and image.is_floating_point()
    if not known or not bool(((image >= 0) & (image <= 1)).all()):  # NaN too
        found = f"{list(image.shape)} of {image.dtype}"
        raise ConfigError(f"image: expected [3,H,W] or [4,H,W] in [0,1], got {found}")


@public
def load_model(model: str | Path | None = None) -> Model:
    """The model in a folder; "mini-object" (also None) and "mini" are those that come with the package.

    InputError: no such model, or one without all its parts (a frame VAE or an encoder alone)."""
    opened = open_model_or_default(a_path_or_none("model", model))
    bundle = opened.load_whole()
    return Model(opened.path, opened.parents, opened.inputs, role=bundle.facts.role, bundle=bundle)


def opened_model(model: ModelLike | None) -> OpenedModel:
    """`model` as the plans take it (None: the shipped one); the weights of a path are not read yet."""
    if isinstance(model, Model):
        return model
    path = a_path_or_none("model", model)
    return open_model_or_default(path)


@public
def sample(
    model: ModelLike | None = None,
    *,
    text: str | None = None,
    image: str | Path | Tensor | None = None,
    object: ClipLike | None = None,
    start: str | Path | None = None,
    seed: int = 0,
    config: Settings | None = None,
    out: str | Path | None = None,
    force: bool = False,
    device: str = "auto",
    anyway: bool = False,
    reporter: Reporter | None = None,
) -> Clip:
    """Sample an orbital video of a moving object, as `orster sample-video` does.

    `model`: None is "mini-object" in the package; a `Model` is not loaded again. The condition is a `text`,
    or an `image` of the first view ([3,H,W] or [4,H,W] in [0,1], or a file), or a static `object` (a .glb,
    .gltf or .ply file, or an orbit of it as a clip), the last two with a text if wanted. `start`: the
    folder of an asset or a clip artifact to begin from, with noise of "sample.strength"; an asset is seen
    by the cameras that are asked for ("sample.azimuth_start").
    `config`: settings such as {"sample.steps": 20} over those that the model brings.
    `out`: folder of the artifact; without it the clip is temporary until `save`. `force` replaces what
    `out` holds. `device`: auto, cpu, cuda or cuda:N. `anyway`: even if the model knows no word of the text,
    or the image is blank.

    ConfigError: no condition or a wrong setting; InputError: an input that cannot be read or means nothing
    to the model; ConflictError: `out` holds something else."""
    if isinstance(model, str) and " " in model and not Path(model).exists():
        hint = f"for a text: sample(text={model!r})"
        raise ConfigError(f"no model {printable(model)!r}", hint=hint)
    seed = an_integer("seed", seed, 0, SEED_MAX)
    text = a_text_or_none("text", text)
    messages = Messages(reporter)
    opened = opened_model(model)
    resolved = resolve_settings(config, model=sampling_of(opened.path))
    with ExitStack() as held:
        reads: list[InputPath] = [opened.path]
        if isinstance(image, Tensor):
            _check_image(image)
            place = held.enter_context(TemporaryDirectory(prefix="orster-"))
            write_png(Path(place) / "image.png", image)
            image = Path(place) / "image.png"
        elif image is not None:
            reads.append(a_path("image", image))
        origin = None
        if isinstance(object, OrbitClip):
            origin = origin_of(object, messages)
        elif object is not None:
            reads.append(object)
        if start is not None:
            reads.append(start)
        plan = plan_sampling(
            opened,
            text=text,
            image=None if image is None else Path(image),
            static_object=None if object is None else (origin.opened if origin else str(object)),
            object_name=origin.name if origin else "",
            start=None if start is None else str(a_path("start", start)),
            anyway=anyway,
            reporter=messages,
        )

        def build(draft: Draft) -> Artifact:
            sampler = plan.sampler(resolved.config.sample, device=device, reporter=messages)
            condition = Requests(plan, sampler).condition(seed)
            sampled = next(sampler.sample(condition, [seed]))
            content = write_sampled(
                draft.dir, sampled, sampler.bundle.facts, request=condition, mesh=plan.mesh
            )
            return draft.commit(content, warnings=messages.warnings[:MOST_WARNINGS])

        folder = make(
            out,
            build,
            kind="clip",
            command="sample-video",
            config={"sample": resolved.recorded("sample"), **plan.identity},
            parents=plan.parents,
            inputs=plan.inputs,
            seeds={"noise": seed},
            force=force,
            messages=messages,
            reads=reads,
        )
    return saved_clip(folder, messages)
