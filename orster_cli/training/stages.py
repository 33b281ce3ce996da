"""The stages of the diffusion as modules whose forward pass is their loss (Sec. 4.1 to 4.4).

Networks that a stage does not train (encoder, frame VAE, teachers) are not its submodules, so checkpoints
do not hold them. B videos, T frames, C latent channels, h w latent pixels, H W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from orster_cli.config.train import AlignConfig, SplitConfig, TrainConfig
from orster_cli.diffusion.conditions import Conditions
from orster_cli.diffusion.frame_vae import FrameVAE
from orster_cli.diffusion.parametrization import rest_of
from orster_cli.diffusion.std4d import NONE, STD4D, STD4DOutput
from orster_cli.diffusion.trunk import temporal_partner
from orster_cli.training.datafeed import LatentBatch
from orster_cli.training.fast_model import FastModel
from orster_cli.training.partners import Sources
from orster_cli.training.stage_losses import (
    Features,
    Loss,
    alignment_loss,
    diffusion_loss,
    perceptual_loss,
    reconstruction_loss,
    smoothness_loss,
)
from orster_cli.training.step_conditions import StageContext, conditions
from orster_cli.training.step_randomness import Draws, draw


@dataclass(frozen=True, kw_only=True)
class NoisyBatch:
    """A batch with its random numbers: `latents` [B,C,T,h,w], the `clean` latents that the model's
    parametrization makes of them, `noisy` ones at `timesteps` [B], the prediction `target` (all of that
    shape), and its conditions."""

    latents: Tensor
    clean: Tensor
    noisy: Tensor
    timesteps: Tensor
    target: Tensor
    cond: Conditions
    draws: Draws


def spread(level: Tensor, cfg: TrainConfig) -> Tensor:
    """Uniform levels [B] in [0,1) as shares of the schedule: the noisiest `pure_noise` become 1, the
    others are shifted (Esser et al. 2024, arXiv 2403.03206, Eq. 23)."""
    rest = 1 - cfg.pure_noise
    below = level / rest if rest else level
    shifted = cfg.shift * below / (1 + (cfg.shift - 1) * below)
    return torch.where(level < rest, shifted, torch.ones_like(level))


class DiffusionStage(nn.Module):
    """Pretraining (Sec. 4.1) of a student or a teacher, and fine-tuning (Eq. 16): the diffusion loss
    under conditions that are mixed by the settings' shares."""

    def __init__(self, model: STD4D, cfg: TrainConfig, context: StageContext) -> None:
        super().__init__()
        self.model, self.cfg, self.context = model, cfg, context
        self.fast: FastModel | None = None  # runs the model instead, where it can

    def forward(self, batch: LatentBatch, step: int, indices: Sequence[int]) -> Loss:
        _, _, loss, terms = self.diffuse(batch, step, indices)
        return loss, terms

    def diffuse(
        self,
        batch: LatentBatch,
        step: int,
        indices: Sequence[int],
        *,
        wanted: frozenset[str] = NONE,
        noisiest: float = 1.0,
    ) -> tuple[NoisyBatch, STD4DOutput, Tensor, dict[str, Tensor]]:
        """The batch, the model's output, the loss and its terms. Timesteps are drawn from the share
        `noisiest` of the schedule, from its clean end."""
        noisy = self.noisy_batch(batch, step, indices, noisiest)
        disentangle = self.model.disentangle
        latent_noise = None
        if disentangle is not None and self.training:
            device = self.context.device
            latent_noise = (noisy.draws.normal(device), noisy.draws.normal(device))
        sources = batch.sources
        run, more = self.fast or self.model, {}
        if sources is not None:
            run, more = self.model, {"sources": self.noisy_sources(sources, noisy)}
        out = run(
            noisy.noisy,
            noisy.timesteps,
            noisy.cond,
            wanted=wanted,
            latent_noise=latent_noise,
            **more,
        )
        loss = diffusion_loss(out.prediction, noisy.target)
        terms = {"diffusion": loss.detach()}
        if sources is not None:
            terms["exchanged"] = sources.exchanged.float().mean()
        if disentangle is not None and isinstance(self.cfg, SplitConfig):
            cfg = self.cfg
            parts = disentangle.losses(noisy.noisy, latent_noise)
            loss = loss + cfg.reconstruction * parts["reconstruction"] + cfg.kl * parts["kl"]
            loss = loss + cfg.orthogonal * parts["orthogonal"]
            terms |= {name: value.detach() for name, value in parts.items()}
        return noisy, out, loss, terms

    def held_out_loss(self, batch: LatentBatch, step: int, indices: Sequence[int]) -> Tensor:
        """The diffusion loss alone, at the noise levels that the stage trains on."""
        return self.diffuse(batch, step, indices)[3]["diffusion"]

    def noisy_batch(
        self, batch: LatentBatch, step: int, indices: Sequence[int], noisiest: float
    ) -> NoisyBatch:
        """The batch of a step with noise, timesteps and conditions."""
        cfg, context = self.cfg, self.context
        latents = batch.latents.to(context.device)
        draws = draw(cfg.seed, step, indices, latents.shape[1:], cfg.offset_noise)
        draws = draws.to(context.device)
        cond = conditions(batch, context, cfg, step, indices, draws, training=self.training)
        return self.noised(latents, cond, draws, noisiest)

    def noised(
        self, latents: Tensor, cond: Conditions, draws: Draws, noisiest: float = 1.0
    ) -> NoisyBatch:
        """`latents` [B,C,T,h,w] with the noise of `draws`, at levels from the share `noisiest` of the
        schedule; in training as the settings spread them."""
        form = self.context.parametrization
        clean = form.clean_of(latents, *rest_of(cond))
        levels = max(int(noisiest * form.schedule.num_train_timesteps), 1)
        share = spread(draws.level, self.cfg) if self.training else draws.level
        timesteps = (share * levels).long().clamp_(max=levels - 1)
        return NoisyBatch(
            latents=latents,
            clean=clean,
            noisy=form.add_noise(clean, draws.noise, timesteps),
            timesteps=timesteps,
            target=form.target(clean, draws.noise, timesteps),
            cond=cond,
            draws=draws,
        )

    def noisy_sources(self, sources: Sources, noisy: NoisyBatch) -> tuple[Tensor, Tensor]:
        """The latents of `sources` with the noise of the batch."""
        form, device = self.context.parametrization, self.context.device
        rest, known = rest_of(noisy.cond)
        its_rest = None if rest is None else sources.temporal_rest.to(device)
        spatial = form.clean_of(sources.spatial.to(device), rest, known)
        temporal = form.clean_of(sources.temporal.to(device), its_rest, known)
        return (
            form.add_noise(spatial, noisy.draws.noise, noisy.timesteps),
            form.add_noise(temporal, noisy.draws.noise, noisy.timesteps),
        )


