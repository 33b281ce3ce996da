"""`sample-video` as a library call: what is asked for to orbital clips.

B videos, T frames, H W pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from orster_cli.config.sample import SampleConfig
from orster_cli.core.errors import ConfigError
from orster_cli.core.frames import at_resolution, evenly_spaced
from orster_cli.core.reporting import Reporter
from orster_cli.core.types import Cameras, OrbitClip
from orster_cli.diffusion.bundle import Facts, WholeBundle
from orster_cli.diffusion.conditions import Conditions, with_image, with_object
from orster_cli.geometry.orbit import clip_times, orbit_azimuths, orbit_cameras
from orster_cli.io.images import on_white
from orster_cli.sampling.denoise import denoise, starting_noise, without_text_guidance
from orster_cli.sampling.priors import pooled_priors

PRECISION = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What to show: a `text`, the first view `image` [3,H,W], or the orbit `object` of a static object
    (from the cameras of `cameras_for`); an image or an object may have a text beside it."""

    text: str | None = None
    image: Tensor | None = None
    object: OrbitClip | None = None

    def check(self) -> None:
        """ConfigError where it is nothing, or both an image and an object."""
        if self.image is not None and self.object is not None:
            raise ConfigError("an image and an object at once: give one of them")
        if self.text is None and self.image is None and self.object is None:
            raise ConfigError("nothing is asked for: give a text, an image or an object")


@dataclass(frozen=True)
class Sampled:
    """`clip` on white; `priors`: O^s and O^t tokens [M,P] by name."""

    seed: int
    clip: OrbitClip
    priors: dict[str, Tensor]


def cameras_for(facts: Facts, cfg: SampleConfig) -> Cameras:
    """Of the clip that will be sampled."""
    frames = cfg.frames or facts.frames
    turns = 0.0 if facts.role == "video" else 1.0
    return orbit_cameras(
        orbit_azimuths(frames, start=cfg.azimuth_start, turns=turns),
        elevation=facts.elevation if cfg.elevation <= -1000 else cfg.elevation,
        radius=cfg.radius or facts.radius,
        fov_deg=facts.fov,
        width=facts.resolution,
        height=facts.resolution,
    )


