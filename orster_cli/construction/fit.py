"""The fit: static Gaussians, then their motion, then both together (paper 4.5).

Three stages over one step counter: `static` fits the canonical Gaussians to the object at time 0,
`coarse` the deformation with L_hex (Eq. 17), `fine` both with L_gs (Eq. 18). Each step renders one
view. Random numbers are derived from (seed, step), so that a fit resumed from a checkpoint gives the
same bytes as an uninterrupted one, unless it diverges before its next snapshot: a rollback then goes to the
checkpoint, which is later than the snapshot that an uninterrupted fit goes back to.

N Gaussians, H W pixels.
"""

from __future__ import annotations

import contextlib
import math
import time
from pathlib import Path

import torch
from torch import Tensor

from orster_cli.config.construct import ConstructConfig
from orster_cli.construction.find_root import find_root
from orster_cli.construction.losses import (
    LossWeights,
    Perceptual,
    averages_loss,
    splatting_loss,
)
from orster_cli.construction.time_left import TimeLeft
from orster_cli.construction.trainable_asset import TrainableAsset
from orster_cli.construction.training_views import View, ViewSet
from orster_cli.core.atomic import replacing
from orster_cli.core.errors import NumericalError, Preempted
from orster_cli.core.estimates import WORTH, duration
from orster_cli.core.live import LATEST
from orster_cli.core.reporting import Reporter
from orster_cli.core.seeding import derive_seed
from orster_cli.core.stopping import StopFlag
from orster_cli.core.types import Gaussians
from orster_cli.io.checkpoints import load_latest, save_checkpoint
from orster_cli.io.images import write_png
from orster_cli.splatting.rasterize import Render, rasterize

CHECKPOINT_SECONDS = 15.0
PICTURE_SECONDS = 2.0  # between pictures of the fit as it is
SNAPSHOT_STEPS = 100  # steps between snapshots for a rollback
RETRIES = 3  # rollbacks before the run fails
REFINE_EVERY = 100  # steps between density refinements in the static stage
REPORT_EVERY = 10
BLUR_WEIGHT = 0.5  # of the averages of blurred frames: with more, what lies frays
REGULARISE_EVERY = 4  # steps between regularisation losses, each of which counts as often


