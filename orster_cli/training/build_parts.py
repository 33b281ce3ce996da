"""The stages that train parts of a model: the frame VAE, and the small text and image encoder."""

from __future__ import annotations

from torch import Tensor

from orster_cli.config.schema import Config
from orster_cli.config.train import TrainConfig
from orster_cli.core.errors import ConfigError
from orster_cli.diffusion.bundle import Bundle
from orster_cli.diffusion.frame_vae import FrameVAE
from orster_cli.diffusion.mini_encoder import new_mini
from orster_cli.training.contact_sheets import reconstruction_sheet
from orster_cli.training.part_stages import EncoderStage, VaeStage
from orster_cli.training.prepared import Models, PreparedStage, model_facts
from orster_cli.training.training_data import Source, frame_feed, resolution_of

SHEET_FRAMES = 8
PCA_FRAMES = 1024  # to which principal components are fitted
SCALE_FRAMES = 256  # from which the scale of the latents is measured


# settings that all stages have, and only those of the diffusion read
UNREAD = (
    "checkpointing",
    "trainable",
    "lora_rank",
    "lora_alpha",
    "offset_noise",
    "shift",
    "pure_noise",
    "text",
    "image",
    "object",
    "reference_noise",
    "dynamic",
    "drop",
    "drop_who",
    "drop_what",
)


def build_vae(cfg: Config, source: Source, models: Models | None = None) -> PreparedStage:
    """A new frame VAE; or one that training continues: its decoder alone, so that its latents stay the
    same and a diffusion that was trained on them can use it, or with `vae.encoder` all of it.
    ConfigError: a setting that it does not read."""
    _refuse_unread("vae", cfg.vae)
    model = cfg.model
    start = models.start.vae if models is not None and models.start is not None else None
    if start is None:
        groups = min(model.groups, *model.vae_widths)
        vae = FrameVAE.create(
            model.vae_widths,
            channels=model.latent_channels,
            groups=groups,
            seed=cfg.vae.seed,
            patch=model.vae_patch,
            pca=model.vae_pca,
        ).to(source.device)
    else:
        vae = start.to(source.device)
        if not cfg.vae.encoder:
            vae.freeze_encoder()
    resolution = resolution_of(model, source)
    vae.check_size(resolution, resolution, "model.resolution")
    vae.check_size(cfg.vae.crop, cfg.vae.crop, "vae.crop")
    feed = frame_feed(cfg.vae, source, resolution)
    if start is None and vae.pca is not None and not source.placeholder:
        vae.pca.fit(2 * feed.batch(0, range(PCA_FRAMES)).frames.to(source.device) - 1)

    def finish() -> Bundle:
        if start is None or cfg.vae.encoder:
            indices = range(min(SCALE_FRAMES, cfg.vae.batch * 8))
            vae.set_scale(feed.batch(0, indices).frames.to(source.device))
        return Bundle(model_facts("vae", model, resolution), vae=vae)

    curves = ("loss", "reconstruction", "edges", "colours", "kl")

    def sheet() -> Tensor:
        frames = feed.batch(0, range(SHEET_FRAMES)).frames
        return reconstruction_sheet(vae, frames.to(source.device))

    return PreparedStage(VaeStage(vae, cfg.vae, source.device), feed, finish, curves, sheet)


def build_encoder(cfg: Config, source: Source) -> PreparedStage:
    """A new small text and image encoder. ConfigError: a setting that it does not read."""
    _refuse_unread("encoder", cfg.encoder)
    encoder = new_mini(cfg.model.encoder_width, cfg.encoder.seed).to(source.device)
    resolution = resolution_of(cfg.model, source)
    feed = frame_feed(cfg.encoder, source, resolution, texts=True)
    facts = model_facts("encoder", cfg.model, resolution)
    task = EncoderStage(encoder, source.device)
    return PreparedStage(task, feed, lambda: Bundle(facts, encoder=encoder))


def _refuse_unread(section: str, train: TrainConfig) -> None:
    """ConfigError: a setting of the diffusion's stages has another value than its default."""
    default = type(train)()
    unread = [name for name in UNREAD if getattr(train, name) != getattr(default, name)]
    if unread:
        names = ", ".join(f"{section}.{name}" for name in unread)
        raise ConfigError(
            f"{names}: only the stages of the diffusion have this",
            hint=f"leave it out of [{section}]",
        )
