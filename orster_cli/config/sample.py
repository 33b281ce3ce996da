"""Settings of `orster sample-video`."""

from __future__ import annotations

from dataclasses import dataclass

from orster_cli.config.fields import setting
from orster_cli.core.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleConfig:
    """The value before "the model's" means: as the model was trained."""

    frames: int = setting(0, "frames (0: the model's)", minimum=0, maximum=512)
    pixels: int = setting(
        256,
        "side of pictures that are rendered, not sampled: of a given object, and of a known action (at "
        "least the model's)",
        minimum=16,
        maximum=2048,
        added=True,
    )
    orbits: int = setting(
        4,
        "orbits of a known action, evenly spaced around, where none of it is sampled: a fit sees all",
        minimum=1,
        maximum=16,
        added=True,
    )
    elevation: float | None = setting(
        None, "degrees above the horizon (none: the model's)", minimum=-90, maximum=90
    )
    radius: float = setting(0.0, "radius of the orbit, in object sizes (0: the model's)", minimum=0)
    azimuth_start: float = setting(0.0, "azimuth of the first frame, degrees")
    turns: float = setting(
        1.0,
        "turns of the camera around the object (negative: clockwise, 0: it stands still)",
        minimum=-100,
        maximum=100,
    )
    steps: int = setting(50, "denoising steps", minimum=1, maximum=1000)
    scheduler: str = setting("ddim", "solver", choices=("ddim", "dpm++"))
    guidance_text: float = setting(7.5, "classifier-free guidance by the text", minimum=0)
    guidance_image: float = setting(3.0, "classifier-free guidance by the image", minimum=0)
    guidance_object: float = setting(3.0, "classifier-free guidance by the object", minimum=0)
    motion: float | None = setting(
        None,
        "strength of the motion (0: none; none: what the text's words have in training, or the model's "
        "own)",
        minimum=0,
    )
    motion_factor: float = setting(
        1.0, "factor on the motion where it is not set", minimum=0, maximum=10, added=True
    )
    framing: str = setting(
        "text",
        "where a given object stands in the picture: as in clips with the text's words, or in its middle",
        choices=("text", "middle"),
        added=True,
    )
    up: str = setting(
        "z",
        "axis of an object's .ply file that points up (most programs write -y)",
        choices=("z", "y", "-y"),
    )
    temperature: float = setting(
        1.0,
        "standard deviation of the noise that sampling begins with (below 1: nearer to what the model "
        "expects on average: fewer errors, less motion)",
        minimum=0,
        maximum=2,
    )
    strength: float = setting(
        0.7,
        "share of the denoising steps that change what sampling starts from (--start)",
        minimum=0.01,
        maximum=1,
        added=True,
    )
    course: float = setting(
        0.25,
        "share of the denoising steps that change how an action goes which the model knows (1: it is "
        "sampled from noise, 0: it stays as it is known)",
        minimum=0,
        maximum=1,
        added=True,
    )
    through_rest: str = setting(
        "auto",
        "from a text or an image, sample the object at rest first, then its motion (auto: where the "
        "model was trained so)",
        choices=("auto", "on", "off"),
    )
    batch: int = setting(1, "videos at once", minimum=1)
    chunk: int = setting(8, "frames decoded at once", minimum=1)
    offload: bool = setting(False, "keep on the GPU only the part that is working, to save memory")
    precision: str = setting(
        "fp32", "precision of the forward passes", choices=("fp32", "bf16", "fp16")
    )

    def __post_init__(self) -> None:
        if self.frames == 1:
            raise ConfigError("sample.frames: expected 2 or more, or 0 (the model's), got 1")
