"""The stages of parts of a model as modules whose forward pass is their loss: frame VAE and encoder.

N frames, H W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from orster_cli.config.train import VaeConfig
from orster_cli.core.seeding import derive_seed
from orster_cli.diffusion.frame_vae import FrameVAE
from orster_cli.diffusion.mini_encoder import MiniEncoder
from orster_cli.training.frame_feed import FrameBatch
from orster_cli.training.stage_losses import Loss
from orster_cli.training.step_randomness import draw


class VaeStage(nn.Module):
    """Trains the frame VAE on single frames."""

    def __init__(self, vae: FrameVAE, cfg: VaeConfig, device: torch.device) -> None:
        super().__init__()
        self.vae, self.cfg, self.device = vae, cfg, device

    def forward(self, batch: FrameBatch, step: int, indices: Sequence[int]) -> Loss:
        frames = batch.frames.to(self.device)
        if step < self.cfg.steps * (1 - self.cfg.whole):
            frames = cropped(frames, self.cfg.crop, derive_seed(self.cfg.seed, "crop", step))
        return self._losses(self._augmented(frames, step), step, indices)

    def held_out_loss(self, batch: FrameBatch, step: int, indices: Sequence[int]) -> Tensor:
        """The loss of whole frames."""
        return self._losses(batch.frames.to(self.device), step, indices)[0]

    def _losses(self, frames: Tensor, step: int, indices: Sequence[int]) -> Loss:
        side = frames.shape[-1] // self.vae.factor
        shape = (self.vae.channels, 1, side, side)
        noise = draw(self.cfg.seed, step, indices, shape).to(self.device).noise[:, :, 0]
        terms = self.vae.losses(frames, noise)
        loss = terms["reconstruction"] + self.cfg.edges * terms["edges"]
        loss = loss + self.cfg.colours * terms["colours"]
        return loss + self.cfg.kl * terms["kl"], terms

    def _augmented(self, frames: Tensor, step: int) -> Tensor:
        """`frames` mirrored and with permuted colours in the settings' shares of the steps."""
        cfg = self.cfg
        if derive_seed(cfg.seed, "mirror", step) / 2**63 < cfg.mirror:
            frames = frames.flip(-1)
        if derive_seed(cfg.seed, "hues", step) / 2**63 < cfg.hues:
            generator = torch.Generator().manual_seed(derive_seed(cfg.seed, "order", step))
            frames = frames[:, torch.randperm(3, generator=generator).tolist()]
        return frames


def cropped(frames: Tensor, side: int, number: int) -> Tensor:
    """A square of `side` pixels (0: all) of frames [N,3,H,W], at a position drawn by `number`. Crops are
    cheaper and show less background, since objects are in the middle."""
    room = frames.shape[-1] - side
    if side == 0 or room <= 0:
        return frames
    top, left = number % (room + 1), number // (room + 1) % (room + 1)
    return frames[:, :, top : top + side, left : left + side]


class EncoderStage(nn.Module):
    """Trains the small text and image encoder contrastively. Pairs are compared within a process."""

    def __init__(self, encoder: MiniEncoder, device: torch.device) -> None:
        super().__init__()
        self.encoder, self.device = encoder, device

    def forward(self, batch: FrameBatch, step: int, indices: Sequence[int]) -> Loss:
        del step, indices
        return self.encoder.contrast(batch.frames.to(self.device), batch.captions), {}
