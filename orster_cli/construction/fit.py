"""The fit: static Gaussians, then the motion, then everything together (paper 4.5).

Three phases over one step counter: `static` fits the canonical Gaussians to the object at time 0,
`coarse` the deformation with L_hex (Eq. 17), `fine` all of it with L_gs (Eq. 18). Each step looks at
one view. Random numbers are derived from (seed, step): a fit that was killed and resumed from its
checkpoint ends in the same bytes as one that was not.

N Gaussians, H W pixels.
"""

from __future__ import annotations

import math
import time
from pathlib import Path

import torch
from torch import Tensor

from orster_cli.config.construct import ConstructConfig
from orster_cli.construction.losses import LossWeights, Perceptual, splatting_loss
from orster_cli.construction.model import Model
from orster_cli.construction.views import View, ViewSet
from orster_cli.core.errors import NumericalError, Preempted
from orster_cli.core.reporting import Reporter
from orster_cli.core.seeding import derive_seed
from orster_cli.core.stopping import StopFlag
from orster_cli.core.types import Gaussians
from orster_cli.io.checkpoints import load_latest, save_checkpoint
from orster_cli.splatting.rasterize import Render, rasterize

CHECKPOINT_SECONDS = 15.0
SNAPSHOT_STEPS = 100  # how often the state to roll back to is remembered
RETRIES = 3
REFINE_EVERY = 100  # steps between density refinements of the static phase
REPORT_EVERY = 10


