"""Stages with teachers as modules whose forward pass is their loss: distillation (Sec. 4.2), and
fine-tuning (Sec. 4.4) while the transfer fades. Also the control without teachers.

Teachers and frame VAE are not submodules, so checkpoints do not hold them. B videos, T frames, C latent
channels, h w latent pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from orster_cli.config.train import DistillConfig, TrainConfig
from orster_cli.core.seeding import derive_seed
from orster_cli.diffusion.channels import SPATIAL, TEMPORAL
from orster_cli.diffusion.frame_vae import FrameVAE
from orster_cli.diffusion.std4d import NONE, STD4D
from orster_cli.training.datafeed import LatentBatch
from orster_cli.training.lessons import (
    FRONT,
    STATIC,
    Schedule,
    TaughtBatch,
    at_rest,
    lesson_indices,
    spacing,
)
from orster_cli.training.stage_losses import Loss, Term, Total
from orster_cli.training.stages import DiffusionStage, NoisyBatch
from orster_cli.training.step_conditions import StageContext, lesson_conditions
from orster_cli.training.step_randomness import draw
from orster_cli.transfer.loss import orster_loss
from orster_cli.transfer.orster import OrsterTransfer
from orster_cli.transfer.teachers import Teacher, TeacherInputs
from orster_cli.transfer.vae_targets import vae_targets

CHANNEL = {STATIC: SPATIAL, FRONT: TEMPORAL}  # of the student, that a lesson teaches
KIND = {STATIC: "spatial", FRONT: "temporal"}  # of the transfer's terms


class TaughtStage(DiffusionStage):
    """The diffusion loss of the stage's own videos, and L_orster between the student's features and targets
    from the teachers' features of the same noisy latents (Eq. 11-14), of the lessons' videos. A batch
    without lessons gives L_orster on the stage's own videos, of both kinds at once.

    `weight` of L_orster at each step; `strength`: that of disentangling and fusing; `share` and `own`: the
    share of videos that are lessons, or none; `kernel`: each lesson needs the other teacher's features too,
    for the joint kernel."""

    def __init__(
        self,
        model: STD4D,
        cfg: TrainConfig,
        context: StageContext,
        transfer: OrsterTransfer,
        teachers: tuple[Teacher, Teacher],
        *,
        weight: Schedule,
        strength: Schedule,
        share: float,
        own: bool,
        kernel: bool,
        keep_from: int = 0,
    ) -> None:
        super().__init__(model, cfg, context)
        self.transfer = transfer
        self.teachers = teachers  # 3D and video; in a tuple, so that they are no submodules
        self.weight, self.strength = weight, strength
        self.share, self.own = share, own
        self.kernel, self.keep_from = kernel, keep_from

    def forward(
        self, batch: TaughtBatch, step: int, indices: Sequence[int]
    ) -> tuple[Tensor, dict[str, Term]]:
        self.model.disentangling = self.strength(step)
        weight = self.weight(step)
        lessons = {STATIC: batch.static, FRONT: batch.front}
        own = bool(weight) and self.own
        spatial, temporal = self.transfer.units()
        wanted = spatial | temporal if own else NONE
        noisy, out, loss, terms = self.diffuse(batch.own, step, indices, wanted=wanted)
        if not weight:
            return loss, terms
        if own:
            inputs = self.teacher_inputs(noisy, batch.own)
            f_s = self.teachers[0].features(inputs, spatial)
            f_t = self.teachers[1].features(inputs, temporal)
            frames = noisy.clean.shape[2]
            orster, more = self.transfer(out.features(), f_s, f_t, self.level(noisy), frames)
        else:
            parts = {view: loss.new_zeros(()) for view in lessons}
            more = {}
            for view, lesson in lessons.items():
                if CHANNEL[view] not in self.model.config.runnable_channels():
                    continue
                its: dict[str, Tensor] = {}
                some: list[int] = []
                if lesson is None:  # the other processes may have one
                    self.transfer.observe_elsewhere(
                        spatial=view == STATIC or self.kernel,
                        temporal=view == FRONT or self.kernel,
                    )
                else:
                    some = lesson_indices(view, step, indices, self.share, self.cfg.batch)
                    distance, its = self.lesson(view, lesson, step, some)
                    # a mean over all videos of the batch, however few of them are here
                    parts[view] = distance * (len(some) * spacing(self.share) / len(indices))
                more |= self.totals(view, its, len(some), loss)
            orster = orster_loss(parts[STATIC], parts[FRONT], self.transfer.lambda_o)
        terms |= {"orster": orster.detach(), **more}
        return loss + weight * orster, terms

    def totals(
        self, view: str, terms: dict[str, Tensor], count: int, like: Tensor
    ) -> dict[str, Total]:
        """The terms of a lesson of `count` videos, by their names in the log: the same names and shapes
        where there is no lesson, since processes and parts of a batch must agree on them."""
        out = {}
        for name, shape in self.transfer.lesson_terms(KIND[view]).items():
            value = terms.get(name)
            shown = name if view == STATIC else name.replace("kappa", "kappa_temporal")
            if value is None:
                out[shown] = Total(like.new_zeros(shape, dtype=torch.float32), 0)
            else:
                out[shown] = Total(value.detach() * count, count)
        return out

    def lesson(self, view: str, batch: LatentBatch, step: int, indices: Sequence[int]) -> Loss:
        """The distance of a lesson (Eq. 14, one of its terms) and terms for the log."""
        noisy = self.lesson_batch(view, batch, step, indices)
        units = dict(zip((STATIC, FRONT), self.transfer.units(), strict=True))
        channels = (CHANNEL[view],)
        out = self.model(
            noisy.noisy, noisy.timesteps, noisy.cond, wanted=units[view], channels=channels
        )
        inputs = self.teacher_inputs(noisy, batch)
        features = {
            kind: teacher.features(inputs, units[kind]) if kind == view or self.kernel else None
            for kind, teacher in zip((STATIC, FRONT), self.teachers, strict=True)
        }
        compare = self.transfer.spatial if view == STATIC else self.transfer.temporal
        level, frames = self.level(noisy), noisy.clean.shape[2]
        return compare(out.features(), features[STATIC], features[FRONT], level, frames)

    def lesson_batch(
        self, view: str, batch: LatentBatch, step: int, indices: Sequence[int]
    ) -> NoisyBatch:
        """The videos of a lesson with noise, timesteps and conditions: the text and, of a front view, the
        object at rest, where the stage gives objects at all. Of a static orbit that would be the answer."""
        context = self.context
        latents = batch.latents.to(context.device)
        seed = derive_seed(self.cfg.seed, "lesson", view)
        draws = draw(seed, step, indices, latents.shape[1:], self.cfg.offset_noise)
        draws = draws.to(context.device)
        rest = at_rest(batch, view).to(context.device)
        given = view == FRONT and self.cfg.object > 0
        cond = lesson_conditions(batch, context, self.cfg, draws, rest if given else None)
        return self.noised(latents, cond, draws)

    def level(self, noisy: NoisyBatch) -> Tensor:
        """[B]: noise levels as shares of the schedule."""
        return noisy.timesteps / self.context.schedule.num_train_timesteps

    def teacher_inputs(self, noisy: NoisyBatch, batch: LatentBatch) -> TeacherInputs:
        """The student's latents with the same noise, not as residuals, and their conditions, for the
        teachers."""
        schedule, levels = self.context.schedule, noisy.timesteps
        return TeacherInputs(
            noisy=schedule.add_noise(noisy.latents, noisy.draws.noise, levels),
            timesteps=levels,
            schedule=schedule,
            captions=batch.captions,
            first_frames=batch.first_frames.to(self.context.device),
            first_latents=noisy.latents[:, :, 0],
            cameras=batch.cameras.to(self.context.device),
        )


class VaeMatchingStage(DiffusionStage):
    """A control of the transfer that needs no teacher: the diffusion loss, and the distance of spatial
    features to those of the frozen frame VAE's encoder, of some clean frames of each clip."""

    def __init__(
        self,
        model: STD4D,
        cfg: DistillConfig,
        context: StageContext,
        transfer: OrsterTransfer,
        vae: FrameVAE,
        *,
        strength: Schedule,
        keep_from: int = 0,
    ) -> None:
        super().__init__(model, cfg, context)
        self.transfer = transfer
        self.targets = partial(vae_targets, vae)  # the function, so that the VAE is no submodule
        self.weight, self.strength, self.keep_from = cfg.weight, strength, keep_from

    def forward(self, batch: LatentBatch, step: int, indices: Sequence[int]) -> Loss:
        self.model.disentangling = self.strength(step)
        spatial, _ = self.transfer.units()
        noisy, out, loss, terms = self.diffuse(batch, step, indices, wanted=spatial)
        assert batch.frame_numbers is not None
        assert batch.frames is not None
        numbers = batch.frame_numbers.to(self.context.device)
        student = {
            unit: x.unflatten(0, (len(indices), -1))[:, numbers].flatten(0, 1)
            for unit, x in out.features().items()
        }
        sizes = {unit: (x.shape[2], x.shape[3]) for unit, x in student.items()}
        targets = self.targets(batch.frames.flatten(0, 1).to(self.context.device), sizes)
        level = noisy.timesteps / self.context.schedule.num_train_timesteps
        orster, more = self.transfer.spatial(student, targets, None, level, len(numbers))
        terms |= {"orster": orster.detach(), **more}
        return loss + self.weight * orster, terms