class Sampler:
    """A model made ready to sample on `device`; with `offload` each part is there only while it works."""

    def __init__(
        self, bundle: WholeBundle, cfg: SampleConfig, *, device: torch.device, reporter: Reporter
    ) -> None:
        self.bundle, self.cfg, self.device, self.reporter = bundle, cfg, device, reporter
        for part in (bundle.std4d, bundle.vae, bundle.encoder):
            part.eval().to("cpu" if cfg.offload else device)
        if not cfg.offload:
            return
        reporter.info("only the part that works is on the device")

    @torch.no_grad()
    def sample(
        self, asked: Asked, seeds: Sequence[int], cameras: Cameras | None = None
    ) -> Iterator[Sampled]:
        """One clip for each seed, `cfg.batch` at once, from `cameras` (None: those of `cameras_for`).
        ConfigError for what cannot be asked."""
        asked.check()
        cameras = cameras_for(self.bundle.facts, self.cfg) if cameras is None else cameras
        for start in range(0, len(seeds), self.cfg.batch):
            yield from self._batch(asked, list(seeds[start : start + self.cfg.batch]), cameras)

    def _batch(self, asked: Asked, seeds: list[int], cameras: Cameras) -> Iterator[Sampled]:
        cfg, bundle = self.cfg, self.bundle
        bundle.vae.check_size(cameras.height, cameras.width, "model")
        given, nothing, guidance = self._conditions(asked, cameras, len(seeds))
        side = (cameras.height // bundle.vae.factor, cameras.width // bundle.vae.factor)
        shape = (bundle.vae.channels, len(cameras), *side)
        noise = starting_noise(seeds, shape).to(self.device)
        self._bring(bundle.std4d)
        with self._precision():
            z = denoise(
                bundle.std4d,
                bundle.schedule,
                noise,
                given,
                nothing,
                guidance=guidance,
                steps=cfg.steps,
                scheduler=cfg.scheduler,
                progress=lambda done, total: self.reporter.step("sample", done, total),
            )
            priors = pooled_priors(bundle.std4d, bundle.schedule, z, given, noise)
        self._send_back(bundle.std4d)
        self._bring(bundle.vae)
        for seed, latents, prior in zip(seeds, z, priors, strict=True):
            frames = bundle.vae.decode(latents.transpose(0, 1), chunk=cfg.chunk)
            clip = OrbitClip(
                frames=frames.float().clamp(0, 1).cpu(),
                cameras=cameras,
                times=clip_times(len(cameras)).float(),
                prompt=asked.text,
            )
            yield Sampled(seed, clip, prior)
        self._send_back(bundle.vae)

    def _conditions(
        self, asked: Asked, cameras: Cameras, count: int
    ) -> tuple[Conditions, Conditions, dict[str, float]]:
        """What the videos are given, what dropped conditions become, and the guidance of each."""
        cfg, bundle, device = self.cfg, self.bundle, self.device
        self._bring(bundle.encoder)
        empty = bundle.encoder.text([""])
        nothing = Conditions(text=empty.tokens, pooled=empty.pooled)
        given = Conditions()
        if bundle.facts.role != "video":
            given = Conditions(
                cameras=cameras.w2c[None].expand(count, -1, -1, -1).to(device),
                motion=torch.full((count,), self._motion(), device=device),
            )
        guidance = {}
        if asked.image is not None:
            picture = _square(asked.image, bundle.facts.resolution)[None].to(device)
            self._bring(bundle.vae)
            latents = bundle.vae.encode(picture)[:, :, None].expand(count, -1, -1, -1, -1)
            self._send_back(bundle.vae)
            pictures = picture.expand(count, -1, -1, -1)
            given = with_image(given, bundle.encoder, pictures, latents, len(cameras))
            guidance["image"] = cfg.guidance_image
        if asked.object is not None:
            frames = at_resolution(asked.object, bundle.facts.resolution)
            frames = frames[evenly_spaced(len(frames), len(cameras), where="object")].to(device)
            self._bring(bundle.vae)
            static = bundle.vae.encode(frames).transpose(0, 1)[None].expand(count, -1, -1, -1, -1)
            self._send_back(bundle.vae)
            given = with_object(given, static)
            guidance["object"] = cfg.guidance_object
        if asked.text is not None:
            text = bundle.encoder.text([asked.text] * count)
            given = replace(given, text=text.tokens, pooled=text.pooled)
            guidance["text"] = cfg.guidance_text
        else:
            given = without_text_guidance(given, nothing)
        self._send_back(bundle.encoder)
        return given, nothing, guidance

    def _motion(self) -> float:
        if self.bundle.facts.role == "3d":
            return 0.0
        if self.cfg.motion >= 0:
            return self.cfg.motion
        known = self.bundle.facts.motion
        return float("nan") if known is None else known

    def _precision(self):  # type: ignore[no-untyped-def]
        if self.cfg.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=PRECISION[self.cfg.precision])

    def _bring(self, part: nn.Module) -> None:
        if self.cfg.offload:
            part.to(self.device)

    def _send_back(self, part: nn.Module) -> None:
        if self.cfg.offload:
            part.to("cpu")


def _square(image: Tensor, side: int) -> Tensor:
    """[3,side,side] of an image [3 or 4,H,W]: on white, in the middle of a square."""
    rgb = on_white(image)
    height, width = rgb.shape[1:]
    longer = max(height, width)
    square = torch.ones(3, longer, longer)
    top, left = (longer - height) // 2, (longer - width) // 2
    square[:, top : top + height, left : left + width] = rgb
    size = (side, side)
    out = nn.functional.interpolate(square[None], size=size, mode="bilinear", antialias=True)
    return out[0].clamp(0, 1)


def still_orbit(sampler: Sampler, clip: OrbitClip, *, seed: int) -> OrbitClip:
    """The orbit of the object of `clip` at rest, from the clip's own cameras: sampled from its first
    view, at motion 0."""
    side = sampler.bundle.facts.resolution
    first = clip.over()[0]
    resting = Sampler(
        sampler.bundle,
        replace(sampler.cfg, motion=0.0),
        device=sampler.device,
        reporter=sampler.reporter,
    )
    asked = Asked(image=first, text=clip.prompt)
    made = next(resting.sample(asked, [seed], clip.cameras.resized(side, side)))
    return replace(made.clip, times=torch.zeros(len(made.clip)))
