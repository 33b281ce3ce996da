"""Sampling as a library call: a request becomes orbital clips.

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
from orster_cli.sampling.denoise import denoise, starting_noise, with_empty_text
from orster_cli.sampling.priors import pooled_priors

PRECISION = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, kw_only=True)
class SampleRequest:
    """The conditions of a clip: a `text`; the first view `image` [3,H,W]; or `object_orbit`, the orbit of
    a static object from the cameras of `cameras_for`. Image and object may have a text too."""

    text: str | None = None
    image: Tensor | None = None
    object_orbit: OrbitClip | None = None

    def check(self) -> None:
        """ConfigError: it is empty, or has both an image and an object."""
        if self.image is not None and self.object_orbit is not None:
            raise ConfigError("an image and an object at once: give one of them")
        if self.text is None and self.image is None and self.object_orbit is None:
            raise ConfigError("nothing is asked for: give a text, an image or an object")


@dataclass(frozen=True)
class SampledClip:
    """A clip on white; `priors`: tokens [M,P] of O^s and O^t by name."""

    seed: int
    clip: OrbitClip
    priors: dict[str, Tensor]


def cameras_for(facts: Facts, cfg: SampleConfig) -> Cameras:
    """The cameras of a sampled clip."""
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
    """A model ready to sample on `device`; with `offload` each part is there only while it runs."""

    def __init__(
        self, bundle: WholeBundle, cfg: SampleConfig, *, device: torch.device, reporter: Reporter
    ) -> None:
        self.bundle, self.cfg, self.device, self.reporter = bundle, cfg, device, reporter
        for part in (bundle.std4d, bundle.vae, bundle.encoder):
            part.eval().to("cpu" if cfg.offload else device)
        if not cfg.offload:
            return
        reporter.info("only the part that runs is on the device")

    @torch.no_grad()
    def sample(
        self, request: SampleRequest, seeds: Sequence[int], cameras: Cameras | None = None
    ) -> Iterator[SampledClip]:
        """One clip per seed, `cfg.batch` at once, from `cameras` (None: those of `cameras_for`).
        ConfigError: as `SampleRequest.check`."""
        request.check()
        cameras = cameras_for(self.bundle.facts, self.cfg) if cameras is None else cameras
        for start in range(0, len(seeds), self.cfg.batch):
            yield from self._batch(request, list(seeds[start : start + self.cfg.batch]), cameras)

    def _batch(
        self, request: SampleRequest, seeds: list[int], cameras: Cameras
    ) -> Iterator[SampledClip]:
        cfg, bundle = self.cfg, self.bundle
        bundle.vae.check_size(cameras.height, cameras.width, "model")
        cond, uncond, guidance = self._conditions(request, cameras, len(seeds))
        side = (cameras.height // bundle.vae.factor, cameras.width // bundle.vae.factor)
        shape = (bundle.vae.channels, len(cameras), *side)
        noise = starting_noise(seeds, shape).to(self.device)
        self._bring(bundle.std4d)
        with self._precision():
            z = denoise(
                bundle.std4d,
                bundle.schedule,
                noise,
                cond,
                uncond,
                guidance=guidance,
                steps=cfg.steps,
                scheduler=cfg.scheduler,
                progress=lambda done, total: self.reporter.step("sample", done, total),
            )
            priors = pooled_priors(bundle.std4d, bundle.schedule, z, cond, noise)
        self._send_back(bundle.std4d)
        self._bring(bundle.vae)
        for seed, latents, prior in zip(seeds, z, priors, strict=True):
            frames = bundle.vae.decode(latents.transpose(0, 1), chunk=cfg.chunk)
            clip = OrbitClip(
                frames=frames.float().clamp(0, 1).cpu(),
                cameras=cameras,
                times=clip_times(len(cameras)).float(),
                prompt=request.text,
            )
            yield SampledClip(seed, clip, prior)
        self._send_back(bundle.vae)

    def _conditions(
        self, request: SampleRequest, cameras: Cameras, count: int
    ) -> tuple[Conditions, Conditions, dict[str, float]]:
        """The conditions, those that dropped ones become, and the guidance scale of each kind."""
        cfg, bundle, device = self.cfg, self.bundle, self.device
        self._bring(bundle.encoder)
        empty = bundle.encoder.text([""])
        uncond = Conditions(text=empty.tokens, pooled=empty.pooled)
        cond = Conditions()
        if bundle.facts.role != "video":
            cond = Conditions(
                cameras=cameras.w2c[None].expand(count, -1, -1, -1).to(device),
                motion=torch.full((count,), self._motion(), device=device),
            )
        guidance = {}
        if request.image is not None:
            picture = square(request.image, bundle.facts.resolution)[None].to(device)
            self._bring(bundle.vae)
            latents = bundle.vae.encode(picture)[:, :, None].expand(count, -1, -1, -1, -1)
            self._send_back(bundle.vae)
            pictures = picture.expand(count, -1, -1, -1)
            cond = with_image(cond, bundle.encoder, pictures, latents, len(cameras))
            guidance["image"] = cfg.guidance_image
        if request.object_orbit is not None:
            frames = at_resolution(request.object_orbit, bundle.facts.resolution)
            frames = frames[evenly_spaced(len(frames), len(cameras), where="object")].to(device)
            self._bring(bundle.vae)
            static = bundle.vae.encode(frames).transpose(0, 1)[None].expand(count, -1, -1, -1, -1)
            self._send_back(bundle.vae)
            cond = with_object(cond, static)
            guidance["object"] = cfg.guidance_object
        if request.text is not None:
            text = bundle.encoder.text([request.text] * count)
            cond = replace(cond, text=text.tokens, pooled=text.pooled)
            guidance["text"] = cfg.guidance_text
        else:
            cond = with_empty_text(cond, uncond)
        self._send_back(bundle.encoder)
        return cond, uncond, guidance

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


def square(image: Tensor, side: int) -> Tensor:
    """[3,side,side]: an image [3 or 4,H,W] on white, centred in a square."""
    rgb = on_white(image)
    height, width = rgb.shape[1:]
    longer = max(height, width)
    square = torch.ones(3, longer, longer)
    top, left = (longer - height) // 2, (longer - width) // 2
    square[:, top : top + height, left : left + width] = rgb
    size = (side, side)
    out = nn.functional.interpolate(square[None], size=size, mode="bilinear", antialias=True)
    return out[0].clamp(0, 1)


def sample_static_orbit(sampler: Sampler, clip: OrbitClip, *, seed: int) -> OrbitClip:
    """The static orbit of a clip's object from the clip's cameras, sampled from its first view at
    motion 0."""
    side = sampler.bundle.facts.resolution
    first = clip.over()[0]
    resting = Sampler(
        sampler.bundle,
        replace(sampler.cfg, motion=0.0),
        device=sampler.device,
        reporter=sampler.reporter,
    )
    request = SampleRequest(image=first, text=clip.prompt)
    made = next(resting.sample(request, [seed], clip.cameras.resized(side, side)))
    return replace(made.clip, times=torch.zeros(len(made.clip)))