class Fit:
    """One run of the construct stage on one set of views."""

    def __init__(
        self,
        cfg: ConstructConfig,
        views: ViewSet,
        model: TrainableAsset,
        *,
        perceptual: Perceptual | None = None,
    ) -> None:
        self.cfg = cfg
        self.views = views
        self.model = model
        self.perceptual = perceptual
        self.step = 0
        self._pictures = 0
        self.failures = 0  # rollbacks so far; not part of the state that a rollback restores
        self.total = cfg.static_steps + cfg.coarse_steps + cfg.fine_steps
        self._recent_error = math.nan
        # steps at which neighbours are found again over the motion
        first, third = cfg.static_steps, cfg.coarse_steps // 3
        self._renewals = {first + third, first + 2 * third, first + cfg.coarse_steps} - {first}
        steps = {"static": cfg.static_steps, "coarse": cfg.coarse_steps, "fine": cfg.fine_steps}
        self._told = False  # how long it will take
        self._root_told = False
        self._time_left = TimeLeft(steps, priors=model.has_priors)
        self._background = torch.ones(3, device=model.params["means"].device)

    # -- schedule

    def stage(self, step: int) -> str:
        """The stage of `step`: "static", "coarse" or "fine"."""
        if step < self.cfg.static_steps:
            return "static"
        return "coarse" if step < self.cfg.static_steps + self.cfg.coarse_steps else "fine"

    def _progress(self, step: int) -> float:
        """Progress in [0,1] of the learning rate decay, which restarts after the static stage."""
        if step < self.cfg.static_steps:
            return step / self.cfg.static_steps
        done = step - self.cfg.static_steps
        return done / max(self.cfg.coarse_steps + self.cfg.fine_steps, 1)

    def _loss_weights(self, step: int) -> LossWeights:
        cfg = self.cfg
        if self.stage(step) == "coarse":
            # L1 in addition to Eq. 17: the squared error alone does not move limbs that are far off
            return LossWeights(l1=cfg.l1, lpips=0.0, depth=0.0, hex=cfg.hex, mask=cfg.mask)
        # evaluated now and then, with the weight of all steps until the next time
        perceptual = cfg.lpips * cfg.lpips_every if step % cfg.lpips_every == 0 else 0.0
        now = self.stage(step) == "fine" and step % REGULARISE_EVERY == 0
        depth = cfg.depth * REGULARISE_EVERY if now else 0.0
        return LossWeights(l1=cfg.l1, lpips=perceptual, depth=depth, hex=cfg.hex, mask=cfg.mask)

    def _sample_view(self, step: int) -> View:
        """The view of `step`: all of a pool once, in a new order, before any of them again. The last
        steps use observed frames only, no mirrored ones."""
        if self.stage(step) == "static":
            name, pool = "static", self.views.static
        elif self._progress(step) > 1 - self.cfg.seen_only:
            name, pool = "observed", self.views.observed
        else:
            name, pool = "moving", self.views.moving
        turn, place = divmod(step, len(pool))
        order = torch.Generator().manual_seed(derive_seed(self.cfg.seed, "views", name, turn))
        return pool[int(torch.randperm(len(pool), generator=order)[place])]

    # -- one step

    @staticmethod
    def render(gaussians: Gaussians, view: View) -> Render:
        """Render `gaussians` with the camera of `view`."""
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
            eps2d=view.eps2d,
            antialiased=gaussians.fitted is not None and gaussians.fitted.antialiased,
        )

    def _train_step(self) -> None:
        step, cfg = self.step, self.cfg
        stage = self.stage(step)
        if stage != "static":
            if self.model.motion is None:
                self._start_motion()
            if step in self._renewals:
                self.model.renew_neighbours()
            self.model.set_residual(stage == "fine")
        view = self._sample_view(step)
        gaussians = self.model.at(view.phase, detach_canonical=not view.shapes)
        render = self.render(gaussians, view)
        weights, background = self._loss_weights(step), self._background
        loss, terms = splatting_loss(
            render,
            view.rgb,
            view.alpha,
            weights,
            background=background,
            perceptual=self.perceptual,
        )
        loss = loss * view.weight
        if view.blur > 0 and self.model.has_root:
            averages = averages_loss(render, view.rgb, view.alpha, weights, background=background)
            loss = loss + BLUR_WEIGHT * view.blur * averages
        if stage != "static" and step % REGULARISE_EVERY == 0:
            seed = derive_seed(cfg.seed, "isometry", step)
            loss = loss + REGULARISE_EVERY * self.model.regularisation_loss(cfg, gaussians, seed)
        if not math.isfinite(float(loss.detach())):
            bad = [name for name, term in terms.items() if not bool(torch.isfinite(term))]
            raise NumericalError(f"step {step}: the loss is not finite ({', '.join(bad)})")
        loss.backward()
        if "hex" in terms and not view.mirrored:
            error = float(terms["hex"].detach())
            first = math.isnan(self._recent_error)
            self._recent_error = error if first else 0.97 * self._recent_error + 0.03 * error
        if stage == "static":
            self.model.observe(render)
        self.model.update(self._progress(step), moving=stage != "static")
        refine = stage == "static" and 0 < step < 0.7 * cfg.static_steps
        if refine and step % REFINE_EVERY == 0:
            self.model.refine(cfg, step)
        self.step += 1

    def _start_motion(self) -> None:
        root, timeline = None, self.views.timeline
        if self.cfg.root and self.model.course is None:
            canonical, driving = self.model.canonical(detach=True), self.views.driving
            root = find_root(canonical, driving, periodic=timeline.looping)
        self.model.start_motion(timeline, root)

    # -- the whole run

    def run(self, scratch: Path, reporter: Reporter, stop: StopFlag) -> None:
        """Run the remaining steps, with checkpoints in `scratch`.

        Raises Preempted after a checkpoint if `stop` is requested; NumericalError if the fit still
        diverges after RETRIES rollbacks with halved learning rates."""
        self._resume(scratch, reporter)
        good = self.state()
        saved, shown = time.monotonic(), -math.inf
        while self.step < self.total:
            stopping = due = False
            stage, begun = self.stage(self.step), time.monotonic()
            try:
                self._train_step()
                self._time_left.add(stage, time.monotonic() - begun)
                snapshot = self.step % SNAPSHOT_STEPS == 0 or self.step == self.total
                stopping = stop.requested
                due = stopping or time.monotonic() - saved > CHECKPOINT_SECONDS
                if snapshot or due:
                    self.model.check_finite()
            except NumericalError as error:
                self._roll_back(good, error, reporter)
                continue
            if snapshot:
                good = self.state()
            if self.step % REPORT_EVERY == 0 or self.step == self.total:
                self._report(reporter)
                if time.monotonic() - shown > PICTURE_SECONDS:
                    self._show(scratch)
                    shown = time.monotonic()
            if due:
                save_checkpoint(scratch, self.step, self.state())
                saved = time.monotonic()
            if stopping:
                raise Preempted(
                    f"stopped at step {self.step} of {self.total}; the work so far is saved",
                    hint="run the same command again to resume",
                )
        if self.model.motion is None:  # no step moves anything
            self._start_motion()

    def _roll_back(
        self, good: dict[str, Tensor], error: NumericalError, reporter: Reporter
    ) -> None:
        """Restore the state `good` with learning rates scaled by 0.5 per failure so far; raises `error`
        after RETRIES failures."""
        self.failures += 1
        if self.failures > RETRIES:
            raise error
        self.load_state(good)
        self.model.rate_scale = 0.5**self.failures
        scale = f"{self.model.rate_scale:g} of those configured"
        reporter.warn(f"{error}; back to step {self.step} with half the learning rates ({scale})")

    def _resume(self, scratch: Path, reporter: Reporter) -> None:
        found = load_latest(scratch)
        if found is not None and found[0] <= self.total:
            self.load_state(found[1])
            self.failures = round(-math.log2(self.model.rate_scale))
            reporter.info(f"resuming from step {self.step} of {self.total}")

    @torch.no_grad()
    def _show(self, folder: Path) -> None:
        """Write `latest.png`: an input frame on the left, the fit on the right, a frame further each time.
        It is for looking at only: where it fails, the fit goes on."""
        views = self.views.static if self.step < self.cfg.static_steps else self.views.observed
        view = views[self._pictures % len(views)]
        self._pictures += 1
        with contextlib.suppress(OSError, NumericalError):
            render = self.render(self.model.at(view.phase), view)
            fitted = render.rgb[0] + (1 - render.alpha[0]) * self._background
            with replacing(folder / LATEST) as part:
                write_png(part, torch.cat([view.rgb, fitted], dim=1).permute(2, 0, 1))

    def _report(self, reporter: Reporter) -> None:
        psnr = -10 * math.log10(max(self._recent_error, 1e-12))
        left = self._time_left.after(self.step)
        root = None if self.model.motion is None else self.model.motion.field.root
        if root is not None and not self._root_told:
            self._root_told = True
            reporter.note(
                f"the object as a whole turns by up to {root.farthest:.0f} degrees: the motion rests on it"
            )
        eta = {} if left is None else {"eta_s": left}
        if left is not None and not self._told:
            self._told = True
            if left >= WORTH:
                steps = self.total - self.step
                reporter.info(f"construct: about {duration(left)} for {steps:,} steps")
        reporter.step(
            f"construct: {self.stage(self.step - 1)}",
            self.step,
            self.total,
            psnr=round(psnr, 2),
            gaussians=len(self.model.params["means"]),
            **eta,
        )

    # -- state

    def state(self) -> dict[str, Tensor]:
        """Copies of all tensors that the next step depends on."""
        error = torch.tensor(self._recent_error, dtype=torch.float64)
        own = {"step": torch.tensor(self.step), "error": error}
        return {**self.model.state(), **own}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """The inverse of `state`."""
        self.step = int(state["step"])
        self._recent_error = float(state["error"])
        self.model.load_state(state, self.views.timeline)
