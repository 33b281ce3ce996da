"""The model that a stage of the diffusion starts from: one that was trained before, or a new one."""

from __future__ import annotations

from dataclasses import replace

from orster_cli.config.train import ModelConfig
from orster_cli.core.errors import ConfigError
from orster_cli.diffusion import weights
from orster_cli.diffusion.bundle import Bundle, WholeBundle
from orster_cli.diffusion.parametrization import PREDICTION
from orster_cli.diffusion.schedule import NoiseSchedule
from orster_cli.diffusion.std4d import STD4DConfig
from orster_cli.diffusion.trunk_config import TrunkConfig
from orster_cli.training.prepared import Models, model_facts
from orster_cli.training.training_data import Source, resolution_of


def start_or_new(
    model: ModelConfig, source: Source, models: Models, role: str, seed: int
) -> WholeBundle:
    """`models.start`, with another frame VAE or encoder where they are given; or a new model of the
    settings' sizes. ConfigError: a new one without frame VAE and encoder, or that could not be sampled."""
    if models.start is None:
        return _new_model(model, source, models, role, seed)
    start = models.start
    parts = Bundle(
        start.facts,
        std4d=start.std4d,
        vae=models.vae or start.vae,
        encoder=models.encoder or start.encoder,
        schedule=start.schedule,
        known=start.known.without_images() if start.known and models.encoder else start.known,
        rest=None if models.encoder else start.rest,  # of its texts
        course=None if models.encoder else start.course,  # of what `rest` knows
        lift=start.lift,
    )
    return parts.whole("the model to start from")


def _new_model(
    model: ModelConfig, source: Source, models: Models, role: str, seed: int
) -> WholeBundle:
    if models.vae is None or models.encoder is None:
        raise ConfigError(
            "a new model needs a frame VAE and an encoder",
            hint="give --vae and --encoder (orster pretrain --role vae, --role encoder), or --model",
        )
    if model.zero_snr and model.parametrization == "epsilon":
        raise ConfigError(
            "model.zero_snr: where no signal is left, a predicted noise says nothing about the clip: no "
            "solver can begin there",
            hint="--set model.parametrization=v (or residual), or leave model.zero_snr out",
        )
    encoder = models.encoder
    widths = (encoder.text_width, encoder.image_width, encoder.pooled_width)
    config = new_config(model, models.vae.channels, widths)
    schedule = NoiseSchedule(
        prediction_type=PREDICTION.get(model.parametrization, PREDICTION["v"]),
        beta_schedule=model.beta_schedule,
        rescale_betas_zero_snr=model.zero_snr,
        # the last step ends without noise: no residual is the object at rest, exactly
        set_alpha_to_one=model.parametrization == "residual",
        # Lin et al. 2023: sampling must begin where the signal is zero
        timestep_spacing="trailing" if model.zero_snr else "leading",
    )
    facts = model_facts(role, model, resolution_of(model, source))
    std4d = weights.create(config, seed)
    return WholeBundle(facts, std4d, models.vae, encoder, schedule)


def new_config(model: ModelConfig, channels: int, widths: tuple[int, int, int]) -> STD4DConfig:
    """Of a new model for latents of `channels`; `widths`: of an encoder's text, image, pooled text."""
    trunk = TrunkConfig(
        in_channels=channels,
        out_channels=channels,
        block_out_channels=model.widths,
        attention=model.attention,
        layers_per_block=model.layers,
        cross_attention_dim=model.context_width,
        attention_head_dim=model.head_width,
        norm_num_groups=model.groups,
        temporal_dropout=model.dropout,
        transformer_in_heads=model.widths[0] // model.head_width,
    )
    return replace(
        STD4DConfig.around(trunk, widths, object_tokens=model.object_tokens),
        channel_form=model.channel_form,
        joint_attention=model.joint_attention,
    )


def required_start(models: Models) -> WholeBundle:
    """`models.start`. ConfigError: there is none."""
    if models.start is None:
        raise ConfigError("no model to go on from", hint="give --model")
    return models.start.whole("--model")


def merged_start(models: Models) -> WholeBundle:
    """`required_start`, merged: it still has two channels where distillation was left out (Table 3). A
    model that was saved without a mask of its reference gets one."""
    start = required_start(models)
    merged = start.std4d if start.std4d.config.merged else start.std4d.merge()
    if not merged.config.reference_mask:
        merged = weights.start_from(merged, replace(merged.config, reference_mask=True), 0)
    return replace(start, std4d=merged, facts=replace(start.facts, role="4d"))
