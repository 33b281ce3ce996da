"""Sampling as a library call: a request becomes orbital clips.

B videos, C latent channels, T frames, h w latent pixels, H W pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from orster_cli.config.sample import SampleConfig
from orster_cli.core.errors import ConfigError
from orster_cli.core.frames import at_resolution, evenly_spaced
from orster_cli.core.reporting import Reporter
from orster_cli.core.seeding import derive_seed
from orster_cli.core.types import Cameras, OrbitClip
from orster_cli.diffusion.bundle import Facts, WholeBundle
from orster_cli.diffusion.conditions import Conditions, with_image, with_object
from orster_cli.diffusion.motion_words import framing_by
from orster_cli.diffusion.parametrization import Parametrization, rest_of
from orster_cli.geometry.orbit import clip_times, orbit_azimuths, orbit_cameras
from orster_cli.geometry.similarity import Similarity
from orster_cli.io.images import square
from orster_cli.sampling.denoise import Guided, denoise, starting_noise, with_empty_text
from orster_cli.sampling.orbit_matching import matching_frames
from orster_cli.sampling.priors import pooled_priors

PRECISION = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, kw_only=True)
class SampleRequest:
    """The conditions of a clip: a `text`; the first view `image` [3,H,W]; or `object_orbit`, the orbit of
    a static object from the cameras of `cameras_for`. Image and object may have a text too.

    `object_views`: the same orbit in more pixels, for a fit (None: `object_orbit`). `start`: a clip to
    begin from, with noise, which needs no other condition; `strength` in (0,1]: how much noise, as a share
    of the sampling steps (SDEdit, Meng et al. 2022). `through_rest`: the object at rest may be sampled
    first (False: it would be another one than that of `start`). `sees`: the cameras that took these
    pictures and will be those of the clip, where they are others than the model is told. `picture`
    [3 or 4,H,W]: what the object of `object_orbit` was made of; `glb`: what was made, as a file. `course`:
    the object on its way through an action that the model knows, from the cameras that it is seen by, in
    any number of pixels; `further`: the same from further round; `ways`: in how many ways it is known."""

    text: str | None = None
    image: Tensor | None = None
    object_orbit: OrbitClip | None = None
    object_views: OrbitClip | None = None
    start: OrbitClip | None = None
    strength: float = 1.0
    through_rest: bool = True
    sees: Cameras | None = None
    picture: Tensor | None = None
    glb: bytes | None = None
    course: OrbitClip | None = None
    further: tuple[OrbitClip, ...] = ()
    ways: int = 1

    def check(self) -> None:
        """ConfigError: it is empty, has both an image and an object, or a strength out of bounds."""
        if self.image is not None and self.object_orbit is not None:
            raise ConfigError("an image and an object at once: give one of them")
        conditions = (self.text, self.image, self.object_orbit, self.start)
        if all(one is None for one in conditions):
            raise ConfigError("nothing is asked for: give a text, an image or an object")
        if not 0 < self.strength <= 1:
            raise ConfigError(f"strength: expected above 0 and at most 1, got {self.strength}")
        if self.start is None and self.strength < 1:
            raise ConfigError(f"strength {self.strength} without a clip to start from")


@dataclass(frozen=True)
class SampledClip:
    """A clip, on white where it is sampled; `priors`: tokens [M,P] of O^s and O^t by name; `static`: the
    orbit of the object at rest, as it was given, or sampled first; `further`: orbits of the same motion."""

    seed: int
    clip: OrbitClip
    priors: dict[str, Tensor]
    static: OrbitClip | None = None
    further: tuple[OrbitClip, ...] = ()


def cameras_for(facts: Facts, cfg: SampleConfig) -> Cameras:
    """The cameras of a sampled clip."""
    frames = cfg.frames or facts.frames
    turns = 0.0 if facts.role == "video" else cfg.turns
    return orbit_cameras(
        orbit_azimuths(frames, start=cfg.azimuth_start, turns=turns),
        elevation=facts.elevation if cfg.elevation is None else cfg.elevation,
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
        self.form = Parametrization.of(bundle.schedule, bundle.facts.residual_scale)
        for part in (bundle.std4d, bundle.vae, bundle.encoder, bundle.rest, bundle.course):
            if part is not None:
                part.eval().to("cpu" if cfg.offload else device)
        if cfg.offload:
            reporter.info("only the part that runs is on the device")

    @torch.no_grad()
    def sample(
        self, request: SampleRequest, seeds: Sequence[int], cameras: Cameras | None = None
    ) -> Iterator[SampledClip]:
        """One clip per seed, `cfg.batch` at once, from `cameras` (None: those of the request's `start`, or
        of `cameras_for`, which the model is told where the request `sees` others). ConfigError: as
        `SampleRequest.check`."""
        request.check()
        if cameras is None and request.start is not None and request.sees is None:
            side = self.bundle.facts.resolution
            cameras = request.start.cameras.resized(side, side)
        cameras = cameras_for(self.bundle.facts, self.cfg) if cameras is None else cameras
        for start in range(0, len(seeds), self.cfg.batch):
            yield from self._batch(request, list(seeds[start : start + self.cfg.batch]), cameras)

    def stays_as_known(self, request: SampleRequest) -> bool:
        """Whether the clip is the request's `course` itself: no denoising step changes it."""
        return request.course is not None and request.start is None and self.cfg.course == 0

    def goes_through_rest(self, request: SampleRequest) -> bool:
        """Whether the object at rest is sampled first, from the text or the image. ConfigError: the
        settings ask for it, and the model makes no orbits of moving objects."""
        if self.cfg.through_rest == "on" and self.bundle.facts.role != "4d":
            raise ConfigError(
                f"sample.through_rest: a {self.bundle.facts.role} model has no object at rest to move"
            )
        wanted = {"auto": self.bundle.facts.through_rest, "on": True, "off": False}
        moves = self.motion_of(request.text) != 0
        may = request.through_rest and request.object_orbit is None
        return wanted[self.cfg.through_rest] and moves and may

    @torch.no_grad()
    def conditions_for(
        self, request: SampleRequest, seeds: Sequence[int], cameras: Cameras
    ) -> tuple[Guided, Tensor | None]:
        """The conditions of one clip per seed from `cameras`; and the latents [B,C,T,h,w] of the object at
        rest, as given or sampled first (None: the clips are made without it)."""
        rest = None
        if self.goes_through_rest(request):
            # the paper's V': the static orbit is the 3D condition of the moving one
            still = self._conditions(request, cameras, len(seeds), motion=0.0)
            others = [derive_seed(seed, "rest") for seed in seeds]  # not the motion's noise
            rest, _ = self.denoised(still, others, cameras, stage="object at rest")
            self._send_back(self.bundle.std4d)
            request = replace(request, image=None)
        elif request.object_orbit is not None:
            orbit = request.object_orbit
            if request.sees is not None:
                orbit = replace(orbit, cameras=cameras)
            rest = self._encoded(orbit, cameras, "object", len(seeds))
        motion = self.motion_of(request.text)
        return self._conditions(request, cameras, len(seeds), motion=motion, rest=rest), rest

    def _batch(
        self, request: SampleRequest, seeds: list[int], cameras: Cameras
    ) -> Iterator[SampledClip]:
        bundle = self.bundle
        bundle.vae.check_size(cameras.height, cameras.width, "model")
        given, rest = self.conditions_for(request, seeds, cameras)
        start, strength = self.begins_with(request, cameras, len(seeds))
        z, noise = self.denoised(given, seeds, cameras, start=start, strength=strength)
        with self._precision():
            priors = pooled_priors(bundle.std4d, self.form, z, given.cond, noise)
        self._send_back(bundle.std4d)
        self._bring(bundle.vae)
        seen = cameras if request.sees is None else request.sees
        known = request.course if self.stays_as_known(request) else None
        for i, (seed, prior) in enumerate(zip(seeds, priors, strict=True)):
            if known is not None:
                clip = replace(known, prompt=request.text)  # sharper than it is decoded
            else:
                clip = self._decoded(z[i], seen, clip_times(len(cameras)).float(), request.text)
                if request.course is not None and self.cfg.course < 1:
                    clip = replace(clip, course=request.course.course)
            static = request.object_views or request.object_orbit
            if rest is not None and self.goes_through_rest(request):
                static = self._decoded(rest[i], cameras, torch.zeros(len(cameras)), request.text)
            further = () if known is None else request.further
            yield SampledClip(seed, clip, prior, static, further)
        self._send_back(bundle.vae)

    def denoised(
        self,
        given: Guided,
        seeds: Sequence[int],
        cameras: Cameras,
        *,
        start: Tensor | None = None,
        strength: float = 1.0,
        stage: str = "sample",
    ) -> tuple[Tensor, Tensor]:
        """Latents [B,C,T,h,w] of the frame VAE, and the noise that they began with. `start`: latents to
        begin from, with noise of `strength`; `stage`: the name of the progress. Leaves the diffusion on the
        device."""
        cfg, bundle = self.cfg, self.bundle
        side = (cameras.height // bundle.vae.factor, cameras.width // bundle.vae.factor)
        shape = (bundle.vae.channels, len(cameras), *side)
        noise = starting_noise(seeds, shape).to(self.device)
        rest = rest_of(given.cond)
        begin = {}
        if start is not None:
            begin = {"start": self.form.clean_of(start, *rest), "strength": strength}
        self._bring(bundle.std4d)
        with self._precision():
            clean = denoise(
                bundle.std4d,
                bundle.schedule,
                noise * cfg.temperature,
                given.cond,
                given.uncond,
                guidance=given.guidance,
                steps=cfg.steps,
                scheduler=cfg.scheduler,
                progress=lambda done, total: self.reporter.step(stage, done, total),
                **begin,
            )
        return self.form.latents_of(clean, *rest), noise

    def _conditions(
        self,
        request: SampleRequest,
        cameras: Cameras,
        count: int,
        *,
        motion: float,
        rest: Tensor | None = None,
    ) -> Guided:
        """Of `count` videos; `rest` [B,C,T,h,w]: latents of the object at rest from `cameras`."""
        cfg, bundle, device = self.cfg, self.bundle, self.device
        self._bring(bundle.encoder)
        empty = bundle.encoder.text([""])
        uncond = Conditions(text=empty.tokens, pooled=empty.pooled)
        cond = Conditions()
        if bundle.facts.role != "video":
            cond = Conditions(
                cameras=cameras.w2c[None].expand(count, -1, -1, -1).to(device),
                motion=torch.full((count,), motion, device=device),
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
        if rest is not None:
            cond = with_object(cond, rest)
            if not self.form.residual:  # of a residual it is the origin, and in every pass
                guidance["object"] = cfg.guidance_object
        if request.text is not None:
            text = bundle.encoder.text([request.text] * count)
            cond = replace(cond, text=text.tokens, pooled=text.pooled)
            guidance["text"] = cfg.guidance_text
        else:
            cond = with_empty_text(cond, uncond)
        self._send_back(bundle.encoder)
        return Guided(cond, uncond, guidance)

    def _encoded(self, orbit: OrbitClip, cameras: Cameras, where: str, count: int) -> Tensor:
        """Latents [B,C,T,h,w] of `count` times the same `orbit`, its frames those nearest to `cameras` (for
        a clip to start from: in order)."""
        vae = self.bundle.vae
        frames = at_resolution(orbit, self.bundle.facts.resolution)
        if where == "object":
            chosen = matching_frames(orbit, cameras, where=where, reporter=self.reporter)
        else:
            chosen = evenly_spaced(len(frames), len(cameras), where=where)
        self._bring(vae)
        latents = vae.encode(frames[chosen].to(self.device)).transpose(0, 1)[None]
        self._send_back(vae)
        return latents.expand(count, -1, -1, -1, -1)

    def _decoded(
        self, latents: Tensor, cameras: Cameras, times: Tensor, prompt: str | None
    ) -> OrbitClip:
        """The clip of `latents` [C,T,h,w]."""
        frames = self.bundle.vae.decode(latents.transpose(0, 1), chunk=self.cfg.chunk)
        shown = frames.float().clamp(0, 1).cpu()
        return OrbitClip(frames=shown, cameras=cameras, times=times, prompt=prompt)

    @torch.no_grad()
    def begins_with(
        self, request: SampleRequest, cameras: Cameras, count: int
    ) -> tuple[Tensor | None, float]:
        """Latents [B,C,T,h,w] that `count` clips begin from, and the strength of the noise in them: of the
        request's `start`, or of its `course`. None: noise alone."""
        if request.start is not None:
            return self._encoded(request.start, cameras, "start", count), request.strength
        if request.course is None or self.cfg.course == 1:
            return None, 1.0
        return self._encoded(request.course, cameras, "course", count), self.cfg.course

    def motion_of(self, text: str | None) -> float:
        """The strength of motion that is asked for: as set, or `motion_factor` times what clips with the
        words of `text` have in training, or all clips; nan: not known."""
        if self.bundle.facts.role == "3d":
            return 0.0
        if self.cfg.motion is not None:
            return self.cfg.motion
        found = self.words_motion(text)
        found = self.bundle.facts.motion if found is None else found
        return float("nan") if found is None else self.cfg.motion_factor * found

    def words_motion(self, text: str | None) -> float | None:
        """The strength that clips with the words of `text` have in training; None: not known, or a teacher
        that is asked for none."""
        known = self.bundle.known
        if self.bundle.facts.role != "4d" or text is None or known is None or known.motion is None:
            return None
        return known.motion.strength(text)

    def framing_of(
        self, text: str | None, known: Sequence[float] | None = None
    ) -> Similarity | None:
        """What brings the usual cameras to where clips with the words of `text` have them, or by the
        `known` numbers of a course (`Moving.framing`), around an object at rest; None: not wanted."""
        if self.cfg.framing != "text" or self.bundle.facts.role != "4d":
            return None
        if known is not None:
            return framing_by(known)
        words = None if self.bundle.known is None else self.bundle.known.framing
        return None if text is None or words is None else words.framing(text)

    def _precision(self) -> torch.autocast:
        dtype = PRECISION.get(self.cfg.precision)
        return torch.autocast(self.device.type, dtype=dtype, enabled=dtype is not None)

    def _bring(self, part: nn.Module) -> None:
        if self.cfg.offload:
            part.to(self.device)

    def _send_back(self, part: nn.Module) -> None:
        if self.cfg.offload:
            part.to("cpu")
