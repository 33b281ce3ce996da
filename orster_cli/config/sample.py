"""Settings of `orster sample-video`."""

from __future__ import annotations

from dataclasses import dataclass

from orster_cli.config.fields import setting


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleConfig:
    """The value in parentheses means: as the model was trained."""

    frames: int = setting(0, "frames (0: the model's)", minimum=0, maximum=512)
    elevation: float = setting(-1000.0, "degrees above the horizon (-1000: the model's)")
    radius: float = setting(0.0, "radius of the orbit, in object sizes (0: the model's)", minimum=0)
    azimuth_start: float = setting(0.0, "azimuth of the first frame, degrees")
    steps: int = setting(50, "denoising steps", minimum=1, maximum=1000)
    scheduler: str = setting("ddim", "solver", choices=("ddim", "dpm++"))
    guidance_text: float = setting(7.5, "classifier-free guidance by the text", minimum=0)
    guidance_image: float = setting(3.0, "classifier-free guidance by the image", minimum=0)
    guidance_object: float = setting(3.0, "classifier-free guidance by the object", minimum=0)
    motion: float = setting(-1.0, "strength of the motion (0: none, -1: the model's)")
    batch: int = setting(1, "videos at once", minimum=1)
    chunk: int = setting(8, "frames decoded at once", minimum=1)
    offload: bool = setting(False, "keep on the GPU only the part that is working, to save memory")
    precision: str = setting(
        "fp32", "precision of the forward passes", choices=("fp32", "bf16", "fp16")
    )