class AlignStage(DiffusionStage):
    """Sec. 4.3, Eq. 15, on the merged model: losses of decoded frames and of features, at low noise."""

    def __init__(
        self,
        model: STD4D,
        cfg: AlignConfig,
        context: StageContext,
        vae: FrameVAE,
        features: Features,
    ) -> None:
        super().__init__(model, cfg, context)
        self.align = cfg
        self.decode = vae.decode  # the method alone, so that the VAE is no submodule
        self.features = features
        self.spatial, self.temporal = model.trunk.unit_names()

    def forward(self, batch: LatentBatch, step: int, indices: Sequence[int]) -> Loss:
        cfg = self.align
        wanted = frozenset((*self.spatial, *self.temporal))
        noisy, out, loss, terms = self.diffuse(
            batch, step, indices, wanted=wanted, noisiest=cfg.noisiest
        )
        form = self.context.parametrization
        clean = form.predict_clean(noisy.noisy, out.prediction, noisy.timesteps)
        clean = form.latents_of(clean, *rest_of(noisy.cond))
        assert batch.frame_numbers is not None
        assert batch.frames is not None
        chosen = clean[:, :, batch.frame_numbers.to(clean.device)].transpose(1, 2).flatten(0, 1)
        predicted, true = self.decode(chosen), batch.frames.flatten(0, 1).to(clean)
        features = out.features()
        f_s = {name: features[name] for name in self.spatial if name in features}
        f_t = {name: features[name] for name in self.temporal if name in features}
        parts = {
            "rec": reconstruction_loss(predicted, true),
            "perc": perceptual_loss(self.features, predicted, true),
        }
        if f_t:
            parts["temp"] = smoothness_loss(f_t, clean.shape[2])
        if f_s and f_t:  # not in a model of one channel (Table 2)
            partners = [f_t[temporal_partner(name)] for name in f_s]
            parts["align"] = alignment_loss(list(f_s.values()), partners)
        total = cfg.diffusion * loss
        for name, value in parts.items():
            total = total + getattr(cfg, name) * value
            terms[name] = value.detach()
        return total, terms

    def held_out_loss(self, batch: LatentBatch, step: int, indices: Sequence[int]) -> Tensor:
        return self.diffuse(batch, step, indices, noisiest=self.align.noisiest)[3]["diffusion"]