class Fit:
    """One run of the construct stage on one set of views."""

    def __init__(
        self,
        cfg: ConstructConfig,
        views: ViewSet,
        model: Model,
        *,
        perceptual: Perceptual | None = None,
    ) -> None:
        self.cfg = cfg
        self.views = views
        self.model = model
        self.perceptual = perceptual
        self.step = 0
        self.total = cfg.static_steps + cfg.coarse_steps + cfg.fine_steps
        self._recent_error = math.nan
        self._background = torch.ones(3, device=model.params["means"].device)

    # -- phases

    def phase(self, step: int) -> str:
        """Which phase `step` belongs to."""
        if step < self.cfg.static_steps:
            return "static"
        return "coarse" if step < self.cfg.static_steps + self.cfg.coarse_steps else "fine"

    def _progress(self, step: int) -> float:
        """How far the learning rates have decayed: the static phase for itself, the motion as one."""
        if step < self.cfg.static_steps:
            return step / self.cfg.static_steps
        done = step - self.cfg.static_steps
        return done / max(self.cfg.coarse_steps + self.cfg.fine_steps, 1)

    def _weights(self, step: int) -> LossWeights:
        cfg = self.cfg
        if self.phase(step) == "coarse":
            # L1 beside Eq. 17's squared error: alone, it leaves far-off limbs where they are
            return LossWeights(l1=cfg.l1, lpips=0.0, depth=0.0, hex=cfg.hex, mask=cfg.mask)
        perceptual = cfg.lpips if step % cfg.lpips_every == 0 else 0.0
        depth = cfg.depth if self.phase(step) == "fine" else 0.0
        return LossWeights(l1=cfg.l1, lpips=perceptual, depth=depth, hex=cfg.hex, mask=cfg.mask)

    def _choose(self, step: int) -> View:
        """The view of `step`; towards the end only frames that were really seen."""
        seed = derive_seed(self.cfg.seed, "view", step)
        if self.phase(step) == "static":
            pool = self.views.static
        elif self._progress(step) > 1 - self.cfg.seen_only:
            pool = self.views.seen
        else:
            pool = self.views.moving
        return pool[seed % len(pool)]

    # -- one step

    @staticmethod
    def show(gaussians: Gaussians, view: View) -> Render:
        """`gaussians` as the camera of `view` sees them."""
        height, width = view.rgb.shape[:2]
        return rasterize(
            gaussians.means,
            gaussians.quats,
            gaussians.log_scales.exp(),
            gaussians.opacity_logits.sigmoid(),
            gaussians.colors,
            view.w2c[None],
            view.K[None],
            width,
            height,
        )

    def _advance(self) -> None:
        step, cfg = self.step, self.cfg
        phase = self.phase(step)
        if phase != "static":
            self.model.start_motion(self.views.timeline)
        view = self._choose(step)
        # a mirrored frame is inferred: it may teach the motion, not the object
        gaussians = self.model.at(view.phase, frozen_canonical=view.mirrored)
        render = self.show(gaussians, view)
        loss, terms = splatting_loss(
            render,
            view.rgb,
            view.alpha,
            self._weights(step),
            background=self._background,
            perceptual=self.perceptual,
        )
        loss = loss * view.weight
        if phase != "static":
            seed = derive_seed(cfg.seed, "isometry", step)
            loss = loss + self.model.motion_regulariser(cfg, gaussians, seed)
        if not math.isfinite(float(loss.detach())):
            names = [name for name, term in terms.items() if not bool(torch.isfinite(term))]
            raise NumericalError(f"step {step}: the loss is not finite ({', '.join(names)})")
        loss.backward()
        if "hex" in terms and not view.mirrored:
            error = float(terms["hex"].detach())
            first = math.isnan(self._recent_error)
            self._recent_error = error if first else 0.97 * self._recent_error + 0.03 * error
        if phase == "static":
            self.model.observe(render)
        self.model.update(self._progress(step), moving=phase != "static")
        refine = phase == "static" and 0 < step < 0.7 * cfg.static_steps
        if refine and step % REFINE_EVERY == 0:
            self.model.refine(cfg, step)
        self.step += 1

    # -- the whole run

    def run(self, scratch: Path, reporter: Reporter, stop: StopFlag) -> None:
        """All steps that are left, with checkpoints in `scratch`.

        Raises Preempted after a checkpoint when `stop` is requested; NumericalError when rolling back
        to the last good state with halved rates did not help."""
        self._resume(scratch, reporter)
        good = self.state()
        saved, failures = time.monotonic(), 0
        while self.step < self.total:
            try:
                self._advance()
            except NumericalError as error:
                failures += 1
                if failures > RETRIES:
                    raise
                self.load_state(good)
                self.model.rate_scale *= 0.5
                reporter.warn(f"{error}; back to step {self.step} with half the learning rates")
                continue
            if self.step % SNAPSHOT_STEPS == 0:
                self.model.check_finite()
                good = self.state()
            if self.step % REPORT_EVERY == 0 or self.step == self.total:
                self._report(reporter)
            due = time.monotonic() - saved > CHECKPOINT_SECONDS
            if stop.requested or due:
                save_checkpoint(scratch, self.step, self.state())
                saved = time.monotonic()
            if stop.requested:
                raise Preempted(
                    f"stopped at step {self.step} of {self.total}; the work so far is kept",
                    hint="run the same command again to go on",
                )

    def _resume(self, scratch: Path, reporter: Reporter) -> None:
        found = load_latest(scratch)
        if found is not None and found[0] <= self.total:
            self.load_state(found[1])
            reporter.info(f"going on from step {self.step} of {self.total}")

    def _report(self, reporter: Reporter) -> None:
        psnr = -10 * math.log10(max(self._recent_error, 1e-12))
        reporter.step(
            f"construct: {self.phase(self.step - 1)}",
            self.step,
            self.total,
            psnr=round(psnr, 2),
            gaussians=len(self.model.params["means"]),
        )

    # -- state

    def state(self) -> dict[str, Tensor]:
        """Everything the next step depends on, as copies."""
        own = {"step": torch.tensor(self.step), "error": torch.tensor(self._recent_error)}
        return {**self.model.state(), **own}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """The inverse of `state`."""
        self.step = int(state["step"])
        self._recent_error = float(state["error"])
        self.model.load_state(state, self.views.timeline)
